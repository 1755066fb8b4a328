//! Whether what was stored of an instrument is whole, by the venue's own ids: gaps, doubles, order. Pure.
//!
//! An [`Audit`] takes the records of one instrument in stored order, trades and gaps as one sequence, and says in a
//! [`Report`] exactly what is wrong. It does not know where records come from; a place is whatever number its caller
//! gives.
//!
//! # What can be proved
//!
//! - [`IdRule::Contiguous`]: each double, each id out of order, each id that is missing between the lowest and the
//!   highest one. Backfilled trades below the first live one are no promise, so reading may begin anywhere.
//! - [`IdRule::Increasing`]: order, and doubles within the last [`RECENT_MAX`] ids. An older double looks like a
//!   trade out of order and counts as one. No loss: only gaps tell of it.
//! - [`IdRule::Unique`], and every id that is a hash: doubles within the last [`RECENT_MAX`] ids, and nothing else.
//! - Under every rule payloads are compared within the last [`RECENT_MAX`] ids; a double of an older id counts as a
//!   double, and besides as [`Report::uncompared`].
//! - Ids in front of an aggregated row may be its fills: they prove nothing either way.
//! - Of one instrument at most [`HOLES_MAX`] holes are kept. Beyond it the older half is judged early, and a record
//!   that would change such a judgement counts as [`Class::Unjudged`].

mod era;
mod ranges;
mod recent;
mod report;

pub use era::HOLES_MAX;
pub use recent::RECENT_MAX;
pub use report::{Class, FINDINGS_MAX, Finding, Mark, Report};

use era::{Arrival, Era, Standing};
use recent::{Payload, Recent};

use crate::exchange::IdRule;
use crate::market::decimal::SCALE_MAX;
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use crate::market::{Flags, GapMsg, GapReason, GapStrength, Record, TradeMsg};

/// Trades in a row that go up from a lower id with later times: the venue has begun to count anew.
pub const RESTART_RUN: usize = 8;
/// Records that wait for such a proof, at most: gaps and doubles may stand among the trades.
const WAITING_MAX: usize = 64;
/// A trade cannot have happened much later than it was received; clocks may differ by less.
const AHEAD_NS_MAX: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The audit of one instrument.
///
/// # Examples
/// ```
/// use data_manager::exchange::IdRule;
/// use data_manager::feed::audit::{Audit, Class};
/// use data_manager::market::{Record, TradeMsg};
/// let mut audit = Audit::new(IdRule::Contiguous, 7);
/// for (at, trade_id) in [(1, 10), (2, 11), (3, 14)] {
///     let trade = TradeMsg { trade_id, ts_event: at, instrument_id: 7, kind: 1, ..bytemuck::Zeroable::zeroed() };
///     audit.record(at, &Record::Trade(trade));
/// }
/// let report = audit.finish();
/// assert_eq!((report.trades, report.count(Class::Silent)), (3, 2));
/// assert!(!report.is_whole(false));
/// ```
#[derive(Debug)]
pub struct Audit {
    rule: IdRule,
    instrument_id: u32,
    era: Era,
    recent: Recent,
    restart: Restart,
    /// The time of the last trade that was in its place.
    last_ts: u64,
    report: Report,
}

/// Trades that may be the beginning of a new count, and what stands among them.
#[derive(Debug, Default)]
struct Restart {
    waiting: Vec<(u64, Record)>,
    last_id: u64,
    run: usize,
}

impl Audit {
    /// An audit of an instrument whose venue promises this of its ids.
    #[must_use]
    pub fn new(rule: IdRule, instrument_id: u32) -> Self {
        Self {
            rule,
            instrument_id,
            era: Era::default(),
            recent: Recent::default(),
            restart: Restart::default(),
            last_ts: 0,
            report: Report::default(),
        }
    }

    /// Takes the next record; `at` is its place, for findings only.
    pub fn record(&mut self, at: u64, record: &Record) {
        match record {
            Record::Trade(trade) => self.trade(at, trade),
            Record::Gap(gap) => self.gap(at, gap),
        }
    }

    /// Something stands at this place that is no record of the instrument.
    pub fn bad(&mut self, at: u64, why: &str) {
        self.report.add(Class::Bad, at, (0, 0), 1, || why.to_owned());
    }

    /// What was found. Holes are judged only now: a gap may declare what was missing long before.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.give_up_waiting();
        self.era.finish(&mut self.report);
        self.report
    }

    /// How many trades were taken so far.
    #[must_use]
    pub const fn trades(&self) -> u64 {
        self.report.trades
    }

    fn trade(&mut self, at: u64, trade: &TradeMsg) {
        if !self.is_ours(at, trade) {
            return;
        }
        self.report.trades += 1;
        self.report.first.get_or_insert_with(|| mark(at, trade));
        if !self.waits(at, trade) {
            self.judge(at, trade);
        }
    }

    fn gap(&mut self, at: u64, gap: &GapMsg) {
        let known = GapStrength::from_wire(gap.strength).is_some() && GapReason::from_wire(gap.reason).is_some();
        if gap.instrument_id != self.instrument_id || gap.kind != KIND_GAP_V1 || !known {
            let (strength, reason, of) = (gap.strength, gap.reason, gap.instrument_id);
            self.bad(at, &format!("a gap of instrument {of} with strength {strength} and reason {reason}"));
            return;
        }
        self.report.gaps += 1;
        if self.restart.run == 0 {
            return self.judge_gap(at, gap);
        }
        self.restart.waiting.push((at, Record::Gap(*gap)));
        self.bound_waiting();
    }

    /// Tells values that cannot be; whether the record counts as a trade of this instrument all the same.
    fn is_ours(&mut self, at: u64, trade: &TradeMsg) -> bool {
        let id = trade.trade_id;
        let why = if trade.kind != KIND_TRADE_V1 {
            format!("kind {} is no trade", trade.kind)
        } else if trade.instrument_id != self.instrument_id {
            format!("a trade of instrument {}, and this one is {}", trade.instrument_id, self.instrument_id)
        } else if trade.price_scale > SCALE_MAX || trade.size_scale > SCALE_MAX {
            format!("scales {} and {}; at most {SCALE_MAX} can be", trade.price_scale, trade.size_scale)
        } else if trade.ts_event == 0 {
            "it has no time".to_owned()
        } else if trade.ts_recv != 0 && trade.ts_event > trade.ts_recv.saturating_add(AHEAD_NS_MAX) {
            format!("its time, {}, is more than a day after its receipt, {}", trade.ts_event, trade.ts_recv)
        } else {
            return true;
        };
        self.report.add(Class::Bad, at, (id, id), 1, || why);
        trade.kind == KIND_TRADE_V1 && trade.instrument_id == self.instrument_id
    }

    /// Whether a trade has to wait until it is clear that the venue counts anew.
    fn waits(&mut self, at: u64, trade: &TradeMsg) -> bool {
        let flags = trade.flag_set();
        let below = self.era.top().is_some_and(|(id, ts)| trade.trade_id < id && trade.ts_event > ts);
        let live = self.rule != IdRule::Unique && !flags.has(Flags::BACKFILLED) && !flags.has(Flags::HASHED_ID);
        let first = self.restart.run == 0;
        if live && below && (first || trade.trade_id >= self.restart.last_id) {
            if first || trade.trade_id > self.restart.last_id {
                self.restart.run += 1;
            }
            self.restart.last_id = trade.trade_id;
            self.restart.waiting.push((at, Record::Trade(*trade)));
            if self.restart.run >= RESTART_RUN {
                self.begin_anew()
            } else {
                self.bound_waiting()
            }
            return true;
        }
        if first {
            return false;
        }
        if !live {
            self.restart.waiting.push((at, Record::Trade(*trade)));
            self.bound_waiting();
            return true;
        }
        self.give_up_waiting();
        // It may be the beginning of another run.
        self.waits(at, trade)
    }

    fn bound_waiting(&mut self) {
        if self.restart.waiting.len() >= WAITING_MAX {
            self.give_up_waiting();
        }
    }

    /// No new count: what waited is what it looked like.
    fn give_up_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.restart).waiting;
        self.judge_all(&waiting);
    }

    fn begin_anew(&mut self) {
        let waiting = std::mem::take(&mut self.restart).waiting;
        let first = waiting.first().and_then(|(at, record)| match record {
            Record::Trade(trade) => Some(mark(*at, trade)),
            Record::Gap(_) => None,
        });
        let before = self.era.top().map_or(0, |(id, _)| id);
        std::mem::take(&mut self.era).finish(&mut self.report);
        self.recent = Recent::default();
        if let Some(Mark { at, id, .. }) = first {
            self.report.add(Class::Restart, at, (id, id), 1, || format!("the venue counts anew, after {before}"));
        }
        self.judge_all(&waiting);
    }

    fn judge_all(&mut self, waiting: &[(u64, Record)]) {
        for (at, record) in waiting {
            match record {
                Record::Trade(trade) => self.judge(*at, trade),
                Record::Gap(gap) => self.judge_gap(*at, gap),
            }
        }
    }

    fn judge(&mut self, at: u64, trade: &TradeMsg) {
        let rule = if trade.flag_set().has(Flags::HASHED_ID) { IdRule::Unique } else { self.rule };
        let known = self.recent.get(trade.trade_id);
        let standing = match rule {
            _ if known.is_some() => Standing::Seen,
            IdRule::Contiguous => self.era.standing(trade.trade_id),
            IdRule::Increasing if self.era.top().is_some_and(|(id, _)| trade.trade_id <= id) => Standing::Behind,
            IdRule::Increasing | IdRule::Unique => Standing::Ahead,
        };
        match standing {
            Standing::Seen => return self.again(at, trade, known),
            Standing::Forgotten => {
                let id = trade.trade_id;
                self.report
                    .add(Class::Unjudged, at, (id, id), 1, || "a double or late: too long ago to tell".to_owned());
                return;
            }
            Standing::Behind => self.behind(at, trade),
            Standing::Ahead => self.in_place(at, trade),
        }
        self.take(at, trade, rule);
        self.recent.insert(at, trade);
    }

    /// Gives an id to the era, as far as the rule knows holes.
    fn take(&mut self, at: u64, trade: &TradeMsg, rule: IdRule) {
        let (id, flags) = (trade.trade_id, trade.flag_set());
        let arrival = Arrival {
            at,
            id,
            ts: trade.ts_event,
            backfilled: flags.has(Flags::BACKFILLED),
            aggregated: flags.has(Flags::AGGREGATED),
        };
        match rule {
            IdRule::Contiguous => {
                let before = id.checked_sub(1).is_some_and(|id| self.era.standing(id) == Standing::Seen);
                if flags.has(Flags::AFTER_GAP) && before {
                    let why = || "flagged as behind a gap, and the id before it is there".to_owned();
                    self.report.add(Class::AfterGap, at, (id, id), 1, why);
                }
                self.era.take(arrival);
                self.era.bound(&mut self.report);
            }
            IdRule::Increasing => self.era.raise(arrival),
            IdRule::Unique => {}
        }
    }

    fn in_place(&mut self, at: u64, trade: &TradeMsg) {
        let (id, ts, last) = (trade.trade_id, trade.ts_event, self.last_ts);
        // A backfill at the beginning is older than what it follows, as it should be.
        if !trade.flag_set().has(Flags::BACKFILLED) {
            if ts < last {
                let why = || format!("its time is {} ns before that of the trade in front of it", last - ts);
                self.report.add(Class::Time, at, (id, id), 1, why);
            }
            self.last_ts = ts;
        }
        self.report.last = Some(mark(at, trade));
    }

    fn behind(&mut self, at: u64, trade: &TradeMsg) {
        let id = trade.trade_id;
        let highest = self.era.top().map_or(0, |(id, _)| id);
        if trade.flag_set().has(Flags::BACKFILLED) {
            self.report.add(Class::Late, at, (id, id), 1, || format!("backfilled, after {highest}"));
            return;
        }
        if self.era.declares(id) {
            // Another connection has brought it after all: readers were told to expect it.
            let why = || format!("after {highest}, inside a gap that was declared before it");
            self.report.add(Class::Late, at, (id, id), 1, why);
            return;
        }
        let forgot = self.rule == IdRule::Increasing && self.recent.forgot;
        let why = if forgot { "; or a double of long ago" } else { "" };
        self.report.add(Class::Order, at, (id, id), 1, || format!("after {highest}{why}"));
    }

    fn again(&mut self, at: u64, trade: &TradeMsg, known: Option<(Payload, u64)>) {
        let (id, now) = (trade.trade_id, Payload::of(trade));
        match known {
            Some((before, there)) if before == now => {
                self.report.add(Class::Double, at, (id, id), 1, || format!("as at {there}"));
            }
            Some((before, there)) => {
                self.report.add(Class::Conflict, at, (id, id), 1, || format!("{now}, and {before} at {there}"));
            }
            None => {
                self.report.uncompared += 1;
                let why = || "of long ago: whether price, size and side are the same is not known".to_owned();
                self.report.add(Class::Double, at, (id, id), 1, why);
            }
        }
    }

    fn judge_gap(&mut self, at: u64, gap: &GapMsg) {
        let filled = gap.flags & Flags::BACKFILLED != 0;
        let GapMsg { first_id: first, last_id: last, missing, .. } = *gap;
        let has_ids = first != 0 && first <= last;
        if has_ids && self.rule == IdRule::Contiguous {
            self.era.gap(at, first, last, filled);
            self.era.bound(&mut self.report);
        } else if !filled {
            let reason = GapReason::from_wire(gap.reason).map_or("unknown", GapReason::as_str);
            let (class, count) = if missing == 0 { (Class::Possible, 1) } else { (Class::Declared, missing) };
            let what = if missing == 0 { "trades may be missing".to_owned() } else { format!("{missing} are missing") };
            self.report.add(class, at, (first, last), count, || format!("{what}, {reason}"));
        }
    }
}

const fn mark(at: u64, trade: &TradeMsg) -> Mark {
    Mark { at, id: trade.trade_id, ts: trade.ts_event }
}

#[cfg(test)]
mod tests;
