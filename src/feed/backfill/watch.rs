//! Which subscriptions are silent for longer than their symbol's own rate explains. Pure.
//!
//! Only data resets a symbol's silence, on each line by itself. Silence alone proves nothing: the venue's history is
//! looked at, and only where it has a trade that never came is the subscription called mute.

use std::time::{Duration, Instant};

/// A symbol is silent after this many of its mean intervals.
const INTERVALS: u32 = 25;
/// Never sooner than this, and never later.
const SILENCE_MIN: Duration = Duration::from_secs(3);
const SILENCE_MAX: Duration = Duration::from_secs(900);
/// A symbol of which nothing is known yet.
const SILENCE_UNKNOWN: Duration = Duration::from_secs(30);
/// After a subscribe, a symbol that brings nothing is looked at this soon: it may have traded meanwhile.
const SILENCE_FRESH: Duration = Duration::from_secs(4);
/// A trade that a look has told of may still be under way for this long.
const GRACE: Duration = Duration::from_secs(1);
/// After a connection was called mute, its symbols are left alone this long.
const MUTE_PAUSE: Duration = Duration::from_secs(15);
/// How much an interval weighs against all before it.
const WEIGHT: f64 = 0.2;

/// What one line has brought of one symbol: written by the feed at each trade.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    /// Rows received, doubles included.
    pub rows: u64,
    /// The highest id received.
    pub last_id: u64,
    /// When the last row came, or the venue showed that there was none.
    pub at: Option<Instant>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look at the latest trade of this symbol.
    Look(u32),
    /// This line does not bring what the venue trades: replace its connection.
    Mute {
        /// The line.
        line: usize,
        /// The symbol that proves it.
        route: u32,
    },
}

/// Watches the symbols of one line.
#[derive(Debug)]
pub struct Watch {
    line: usize,
    symbols: Vec<Symbol>,
    pause: Option<Instant>,
}

#[derive(Debug)]
struct Symbol {
    route: u32,
    rows: u64,
    seen: Instant,
    /// Mean time between rows, seconds.
    interval: Option<f64>,
    /// A look is due.
    due: Instant,
    looking: bool,
    /// A look told of this id; it has to be here by then.
    owed: Option<(u64, Instant)>,
    /// The latest id that any look told of.
    told: u64,
}

impl Watch {
    /// A watch over these routes of a line.
    #[must_use]
    pub fn new(line: usize, routes: &[u32], now: Instant) -> Self {
        let symbol = |route: &u32| Symbol {
            route: *route,
            rows: 0,
            seen: now,
            interval: None,
            due: now + SILENCE_UNKNOWN,
            looking: false,
            owed: None,
            told: 0,
        };
        Self { line, symbols: routes.iter().map(symbol).collect(), pause: None }
    }

    /// The line is subscribed anew: what was traded meanwhile shows at the next trade, or at a look.
    pub fn subscribed(&mut self, now: Instant) {
        self.pause = None;
        for symbol in &mut self.symbols {
            symbol.due = now + SILENCE_FRESH;
            symbol.seen = now;
            symbol.looking = false;
            symbol.owed = None;
        }
    }

    /// Lets time pass. `pulse` tells what has come of a route; `live` whether the line is subscribed at all.
    pub fn poll(&mut self, now: Instant, live: bool, pulse: impl Fn(u32) -> Pulse, out: &mut Vec<Verdict>) {
        let paused = !live || self.pause.is_some_and(|until| now < until);
        let mut mute = None;
        for symbol in &mut self.symbols {
            let pulse = pulse(symbol.route);
            symbol.beat(&pulse);
            match symbol.owed {
                Some((id, _)) if pulse.last_id >= id => symbol.owed = None,
                Some((_, by)) if now >= by && !paused => {
                    symbol.owed = None;
                    mute = Some(symbol.route);
                }
                _ => {}
            }
            if !paused && !symbol.looking && symbol.owed.is_none() && now >= symbol.due {
                symbol.looking = true;
                out.push(Verdict::Look(symbol.route));
            }
        }
        if let Some(route) = mute {
            self.pause = Some(now + MUTE_PAUSE);
            out.push(Verdict::Mute { line: self.line, route });
        }
    }

    /// A look has told the latest trade's id; `None`: it told nothing.
    pub fn looked(&mut self, now: Instant, route: u32, latest: Option<u64>, pulse: &Pulse) {
        let Some(symbol) = self.symbols.iter_mut().find(|symbol| symbol.route == route) else { return };
        symbol.looking = false;
        // Quiet for now: the longer it has been, the later it is looked at again.
        let silence = now.saturating_duration_since(symbol.seen);
        symbol.due = now + symbol.patience().max(silence).min(SILENCE_MAX);
        let Some(id) = latest else { return };
        // A line that has never brought the symbol is judged by two looks: the venue trades, and nothing comes.
        let judged = pulse.rows > 0 || (symbol.told > 0 && id > symbol.told);
        if judged && id > pulse.last_id {
            symbol.owed = Some((id, now + GRACE));
        }
        symbol.told = symbol.told.max(id);
    }
}

impl Symbol {
    /// Takes note of what has come since the last look at the pulse.
    fn beat(&mut self, pulse: &Pulse) {
        let at = pulse.at.unwrap_or(self.seen).max(self.seen);
        let rows = pulse.rows.saturating_sub(self.rows);
        self.rows = pulse.rows;
        if rows > 0 {
            let interval = at.saturating_duration_since(self.seen).as_secs_f64() / rows as f64;
            self.interval = Some(self.interval.map_or(interval, |mean| mean + (interval - mean) * WEIGHT));
        }
        if at > self.seen {
            self.seen = at;
            self.due = at + self.patience();
        }
    }

    /// How long this symbol may be silent.
    fn patience(&self) -> Duration {
        let silence =
            self.interval.map_or(SILENCE_UNKNOWN, |mean| Duration::from_secs_f64(mean.min(3_600.0)) * INTERVALS);
        silence.clamp(SILENCE_MIN, SILENCE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    struct Scene {
        watch: Watch,
        now: Instant,
        pulse: Pulse,
    }

    fn scene() -> Scene {
        let now = clock::now();
        Scene { watch: Watch::new(0, &[7], now), now, pulse: Pulse::default() }
    }

    impl Scene {
        /// Lets time pass in half seconds, with so many trades in each; the verdicts with their times.
        fn pass(&mut self, seconds: u64, trades: u64) -> Vec<(u64, Verdict)> {
            let (mut said, start) = (Vec::new(), self.now);
            for _ in 0..seconds * 2 {
                self.now += Duration::from_millis(500);
                if trades > 0 {
                    self.pulse.rows += trades;
                    self.pulse.last_id += trades;
                    self.pulse.at = Some(self.now);
                }
                let mut out = Vec::new();
                self.watch.poll(self.now, true, |_| self.pulse, &mut out);
                said.extend(out.into_iter().map(|verdict| ((self.now - start).as_secs(), verdict)));
            }
            said
        }

        fn looked(&mut self, latest: u64) {
            self.watch.looked(self.now, 7, Some(latest), &self.pulse);
        }
    }

    #[test]
    fn a_busy_symbol_is_looked_at_within_seconds_and_called_mute_when_the_venue_trades_on() {
        let mut scene = scene();
        assert_eq!(scene.pass(30, 50), []);
        assert_eq!(scene.pass(4, 0), [(3, Verdict::Look(7))]);
        scene.looked(scene.pulse.last_id + 20);
        assert_eq!(scene.pass(3, 0), [(1, Verdict::Mute { line: 0, route: 7 })]);
        // It is said once; the connection gets time to be replaced.
        assert_eq!(scene.pass(10, 0), []);
    }

    #[test]
    fn a_quiet_symbol_is_left_in_peace_and_asked_after_less_and_less_often() {
        let mut scene = scene();
        scene.pass(20, 1);
        let mut looks = Vec::new();
        for _ in 0..3_600 {
            for (_, verdict) in scene.pass(1, 0) {
                assert_eq!(verdict, Verdict::Look(7));
                looks.push(scene.now);
                scene.looked(scene.pulse.last_id);
            }
        }
        assert!(looks.len() < 12, "{} looks in an hour", looks.len());
    }

    #[test]
    fn a_trade_that_was_under_way_is_no_proof() {
        let mut scene = scene();
        scene.pass(30, 50);
        scene.pass(4, 0);
        scene.looked(scene.pulse.last_id + 1);
        scene.pulse.last_id += 1;
        scene.pulse.rows += 1;
        scene.pulse.at = Some(scene.now);
        assert_eq!(scene.pass(2, 0), []);
    }

    #[test]
    fn after_a_subscribe_silent_symbols_are_looked_at_soon() {
        let mut scene = scene();
        scene.pass(20, 0);
        scene.watch.subscribed(scene.now);
        assert_eq!(scene.pass(6, 0), [(4, Verdict::Look(7))]);
    }

    #[test]
    fn nothing_is_asked_while_the_line_is_down() {
        let mut scene = scene();
        scene.now += Duration::from_secs(600);
        let mut out = Vec::new();
        scene.watch.poll(scene.now, false, |_| Pulse::default(), &mut out);
        assert_eq!(out, []);
    }
}
