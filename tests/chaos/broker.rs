//! B rows: what the broker and the line to it do.

use std::time::Instant;

use crate::kit::{Setup, TWO, long, pause};
use crate::report::Must;

/// The broker is killed and comes back: nothing is lost, doubled or reordered.
#[tokio::test]
async fn b01_kill_broker() {
    let mut scene = Setup::new("b01_kill_broker", &TWO, 1_000.0, 11.0).start();
    let away = if long() { vec![0.1, 5.0, 60.0] } else { vec![0.1, 3.0] };
    for away in away {
        let killed = Instant::now();
        scene.broker.one().kill9();
        scene.wait_to_miss(killed);
        pause(away).await;
        scene.broker.one().restart_live().await;
        scene.recover(Instant::now()).await;
    }
    scene.end(Must::Whole).await;
}
