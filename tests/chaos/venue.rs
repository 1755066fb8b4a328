//! X rows: what venues and the lines to them do.

use std::time::Instant;

use data_manager::sim::{Fault, Which};

use crate::kit::{Setup, VENUES};
use crate::report::Must;

/// Connections fall silent, pings are answered: they are replaced, and what was missed is fetched.
#[tokio::test]
async fn x01_silent_stall() {
    let mut scene = Setup::new("x01_silent_stall", &VENUES, 600.0, 14.0).start();
    let (since, before) = (Instant::now(), scene.accepted());
    scene.inject_all(|exchange| Fault::Stall { exchange, which: Which::All });
    scene.wait_for_dials(&before, since);
    scene.recover(Instant::now()).await;
    scene.end(Must::Whole).await;
}
