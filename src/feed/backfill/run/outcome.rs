//! What comes of repairs: trades handed over, jobs ended, silent symbols looked at.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::Repairs;
use crate::feed::backfill::job::Aim;
use crate::feed::backfill::watch::Verdict;
use crate::feed::stamp::stamp;
use crate::feed::{Deliver, Sequencer};
use crate::market::{Flags, GapMsg, Record, TradeMsg};
use crate::telemetry::clock;

impl<D: Deliver> Repairs<D> {
    /// What was found goes where it is missing.
    pub(super) fn hand_over(&self, aim: Aim, route: u32, rows: Vec<TradeMsg>) {
        if rows.is_empty() {
            return;
        }
        let recv = clock::wall_ns();
        let mut deliver = self.shared.deliver.borrow_mut();
        let sequencer = self.shared.sequencers.get(&route);
        let (mut out, mut found) = (Vec::new(), 0);
        for mut row in rows {
            stamp(&mut row, recv);
            row.flags |= Flags::BACKFILLED;
            match (aim, sequencer) {
                (Aim::Everywhere, Some(sequencer)) => {
                    found += u64::from(sequencer.borrow_mut().fill(route, row, &mut out));
                }
                _ => {
                    found += 1;
                    deliver.restore(route, &Record::Trade(row));
                }
            }
        }
        for (route, record) in out {
            deliver.record(route, &record);
        }
        deliver.batch_end();
        self.shared.queue.status.borrow_mut().trades += found;
    }

    /// A job is over.
    pub(super) fn ended(&mut self, number: u64) {
        let Some(place) = self.jobs.iter().position(|(known, ..)| *known == number) else { return };
        let Some((.., job)) = self.jobs.remove(place) else { return };
        let symbol = self.venue_symbol(job.route).unwrap_or_default();
        let (exchange, left) = (self.spec.exchange.profile().name, job.missing().count());
        let filled = |of: &Rc<RefCell<Sequencer>>| of.borrow().is_filled(job.route, &job.gap);
        let whole = job.missing().is_empty()
            || job.aim == Aim::Everywhere && self.shared.sequencers.get(&job.route).is_some_and(filled);
        let mut status = self.shared.queue.status.borrow_mut();
        let mut deliver = self.shared.deliver.borrow_mut();
        if whole {
            status.whole += 1;
            if job.aim == Aim::Broker {
                let filled = GapMsg { flags: Flags::BACKFILLED, ..job.gap };
                deliver.restore(job.route, &Record::Gap(filled));
            }
            tracing::info!(exchange, symbol, trades = job.gap.missing, "a gap is filled from the venue's history");
        } else {
            status.partial += 1;
            deliver.give_up(job.route, &job.gap);
            let (first, last) = (job.gap.first_id, job.gap.last_id);
            tracing::warn!(
                exchange,
                symbol,
                first,
                last,
                left,
                "a gap stays: the venue's history does not have it all"
            );
        }
        deliver.batch_end();
    }

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
        if let Some((latest, sequencer)) = latest.zip(self.shared.sequencers.get(&route)) {
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
