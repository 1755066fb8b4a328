//! What a plan means for the venues that there are: faults for their tapes, and faults in the order of their times.
//!
//! Everything by chance comes from seeds: the same plan gives the same agenda. It waits for nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::chance::Chance;
use super::{Entry, FaultPlan, When};
use crate::sim::config::SimError;
use crate::sim::faults::Fault;
use crate::sim::venue::Due;

/// A venue's token and its symbols.
pub(in crate::sim) type Venues = [(String, Vec<String>)];

/// Faults by their times since the start, without end if one of them repeats.
#[derive(Debug, Default)]
pub(in crate::sim) struct Agenda {
    timed: Vec<Timed>,
    chance: Option<Chance>,
    /// Time and place in `timed`; behind its end: by chance.
    coming: BinaryHeap<Reverse<(Duration, usize)>>,
}

/// A planned fault, for every venue and symbol that it hits at once.
#[derive(Debug)]
struct Timed {
    faults: Vec<Fault>,
    /// When it comes next, before the jitter.
    next: Duration,
    every: Option<Duration>,
    jitter: Duration,
    rng: fastrand::Rng,
}

impl FaultPlan {
    /// What is due on the tapes, and what is due by time. `check` refuses what cannot be done.
    pub(in crate::sim) fn resolve(
        &self,
        venues: &Venues,
        check: impl Fn(&Fault) -> Result<(), SimError>,
    ) -> Result<(Vec<Due>, Agenda), SimError> {
        let (mut script, mut agenda) = (Vec::new(), Agenda::default());
        let seed = self.random.as_ref().map_or(1, |random| random.seed);
        for entry in &self.entries {
            let faults = entry.for_each(venues)?;
            let refused = |error: SimError| entry.keys.wrong(error);
            faults.iter().try_for_each(&check).map_err(refused)?;
            match entry.when {
                When::After { after, every } => {
                    script.extend(faults.into_iter().map(|fault| Due { after, every, fault }));
                }
                When::At { at, every, jitter } => {
                    let place = agenda.timed.len();
                    let rng = seeded(&format!("jitter:{place}"), seed);
                    agenda.timed.push(Timed { faults, next: at, every, jitter, rng });
                }
            }
        }
        agenda.chance = self.random.as_ref().map(|random| random.chance(venues, &check)).transpose()?;
        agenda.begin();
        Ok((script, agenda))
    }
}

impl Entry {
    /// The fault for every venue and symbol that is meant.
    fn for_each(&self, venues: &Venues) -> Result<Vec<Fault>, SimError> {
        let written = self.fault(None, None)?;
        let (exchange, symbol) = (written.exchange(), written.symbol().filter(|symbol| !symbol.is_empty()));
        // A symbol without a venue is for those that list it.
        let lists = |symbols: &Vec<String>| symbol.is_none_or(|symbol| symbols.iter().any(|one| one == symbol));
        let meant = |(name, symbols): &&(String, Vec<String>)| {
            if exchange.is_empty() { lists(symbols) } else { name == exchange }
        };
        let mut faults = Vec::new();
        for (name, symbols) in venues.iter().filter(meant) {
            if written.symbol() == Some("") {
                for symbol in symbols {
                    faults.push(self.fault(Some(name), Some(symbol))?);
                }
            } else {
                faults.push(self.fault(Some(name), None)?);
            }
        }
        if faults.is_empty() {
            let names: Vec<&str> = venues.iter().map(|(name, _)| name.as_str()).collect();
            let what = if exchange.is_empty() { symbol.unwrap_or_default() } else { exchange };
            return Err(self.keys.wrong(format!("{what:?} is not simulated; there are {}", names.join(", "))));
        }
        Ok(faults)
    }
}

impl Agenda {
    fn begin(&mut self) {
        for place in 0..self.timed.len() {
            self.plan(place, Duration::ZERO);
        }
        self.plan_chance(Duration::ZERO);
    }

    /// Plans the next time of a fault, not before `now`.
    fn plan(&mut self, place: usize, now: Duration) {
        let Some(timed) = self.timed.get_mut(place) else { return };
        let jitter = timed.jitter.mul_f64(timed.rng.f64());
        self.coming.push(Reverse(((timed.next + jitter).max(now), place)));
    }

    fn plan_chance(&mut self, now: Duration) {
        if let Some(chance) = &mut self.chance {
            let due = now + chance.pause();
            self.coming.push(Reverse((due, self.timed.len())));
        }
    }
}

impl Iterator for Agenda {
    type Item = (Duration, Vec<Fault>);

    /// The next time, and what happens then.
    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((now, place)) = self.coming.pop()?;
        let Some(timed) = self.timed.get_mut(place) else {
            let faults = self.chance.as_mut().and_then(Chance::next).into_iter().collect();
            self.plan_chance(now);
            return Some((now, faults));
        };
        let faults = timed.faults.clone();
        if let Some(every) = timed.every {
            timed.next += every;
            self.plan(place, now);
        }
        Some((now, faults))
    }
}

pub(super) fn seeded(name: &str, seed: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(xxh3_64_with_seed(name.as_bytes(), seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::faults::text::KINDS;

    fn venues() -> Vec<(String, Vec<String>)> {
        let venue = |name: &str, symbols: [&str; 2]| (name.to_owned(), symbols.map(str::to_owned).to_vec());
        vec![venue("binance", ["BTCUSDT", "ETHUSDT"]), venue("coinbase", ["BTCUSD", "ETHUSD"])]
    }

    fn resolve(text: &str) -> Result<(Vec<Due>, Agenda), SimError> {
        FaultPlan::parse("plan.toml", text).and_then(|plan| plan.resolve(&venues(), |_| Ok(())))
    }

    /// What is due within the first `count` times, as text.
    fn first(text: &str, count: usize) -> Vec<(Duration, Vec<String>)> {
        let spelled = |faults: Vec<Fault>| faults.iter().map(Fault::to_string).collect();
        let agenda = resolve(text).unwrap().1;
        agenda.take(count).map(|(due, faults)| (due, spelled(faults))).collect()
    }

    const CHAOS: &str = "
        [[fault]]\nat = \"3s\"\nevery = \"10s\"\njitter = \"4s\"\nkind = \"drop\"\n
        [[fault]]\nat = \"1s\"\nevery = \"7s\"\nkind = \"burst\"\nexchange = \"binance\"\n
        [random]\nseed = 7\nmean = \"2s\"\n";

    #[test]
    fn the_same_seed_gives_the_same_faults_at_the_same_times() {
        let one = first(CHAOS, 2_000);
        assert_eq!(one, first(CHAOS, 2_000));
        assert_ne!(one, first(&CHAOS.replace("seed = 7", "seed = 8"), 2_000));
        assert!(one.is_sorted_by_key(|(due, _)| *due));
        for kind in KINDS {
            let hits = |fault: &String| fault.split(' ').next() == Some(kind);
            assert!(one.iter().flat_map(|(_, faults)| faults).any(hits), "chance never chose {kind}");
        }
        let end = one.last().unwrap().0.as_secs_f64();
        // About 0.74 of them a second: 2,000 take about 2,700 s.
        assert!((2_400.0..3_000.0).contains(&end), "{end}");
    }

    #[test]
    fn a_fault_repeats_with_its_jitter_and_does_not_drift() {
        let text =
            "[[fault]]\nat = \"3s\"\nevery = \"10s\"\njitter = \"4s\"\nkind = \"drop\"\nexchange = \"binance\"\n";
        for (turn, (due, faults)) in (0..).zip(first(text, 100)) {
            let base = Duration::from_secs(3 + 10 * turn);
            assert!(due >= base && due <= base + Duration::from_secs(4), "{turn}: {due:?}");
            assert_eq!(faults, ["drop exchange=binance which=all"]);
        }
        assert_eq!(first(&text.replace("every = \"10s\"\njitter = \"4s\"\n", ""), 9).len(), 1, "once");
    }

    #[test]
    fn what_names_no_venue_or_symbol_is_for_each() {
        let hit = |line: &str| {
            let mut plan = FaultPlan::default();
            plan.add(line).unwrap();
            let (script, agenda) = plan.resolve(&venues(), |_| Ok(())).unwrap();
            let faults = script.into_iter().map(|due| due.fault).chain(agenda.flat_map(|(_, faults)| faults));
            faults.map(|fault| (fault.exchange().to_owned(), fault.symbol().map(str::to_owned))).collect::<Vec<_>>()
        };
        let pair = |exchange: &str, symbol: Option<&str>| (exchange.to_owned(), symbol.map(str::to_owned));
        assert_eq!(hit("drop"), [pair("binance", None), pair("coinbase", None)]);
        assert_eq!(hit("spoil exchange=binance"), [pair("binance", None)], "any symbol of it");
        let each = ["BTCUSD", "ETHUSD"].map(|symbol| pair("coinbase", Some(symbol)));
        assert_eq!(hit("withhold exchange=coinbase after=5"), each);
        assert_eq!(hit("skip_ids symbol=ETHUSDT"), [pair("binance", Some("ETHUSDT"))]);
    }

    #[test]
    fn what_is_not_simulated_is_told_with_its_place() {
        let told = |text: &str| resolve(text).unwrap_err().to_string();
        let error = told("\n[[fault]]\nkind = \"drop\"\nexchange = \"okx\"\n");
        assert_eq!(error, "plan.toml:2: \"okx\" is not simulated; there are binance, coinbase");
        assert!(told("[[fault]]\nkind = \"spoil\"\nsymbol = \"FOO\"\n").contains("\"FOO\" is not simulated"));
        assert!(told("[random]\nexchange = \"okx\"\n").contains("exchange = \"okx\" is not simulated"));
        let plan = FaultPlan::parse("plan.toml", "[random]\nkinds = [\"skip_ids\"]\n").unwrap();
        let refuse = |_: &Fault| Err(SimError::Fault { message: "no".to_owned() });
        let error = plan.resolve(&venues(), refuse).unwrap_err().to_string();
        assert_eq!(error, "plan.toml:1: kinds: skip_ids: fault refused: no");
    }
}
