//! One fault by chance, of any family, and its healing.

use std::time::Duration;

use data_manager::sim::{Damage, Fault, Which};

use crate::kit::{Scene, pause};
use crate::support::Way;

/// Makes a fault happen and ends it; its name. Everything about it comes from `rng`.
pub(crate) async fn fault(scene: &mut Scene, rng: &mut fastrand::Rng) -> String {
    let names: Vec<String> = scene.sim.venues().map(str::to_owned).collect();
    let exchange = names[rng.usize(..names.len())].clone();
    let symbols = scene.sim.symbols(&exchange);
    let symbol = symbols[rng.usize(..symbols.len())].clone();
    let length = rng.f64();
    match rng.u8(..14) {
        number @ 0..=5 => venue(scene, rng, number, exchange, symbol),
        6 => {
            scene.broker.one().kill9();
            pause(length * 2.0).await;
            scene.broker.one().restart_live().await;
            format!("broker killed, away {:.1} s", length * 2.0)
        }
        7 => {
            scene.broker.one().pause();
            pause(length * 3.0).await;
            scene.broker.one().resume();
            format!("broker stopped for {:.1} s", length * 3.0)
        }
        8 => {
            scene.proxy().cut();
            "line to the broker reset".to_owned()
        }
        9 => {
            let way = [Way::Both, Way::ToClient, Way::ToServer][rng.usize(..3)];
            scene.proxy().black_hole(way);
            pause(length * 3.0).await;
            scene.proxy().cut();
            scene.proxy().pass();
            format!("line to the broker dead {way:?} for {:.1} s", length * 3.0)
        }
        10 => {
            scene.proxy().slice(rng.usize(1..100), Duration::ZERO);
            pause(length).await;
            scene.proxy().pass();
            "line to the broker in slices".to_owned()
        }
        11 => {
            scene.daemon.signal(rustix::process::Signal::STOP);
            pause(length * 2.0).await;
            scene.daemon.signal(rustix::process::Signal::CONT);
            format!("daemon stopped for {:.1} s", length * 2.0)
        }
        12 => {
            scene.daemon.kill9();
            scene.next_daemon();
            "daemon killed".to_owned()
        }
        _ => {
            scene.daemon.signal(rustix::process::Signal::TERM);
            scene.daemon.ended();
            scene.next_daemon();
            "daemon drained and started".to_owned()
        }
    }
}

/// A fault of a venue.
fn venue(scene: &Scene, rng: &mut fastrand::Rng, number: u8, exchange: String, symbol: String) -> String {
    let which = Which::All;
    let fault = match number {
        0 => Fault::Drop { exchange, which },
        1 => Fault::Withhold { exchange, symbol, count: rng.u64(1..100), which },
        2 => Fault::Duplicate { exchange, symbol, count: rng.u64(1..100) },
        3 => Fault::Spoil { exchange, symbol: None, which, damage: Damage::Truncated, count: rng.u64(1..5) },
        4 => Fault::Replay { exchange, symbol: None, which, count: rng.u64(1..1_000) },
        _ => Fault::Stall { exchange, which },
    };
    let name = fault.to_string();
    scene.inject(fault);
    name
}
