//! Plans of faults on a running simulation, and the example that is shipped.

use std::path::Path;
use std::time::Duration;

use data_manager::sim::{Fault, FaultPlan, Sim, SimConfig};

use crate::client::{one, until};
use crate::wire::WIRES;

fn plan(text: &str) -> FaultPlan {
    FaultPlan::parse("plan.toml", text).unwrap()
}

#[test]
fn the_example_parses_names_every_kind_and_fits_the_usual_venues() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/faults.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    for kind in Fault::kinds() {
        assert!(text.contains(&format!("kind = \"{kind}\"\n")), "{kind} is not in config/faults.toml");
    }
    let plan = FaultPlan::read(&path).unwrap();
    drop(Sim::spawn(SimConfig { plan, ..SimConfig::of(&["binance", "coinbase"]) }).unwrap());
}

#[tokio::test]
async fn faults_happen_at_their_times_and_places() {
    for wire in WIRES {
        let text = "
            [[fault]]\nat = \"20ms\"\nevery = \"20ms\"\nkind = \"drop\"\n
            [[fault]]\nafter = 100\nevery = 100\nkind = \"duplicate\"\n";
        let config = SimConfig { plan: plan(text), ..one(wire.exchange, wire.symbol, 5_000.0) };
        let sim = Sim::spawn(config).unwrap();
        let accepted = || sim.sent(wire.exchange).accepted;
        while accepted() < 5 {
            if let Ok(mut client) = wire.try_subscribe(&sim).await {
                while let Some(Ok(_)) = client.next().await {}
            }
        }
        until("duplicate", || (sim.sent(wire.exchange).duplicated > 2).then_some(())).await;
    }
}

#[tokio::test]
async fn the_same_plan_hits_the_same_trades() {
    let wire = WIRES[0];
    let run = async || {
        let text = "
            [[fault]]\nafter = 30\nevery = 70\nkind = \"skip_ids\"\ncount = 5\n
            [[fault]]\nafter = 50\nevery = 50\nkind = \"withhold\"\ncount = 2\n";
        let config = SimConfig { plan: plan(text), limit: Some(500), ..one(wire.exchange, wire.symbol, 0.0) };
        let sim = Sim::spawn(config).unwrap();
        let mut client = wire.listen(&sim).await;
        until("the end of the tape", || sim.finished().then_some(())).await;
        // 50, 100, .. 500: the last one hits nothing any more.
        assert_eq!((sim.sent(wire.exchange).faults, sim.sent(wire.exchange).withheld), (17, 18));
        wire.ids(&mut client, 482).await
    };
    let one = run().await;
    assert_eq!(one, run().await);
    // Holes of five ids at 30, 170, 240, 310 and 380; at 100 and 450 two trades are withheld behind them.
    let holes = |ids| one.windows(2).filter(|pair| pair[1] == pair[0] + ids + 1).count();
    assert_eq!((holes(5), holes(7), holes(2)), (5, 2, 7));
}

#[tokio::test]
async fn chance_goes_on_and_the_simulation_with_it() {
    let text = "[random]\nseed = 3\nmean = \"2ms\"\n";
    let config = SimConfig { plan: plan(text), ..SimConfig::of(&["binance", "coinbase", "okx"]) };
    let sim = Sim::spawn(SimConfig { wait_for_subscriber: false, ..config }).unwrap();
    let faults = || sim.venues().map(|name| sim.sent(name).faults).sum::<u64>();
    while faults() < 300 {
        for wire in WIRES {
            if let Ok(mut client) = wire.try_subscribe(&sim).await {
                // Chance may leave it silent.
                for _ in 0..20 {
                    if client.is_silent_for(Duration::from_millis(5)).await {
                        break;
                    }
                }
            }
        }
    }
    let issued = sim.sent("okx").issued;
    until("a trade", || (sim.sent("okx").issued > issued).then_some(())).await;
}
