//! A plan of faults: which, when and how often, from a TOML file and from the command line.
//!
//! ```toml
//! [[fault]]
//! at = "12s"            # since the start; or: after = 5000, trades of the venue
//! every = "30s"         # again and again; with `after` a number of trades
//! jitter = "5s"         # each time up to so much later
//! kind = "drop"
//! exchange = "binance"  # without it: every venue; symbols alike
//!
//! [random]
//! seed = 7
//! mean = "10s"
//! kinds = ["drop", "stall", "spoil"]
//! ```
//!
//! The same plan gives the same faults at the same times. It does nothing to a venue: [`agenda`] tells what is due.

pub(super) mod agenda;
mod chance;

use std::path::Path;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::config::SimError;
use super::faults::Fault;
use super::faults::keys::{Key, Keys};
use super::faults::text::KINDS;

/// Faults to come. Empty by default.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    entries: Vec<Entry>,
    random: Option<Random>,
}

/// One fault as it was written.
#[derive(Clone, Debug)]
struct Entry {
    when: When,
    /// Its kind and parameters. They are read again for each venue and symbol that is meant.
    keys: Keys,
}

#[derive(Clone, Copy, Debug)]
enum When {
    /// At a time since the start.
    At { at: Duration, every: Option<Duration>, jitter: Duration },
    /// After so many trades of the venue, and again after so many more; 0: once.
    After { after: u64, every: u64 },
}

/// Faults by chance.
#[derive(Clone, Debug)]
struct Random {
    place: String,
    seed: u64,
    /// Between two faults, on average.
    mean: Duration,
    kinds: Vec<String>,
    /// `None`: all.
    exchange: Option<String>,
}

impl FaultPlan {
    /// Reads a plan file.
    ///
    /// # Errors
    /// [`SimError::Plan`] with file, line, key and what would do.
    pub fn read(path: &Path) -> Result<Self, SimError> {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| SimError::Plan { place: place.clone(), message: format!("cannot be read: {error}") })?;
        Self::parse(&place, &text)
    }

    /// Reads the text of a plan file; errors call it `name`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self, SimError> {
        let place = |byte: usize| {
            let line = text.get(..byte).unwrap_or_default().matches('\n').count() + 1;
            format!("{name}:{line}")
        };
        let wrong = |byte, message: String| SimError::Plan { place: place(byte), message };
        let table = DeTable::parse(text)
            .map_err(|error| wrong(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        let mut plan = Self::default();
        for (key, value) in table.get_ref() {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("fault", DeValue::Array(faults)) => {
                    for fault in faults.iter() {
                        let DeValue::Table(table) = fault.get_ref() else {
                            return Err(wrong(fault.span().start, "no table; write [[fault]]".to_owned()));
                        };
                        plan.entries.push(Entry::read(keys_of(table, place(fault.span().start), &place)?)?);
                    }
                }
                ("random", DeValue::Table(table)) => {
                    plan.random = Some(Random::read(keys_of(table, place(at), &place)?)?);
                }
                (other, _) => {
                    return Err(wrong(at, format!("{other:?} is nothing here; there are [[fault]] and [random]")));
                }
            }
        }
        Ok(plan)
    }

    /// Adds a fault that is written in one line, such as `drop exchange=binance at=5s`. Without a time it is at once.
    ///
    /// # Errors
    /// [`SimError::Plan`] with the line, the key and what would do.
    pub fn add(&mut self, line: &str) -> Result<(), SimError> {
        self.entries.push(Entry::read(Keys::of_line(&format!("--fault {line:?}"), line)?)?);
        Ok(())
    }

    /// Whether nothing is planned.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.random.is_none()
    }
}

impl Entry {
    fn read(mut keys: Keys) -> Result<Self, SimError> {
        let (at, after) = (keys.some_duration("at")?, keys.some_number("after")?);
        let when = match (at, after) {
            (Some(_), Some(_)) => return Err(keys.wrong("at and after; a fault has one of them")),
            (_, Some(after)) => When::After { after, every: keys.number("every", 0)? },
            (at, None) => {
                let (every, jitter) = (keys.some_duration("every")?, keys.duration("jitter", Duration::ZERO)?);
                if every.is_some_and(|every| every.is_zero() || jitter > every) {
                    return Err(keys.wrong("every is above 0, and jitter is not above every"));
                }
                When::At { at: at.unwrap_or_default(), every, jitter }
            }
        };
        let this = Self { when, keys };
        this.fault(None, None).map(|_| this)
    }

    /// The fault, for a venue and a symbol.
    fn fault(&self, exchange: Option<&str>, symbol: Option<&str>) -> Result<Fault, SimError> {
        let mut keys = self.keys.clone();
        exchange.into_iter().for_each(|exchange| keys.set("exchange", exchange));
        symbol.into_iter().for_each(|symbol| keys.set("symbol", symbol));
        let Some(kind) = keys.some_text("kind") else {
            return Err(keys.wrong(format!("no kind; there are {}", KINDS.join(", "))));
        };
        let fault = Fault::read(&kind, &mut keys)?;
        keys.finish(&kind).map(|()| fault)
    }
}

impl Random {
    fn read(mut keys: Keys) -> Result<Self, SimError> {
        let this = Self {
            place: keys.place.clone(),
            seed: keys.number("seed", 1)?,
            mean: keys.duration("mean", Duration::from_secs(10))?,
            kinds: keys.some_text("kinds").map_or_else(
                || KINDS.map(str::to_owned).to_vec(),
                |kinds| kinds.split(LIST).map(str::to_owned).collect(),
            ),
            exchange: keys.some_text("exchange"),
        };
        keys.finish("random")?;
        if this.mean < Duration::from_millis(1) {
            return Err(keys.wrong("mean is 1ms or more"));
        }
        match this.kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            Some(unknown) => Err(keys.wrong(format!("kinds: no fault {unknown:?}; there are {}", KINDS.join(", ")))),
            None => Ok(this),
        }
    }
}

/// Stands between the members of a list that became one text.
const LIST: char = '\u{1f}';

/// The keys of a table as text, each with its place.
fn keys_of(table: &DeTable<'_>, whole: String, place: &dyn Fn(usize) -> String) -> Result<Keys, SimError> {
    let mut keys = Vec::new();
    for (name, value) in table {
        let name_text = name.get_ref().to_string();
        let place = place(name.span().start);
        let Some(value) = text_of(value.get_ref()) else {
            let message = format!("{name_text}: a text, a number, or a list of texts");
            return Err(SimError::Plan { place, message });
        };
        keys.push(Key { name: name_text, value, place });
    }
    Ok(Keys::new(whole, keys))
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Array(list) => {
            let members: Option<Vec<&str>> = list.iter().map(|member| member.get_ref().as_str()).collect();
            members.map(|members| members.join(&LIST.to_string()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        FaultPlan::parse("plan.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_told_with_file_line_key_and_cure() {
        let cases = [
            ("[[fault]]\nkind = \"drop\"\nat = \"soon\"\n", "plan.toml:3: at = \"soon\": no duration; such as 12s"),
            ("\n[[fault]]\nkind = \"dropp\"\n", "plan.toml:2: no fault \"dropp\"; there are drop, hang_up"),
            ("[[fault]]\nat = \"1s\"\n", "plan.toml:1: no kind; there are drop"),
            (
                "[[fault]]\nkind = \"drop\"\ncount = 3\n",
                "plan.toml:3: count = \"3\": no such key; drop takes at, after",
            ),
            ("[[fault]]\nkind = \"drop\"\nat = \"1s\"\nafter = 3\n", "plan.toml:1: at and after"),
            ("[[fault]]\nkind = \"drop\"\nevery = \"0s\"\n", "every is above 0"),
            ("[[fault]]\nkind = \"drop\"\nevery = \"1s\"\njitter = \"2s\"\n", "jitter is not above every"),
            ("[[fault]]\nkind = \"spoil\"\nhow = \"badly\"\n", "plan.toml:3: how = \"badly\": there are truncated"),
            ("[[fault]]\nkind = \"duplicate\"\ncount = 0\n", "plan.toml:3: count = \"0\": no count; 1 or more"),
            ("[[fault]]\nkind = \"drop\"\nat = 1.5\n", "plan.toml:3: at: a text, a number"),
            ("\n\nfault = 3\n", "plan.toml:3: \"fault\" is nothing here; there are [[fault]] and [random]"),
            ("[[fault]\n", "plan.toml:1: "),
            ("[random]\nkinds = [\"drop\", \"flood\"]\n", "kinds: no fault \"flood\"; there are drop"),
            ("[random]\nmean = \"0s\"\n", "plan.toml:1: mean is 1ms or more"),
            ("[random]\nsede = 1\n", "plan.toml:2: sede = \"1\": no such key; random takes seed"),
        ];
        for (text, expected) in cases {
            let error = told(text);
            assert!(error.contains(expected), "{text:?} gives {error:?}, not {expected:?}");
        }
        let error = FaultPlan::default().add("drop at=5").unwrap_err().to_string();
        assert!(error.starts_with("--fault \"drop at=5\": at = \"5\": no duration"), "{error}");
        let error = FaultPlan::read(Path::new("/no/such.toml")).unwrap_err().to_string();
        assert!(error.starts_with("/no/such.toml: cannot be read"), "{error}");
    }
}
