//! Faults by chance: which kind hits which venue and symbol, with which parameters, and how long until the next.
//!
//! All of it comes from one seed. It does nothing to a venue.

use std::time::Duration;

use super::Random;
use super::agenda::{Venues, seeded};
use crate::sim::config::SimError;
use crate::sim::faults::Fault;
use crate::sim::faults::keys::Keys;
use crate::sim::faults::text::{ACKS, DAMAGES, TIMES, WHICH};

/// Faults by chance, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    rng: fastrand::Rng,
    /// Seconds between two, on average.
    mean: f64,
    kinds: Vec<String>,
    venues: Vec<(String, Vec<String>)>,
}

impl Random {
    /// What it means for these venues; `check` refuses what cannot be done.
    pub(super) fn chance(
        &self,
        venues: &Venues,
        check: impl Fn(&Fault) -> Result<(), SimError>,
    ) -> Result<Chance, SimError> {
        let wrong = |message: String| SimError::Plan { place: self.place.clone(), message };
        let meant = |(name, _): &&(String, Vec<String>)| self.exchange.as_ref().is_none_or(|only| only == name);
        let venues: Vec<_> = venues.iter().filter(meant).cloned().collect();
        if venues.is_empty() {
            return Err(wrong(format!("exchange = {:?} is not simulated", self.exchange.as_deref().unwrap_or(""))));
        }
        let (rng, mean) = (seeded("chance", self.seed), self.mean.as_secs_f64());
        let chance = Chance { rng, mean, kinds: self.kinds.clone(), venues };
        let mut trial = chance.clone();
        for kind in &self.kinds {
            // One of each is tried, so that what cannot be done is told now and not in an hour.
            if let Some(Err(error)) = trial.fault(kind).map(|fault| check(&fault)) {
                return Err(wrong(format!("kinds: {kind}: {error}")));
            }
        }
        Ok(chance)
    }
}

impl Chance {
    /// Until the next fault.
    pub(super) fn pause(&mut self) -> Duration {
        // In 0..1, and 1 - it is never 0.
        let seconds = -(1.0 - self.rng.f64()).ln() * self.mean;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(3_600))
    }

    /// The next fault.
    pub(super) fn next(&mut self) -> Option<Fault> {
        let kind = self.rng.choice(&self.kinds)?.clone();
        self.fault(&kind)
    }

    /// A fault of this kind, everything else by chance.
    fn fault(&mut self, kind: &str) -> Option<Fault> {
        let (exchange, symbols) = self.rng.choice(&self.venues)?.clone();
        let symbol = self.rng.choice(&symbols)?.clone();
        let line = format!("{kind} {}", self.parameters(kind));
        let mut keys = Keys::of_line("random", &line).ok()?;
        keys.set("exchange", &exchange);
        if takes_symbol(kind) {
            keys.set("symbol", &symbol);
        }
        let kind = keys.text("kind", "");
        Fault::read(&kind, &mut keys).ok()
    }

    fn parameters(&mut self, kind: &str) -> String {
        let rng = &mut self.rng;
        let mut pick = |choices: &[&str]| (*choices.get(rng.usize(..choices.len().max(1))).unwrap_or(&"")).to_owned();
        let which = pick(&WHICH.map(|(name, _)| name));
        match kind {
            "drop" | "hang_up" | "stall" | "half_open" | "send" => format!("which={which}"),
            "close" => {
                let codes = ["1000", "1001", "1006", "1008", "1009", "1011", "1012", "1013", "4000"];
                format!("which={which} code={}", pick(&codes))
            }
            "shutdown" => format!("which={which} grace={}ms", rng.u32(100..3_000)),
            "duplicate" | "skip_ids" => format!("count={}", rng.u32(1..=20)),
            "withhold" | "conflict" => format!("which={which} count={}", rng.u32(1..=20)),
            "replay" => format!("which={which} count={}", rng.u32(10..=1_000)),
            "delay" => format!("which={which} by={} count={}", rng.u32(1..=5), rng.u32(1..=5)),
            "retime" => {
                let how = pick(&TIMES.map(|(name, _)| name));
                format!("which={which} how={how} count={}", rng.u32(1..=5))
            }
            "spoil" => {
                let how = pick(&DAMAGES.map(|(name, _)| name));
                format!("which={which} how={how} count={}", rng.u32(1..=3))
            }
            "huge" => format!("which={which} bytes={}", rng.u32(64 << 10..=8 << 20)),
            "burst" => format!("factor={} lasting={}ms", rng.u32(2..=100), rng.u32(100..=1_000)),
            "ack" => format!("how={} delay=1s", pick(&ACKS.map(|(name, _)| name))),
            "refuse_upgrade" => {
                format!("status={} times={}", pick(&["403", "418", "429", "451", "503"]), rng.u32(1..=3))
            }
            "refuse_rest" => format!("status={} times={}", pick(&["418", "429", "500", "503"]), rng.u32(1..=3)),
            "rest" => match rng.u8(..4) {
                0 => format!("how=slow delay={}ms", rng.u32(100..=5_000)),
                1 => "how=empty".to_owned(),
                2 => format!("how=short rows={}", rng.u32(1..=20)),
                _ => "how=broken".to_owned(),
            },
            _ => String::new(),
        }
    }
}

/// Whether a kind is for one symbol rather than for a venue.
fn takes_symbol(kind: &str) -> bool {
    let kinds = ["duplicate", "replay", "withhold", "delay", "skip_ids", "restart_ids", "conflict", "retime", "spoil"];
    kind == "refuse_symbol" || kinds.contains(&kind)
}
