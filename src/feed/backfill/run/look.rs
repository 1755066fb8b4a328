//! Looks at the latest trade of symbols that are silent for too long.

use std::rc::Rc;
use std::time::Instant;

use super::{Repairs, sequencer};
use crate::feed::Deliver;
use crate::feed::backfill::watch::Verdict;
use crate::market::TradeMsg;

impl<D: Deliver> Repairs<D> {
    /// Looks for symbols that are silent for too long.
    pub(super) fn watch(&mut self, now: Instant) {
        let mut verdicts = Vec::new();
        let queue = Rc::clone(&self.shared.queue);
        for (line, watch) in self.watches.iter_mut().enumerate() {
            let pulse = |route| queue.pulse(line, route).unwrap_or_default();
            let before = verdicts.len();
            watch.poll(now, queue.is_live(line), pulse, &mut verdicts);
            let looks = verdicts.drain(before..).collect::<Vec<_>>();
            for verdict in looks {
                match verdict {
                    Verdict::Look(route) => self.looks.push_back((line, route)),
                    Verdict::Mute { line, route } => {
                        let symbol = self.spec.instruments.iter().find(|(known, _)| *known == route);
                        let symbol = symbol.map(|(_, i)| i.symbol.to_string()).unwrap_or_default();
                        queue.status.borrow_mut().mute += 1;
                        queue.call_mute(line, format!("{symbol} trades at the venue and nothing of it comes"));
                    }
                }
            }
        }
    }

    /// A look is back: the sequencer hears of trades that it does not have, the watch of subscriptions that are mute.
    pub(super) fn looked(&mut self, now: Instant, line: usize, route: u32, latest: Option<&TradeMsg>) {
        if let Some((latest, sequencer)) = latest.zip(sequencer(&self.shared.sequencers, route)) {
            sequencer.borrow_mut().last_trade(now, route, latest.trade_id, latest.ts_event);
            // The feed settles what its sequencer waits for.
            self.shared.queue.muted.notify_waiters();
        }
        let pulse = self.shared.queue.pulse(line, route).unwrap_or_default();
        if let Some(watch) = self.watches.get_mut(line) {
            watch.looked(now, route, latest.map(|row| row.trade_id), &pulse);
        }
    }
}
