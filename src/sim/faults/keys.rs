//! The keys of one fault as somebody wrote them, in a file or on the command line, and what is wrong with them.
//!
//! Every error names the place, the key and what would do. It knows no fault.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::sim::config::SimError;

/// What stands for no end of a count.
const FOREVER: &str = "forever";

/// Keys that were written, less those that were taken.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Keys {
    /// Where they stand: a file and its line, or the flag.
    pub(in crate::sim) place: String,
    left: Vec<Key>,
    /// The names that were asked for: what there could have been.
    asked: Vec<&'static str>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Key {
    pub(in crate::sim) name: String,
    pub(in crate::sim) value: String,
    pub(in crate::sim) place: String,
}

impl Key {
    fn wrong(&self, cure: impl Display) -> SimError {
        let message = format!("{} = {:?}: {cure}", self.name, self.value);
        SimError::Plan { place: self.place.clone(), message }
    }
}

impl Keys {
    pub(in crate::sim) const fn new(place: String, keys: Vec<Key>) -> Self {
        Self { place, left: keys, asked: Vec::new() }
    }

    /// The words of a line such as `close exchange=binance reason="going away"`; the first one is the kind.
    pub(in crate::sim) fn of_line(place: &str, line: &str) -> Result<Self, SimError> {
        let mut keys = Vec::new();
        for word in words(line) {
            let (name, value) = match word.split_once('=') {
                Some(pair) => pair,
                None if keys.is_empty() => ("kind", &*word),
                None => {
                    let message = format!("{word:?} is no key=value");
                    return Err(SimError::Plan { place: place.to_owned(), message });
                }
            };
            keys.push(Key { name: name.to_owned(), value: value.to_owned(), place: place.to_owned() });
        }
        Ok(Self::new(place.to_owned(), keys))
    }

    /// An error about all of it.
    pub(in crate::sim) fn wrong(&self, message: impl Display) -> SimError {
        SimError::Plan { place: self.place.clone(), message: message.to_string() }
    }

    /// Sets a key, whatever it was.
    pub(in crate::sim) fn set(&mut self, name: &str, value: &str) {
        self.left.retain(|key| key.name != name);
        self.left.push(Key { name: name.to_owned(), value: value.to_owned(), place: self.place.clone() });
    }

    pub(in crate::sim) fn take(&mut self, name: &'static str) -> Option<Key> {
        self.asked.push(name);
        let place = self.left.iter().position(|key| key.name == name)?;
        Some(self.left.remove(place))
    }

    pub(in crate::sim) fn text(&mut self, name: &'static str, usual: &str) -> String {
        self.take(name).map_or_else(|| usual.to_owned(), |key| key.value)
    }

    /// A text that may be missing.
    pub(in crate::sim) fn some_text(&mut self, name: &'static str) -> Option<String> {
        self.take(name).map(|key| key.value)
    }

    pub(in crate::sim) fn number<T: FromStr>(&mut self, name: &'static str, usual: T) -> Result<T, SimError> {
        Ok(self.some_number(name)?.unwrap_or(usual))
    }

    pub(in crate::sim) fn some_number<T: FromStr>(&mut self, name: &'static str) -> Result<Option<T>, SimError> {
        let number = |key: Key| key.value.parse().map_err(|_| key.wrong("no such number; a whole one in its range"));
        self.take(name).map(number).transpose()
    }

    /// How often; `forever` is `u64::MAX`.
    pub(in crate::sim) fn count(&mut self, name: &'static str, usual: u64) -> Result<u64, SimError> {
        let Some(key) = self.take(name) else { return Ok(usual) };
        match key.value.parse() {
            _ if key.value == FOREVER => Ok(u64::MAX),
            Ok(count @ 1..) => Ok(count),
            _ => Err(key.wrong("no count; 1 or more, or forever")),
        }
    }

    pub(in crate::sim) fn duration(&mut self, name: &'static str, usual: Duration) -> Result<Duration, SimError> {
        Ok(self.some_duration(name)?.unwrap_or(usual))
    }

    pub(in crate::sim) fn some_duration(&mut self, name: &'static str) -> Result<Option<Duration>, SimError> {
        let duration = |key: Key| {
            humantime::parse_duration(&key.value).map_err(|_| key.wrong("no duration; such as 12s or 250ms"))
        };
        self.take(name).map(duration).transpose()
    }

    /// A size in bytes, such as `2MiB`.
    pub(in crate::sim) fn bytes(&mut self, name: &'static str, usual: u64) -> Result<u64, SimError> {
        let Some(key) = self.take(name) else { return Ok(usual) };
        let bytes = key.value.parse::<bytesize::ByteSize>().map_err(|_| key.wrong("no size; such as 2MiB"))?;
        Ok(bytes.as_u64())
    }

    /// One of a few names.
    pub(in crate::sim) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        usual: T,
        choices: &[(&str, T)],
    ) -> Result<T, SimError> {
        let Some(key) = self.take(name) else { return Ok(usual) };
        let chosen = choices.iter().find(|(name, _)| *name == key.value).map(|(_, choice)| *choice);
        let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        chosen.ok_or_else(|| key.wrong(format!("there are {}", names())))
    }

    /// Refuses what was not asked for.
    pub(in crate::sim) fn finish(&self, of: &str) -> Result<(), SimError> {
        match self.left.first() {
            None => Ok(()),
            Some(key) => Err(key.wrong(format!("no such key; {of} takes {}", self.asked.join(", ")))),
        }
    }
}

/// How a count is written.
pub(super) fn count_text(count: u64) -> String {
    if count == u64::MAX { FOREVER.to_owned() } else { count.to_string() }
}

/// A value as [`words`] reads it back.
pub(super) fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || "\"\\".contains(c));
    if plain { value.to_owned() } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// The words of a line. What stands between double quotes belongs together; a backslash there takes the next as it is.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut inside) = (Vec::new(), String::new(), false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => inside = !inside,
            '\\' if inside => word.extend(rest.next()),
            c if c.is_whitespace() && !inside => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(line: &str) -> Keys {
        Keys::of_line("there", line).unwrap()
    }

    #[test]
    fn what_is_quoted_is_read_back_as_it_was() {
        for text in ["", "plain", "two words", r#"{"a":"b\n"}"#, r"back\slash"] {
            let line = format!("send text={}", quoted(text));
            assert_eq!(keys(&line).text("text", "nothing"), text, "{line}");
        }
    }

    #[test]
    fn errors_name_place_key_and_cure() {
        let told = |error: SimError| error.to_string();
        let error = told(keys("x count=none").count("count", 1).unwrap_err());
        assert_eq!(error, "there: count = \"none\": no count; 1 or more, or forever");
        let error = told(keys("x at=soon").some_duration("at").unwrap_err());
        assert!(error.contains("at = \"soon\"") && error.contains("12s"), "{error}");
        let error = told(keys("x which=some").choice("which", 1, &[("all", 1), ("newest", 2)]).unwrap_err());
        assert!(error.contains("there are all, newest"), "{error}");
        assert!(told(Keys::of_line("there", "drop now").unwrap_err()).contains("\"now\" is no key=value"));
        let mut left = keys("x code=1 cod=2");
        left.number("code", 0).unwrap();
        let error = told(left.finish("close").unwrap_err());
        assert_eq!(error, "there: kind = \"x\": no such key; close takes code");
    }
}
