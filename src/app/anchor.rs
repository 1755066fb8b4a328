//! Where a run begins: behind what the stream holds of each symbol, with the gaps open that an earlier run left.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::feeds::Feed;
use super::outlet::Outlet;
use crate::market::Record;
use crate::transport::nats::Past;
use crate::transport::nats::publisher::{Anchor, OnAnchor};

/// Puts the sequencers behind what the stream holds. What is missing in between goes to the ring at once; the publisher
/// sends it in front of all that waits.
pub(super) fn on_anchor(feeds: Rc<[Feed]>, outlet: Rc<RefCell<Outlet>>, anchored: Rc<Notify>) -> OnAnchor {
    Box::new(move |route, anchor| {
        anchored.notify_one();
        let has = |feed: &&Feed| feed.spec.instruments.iter().any(|(known, _)| *known == route);
        let feed = feeds.iter().find(has)?;
        let instrument_id = feed.spec.instruments.iter().find(|(known, _)| *known == route).map(|(_, i)| i.id)?;
        let mut out = Vec::new();
        match anchor {
            Anchor::Followed(trade) => {
                outlet.borrow_mut().stored(route, trade);
                return None;
            }
            Anchor::Trade(trade, past) => {
                outlet.borrow_mut().stored(route, trade);
                feed.sequencer.borrow_mut().anchor(route, trade, &mut out);
                if let Some(past) = past {
                    reopen(feed, route, past, &mut outlet.borrow_mut());
                }
            }
            Anchor::AtLeast(trade) => {
                // What is missing behind it may as well be stored, so it is told as possible and not fetched: a trade
                // that is there twice would be worse.
                outlet.borrow_mut().stored(route, trade);
                feed.sequencer.borrow_mut().anchor_lost(route, instrument_id, &mut out);
            }
            Anchor::Forgotten => feed.sequencer.borrow_mut().anchor_lost(route, instrument_id, &mut out),
            Anchor::Fresh => {}
        }
        let gap = out.iter().find_map(|(_, record)| match record {
            Record::Gap(gap) => Some(*gap),
            Record::Trade(_) => None,
        })?;
        tracing::warn!(conn = %feed.spec.name, route, missing = gap.missing, "trades are missing since the last run");
        if let Some(count) = feed.status.borrow_mut().gaps_by_reason.get_mut(usize::from(gap.reason)) {
            *count += 1;
        }
        outlet.borrow_mut().declared(route, &gap);
        Some(gap)
    })
}

/// Goes on with the gaps that an earlier run declared and did not fill.
fn reopen(feed: &Feed, route: u32, past: &Past, outlet: &mut Outlet) {
    for gap in &past.open {
        let left = feed.sequencer.borrow_mut().reopen(route, *gap, &past.ids);
        tracing::info!(conn = %feed.spec.name, route, left, "an earlier run left a gap open: filling it");
        outlet.reopen(route, gap, &past.ids, left);
    }
}
