//! Keys from the bytes that a terminal sends. Pure: it is given bytes and the time.
//!
//! A sequence may come in pieces: over a slow line its end is waited for, but never for long, and nothing is waited for
//! by standing still.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

const ESC: u8 = 0x1b;
/// A sequence whose end has not come by then has none: an Escape that was pressed, or an Alt-[.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest sequence; what is longer is none of a key.
const SEQUENCE_MAX: usize = 32;
/// Bytes that may wait; a paste that is longer loses its end.
const WAITING_MAX: usize = 4_096;

/// Bytes that have come, and when the last ones came.
#[derive(Debug, Default)]
pub(super) struct Keys {
    waiting: Vec<u8>,
    came: Option<Instant>,
}

/// What stands at the front.
enum Front {
    /// Of so many bytes.
    Key(KeyEvent, usize),
    /// So many bytes that mean nothing here.
    Nothing(usize),
    /// The end has not come yet.
    Part,
}

impl Keys {
    /// Bytes have come.
    pub(super) fn feed(&mut self, bytes: &[u8], now: Instant) {
        let room = WAITING_MAX.saturating_sub(self.waiting.len());
        self.waiting.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.came = Some(now);
    }

    /// The next key; `None`: none has come, or not all of it.
    pub(super) fn next(&mut self, now: Instant) -> Option<KeyEvent> {
        loop {
            let (key, used) = match front(&self.waiting) {
                Front::Key(key, used) => (Some(key), used),
                Front::Nothing(used) => (None, used),
                Front::Part if self.waiting.is_empty() => return None,
                Front::Part => {
                    let since = self.came.map_or(Duration::ZERO, |came| now.saturating_duration_since(came));
                    if since < PATIENCE {
                        return None;
                    }
                    let escape = self.waiting.len() == 1 && self.waiting.first() == Some(&ESC);
                    (escape.then(|| plain(KeyCode::Esc)), self.waiting.len())
                }
            };
            self.waiting.drain(..used.min(self.waiting.len()));
            if key.is_some() {
                return key;
            }
        }
    }
}

fn plain(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn front(bytes: &[u8]) -> Front {
    match bytes {
        [] | [ESC] => Front::Part,
        [ESC, b'[', rest @ ..] => control(rest),
        [ESC, b'O', rest @ ..] => match rest {
            [] => Front::Part,
            [end, ..] => named(*end).map_or(Front::Nothing(3), |code| Front::Key(plain(code), 3)),
        },
        // The Escape was pressed for itself; what follows is a sequence of its own.
        [ESC, ESC, ..] => Front::Key(plain(KeyCode::Esc), 1),
        [ESC, rest @ ..] => match letter(rest) {
            Front::Key(key, used) => Front::Key(KeyEvent::new(key.code, key.modifiers | KeyModifiers::ALT), used + 1),
            Front::Nothing(used) => Front::Nothing(used + 1),
            Front::Part => Front::Part,
        },
        bytes => letter(bytes),
    }
}

/// What follows `ESC [`: numbers, and a byte that ends them.
fn control(rest: &[u8]) -> Front {
    if let [b'[', of @ ..] = rest {
        // The function keys of the console of Linux.
        return if of.is_empty() { Front::Part } else { Front::Nothing(4) };
    }
    let Some(length) = rest.iter().position(|byte| !(0x20..0x40).contains(byte)) else {
        return if rest.len() > SEQUENCE_MAX { Front::Nothing(rest.len() + 2) } else { Front::Part };
    };
    let end = rest.get(length).copied().unwrap_or_default();
    if !(0x40..0x7f).contains(&end) {
        // It broke off; the byte that did it is one of its own.
        return Front::Nothing(length + 2);
    }
    let text = String::from_utf8_lossy(rest.get(..length).unwrap_or_default());
    let number = |at: usize| text.split(';').nth(at).and_then(|number| number.parse::<u8>().ok());
    let code = if end == b'~' { number(0).and_then(numbered) } else { named(end) };
    // Bits, and one more: 2 is Shift, 3 is Alt, 5 is Control.
    let bits = number(1).unwrap_or(1).saturating_sub(1);
    let held = [(1, KeyModifiers::SHIFT), (2, KeyModifiers::ALT), (4, KeyModifiers::CONTROL)];
    let modifiers = held.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, held)| held).collect();
    code.map_or(Front::Nothing(length + 3), |code| Front::Key(KeyEvent::new(code, modifiers), length + 3))
}

const fn named(end: u8) -> Option<KeyCode> {
    match end {
        b'A' => Some(KeyCode::Up),
        b'B' => Some(KeyCode::Down),
        b'C' => Some(KeyCode::Right),
        b'D' => Some(KeyCode::Left),
        b'F' => Some(KeyCode::End),
        b'H' => Some(KeyCode::Home),
        _ => None,
    }
}

const fn numbered(number: u8) -> Option<KeyCode> {
    match number {
        1 | 7 => Some(KeyCode::Home),
        4 | 8 => Some(KeyCode::End),
        5 => Some(KeyCode::PageUp),
        6 => Some(KeyCode::PageDown),
        _ => None,
    }
}

/// A letter, or a key that sends one byte.
fn letter(bytes: &[u8]) -> Front {
    let Some(first) = bytes.first().copied() else { return Front::Part };
    let key = match first {
        b'\r' | b'\n' => plain(KeyCode::Enter),
        0x08 | 0x7f => plain(KeyCode::Backspace),
        b'\t' => plain(KeyCode::Tab),
        0x01..=0x1a => KeyEvent::new(KeyCode::Char(char::from(first - 1 + b'a')), KeyModifiers::CONTROL),
        0x20..0x7f => plain(KeyCode::Char(char::from(first))),
        0xc2..=0xf4 => return wide(bytes, first),
        _ => return Front::Nothing(1),
    };
    Front::Key(key, 1)
}

/// A letter of several bytes.
fn wide(bytes: &[u8], first: u8) -> Front {
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    let have = bytes.get(..length).unwrap_or(bytes);
    match std::str::from_utf8(have) {
        Ok(text) => text.chars().next().map_or(Front::Nothing(1), |one| Front::Key(plain(KeyCode::Char(one)), length)),
        Err(error) if error.error_len().is_none() && have.len() < length => Front::Part,
        Err(_) => Front::Nothing(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    /// All keys of these bytes, the last ones long after they came.
    fn keys(bytes: &[u8]) -> Vec<KeyEvent> {
        let (mut keys, now) = (Keys::default(), clock::now());
        keys.feed(bytes, now);
        std::iter::from_fn(|| keys.next(now + PATIENCE)).collect()
    }

    fn codes(bytes: &[u8]) -> Vec<KeyCode> {
        keys(bytes).into_iter().map(|key| key.code).collect()
    }

    #[test]
    fn letters_and_named_keys_are_read() {
        let letters = |text: &str| text.chars().map(KeyCode::Char).collect::<Vec<_>>();
        assert_eq!(codes("qß比😀".as_bytes()), letters("qß比😀"));
        assert_eq!(
            codes(b"\x1b[A\x1bOB\x1b[5~\x1b[6~"),
            [KeyCode::Up, KeyCode::Down, KeyCode::PageUp, KeyCode::PageDown]
        );
        assert_eq!(codes(b"\x1b[H\x1b[4~\x1bOH\x1b[8~"), [KeyCode::Home, KeyCode::End, KeyCode::Home, KeyCode::End]);
        assert_eq!(codes(b"\r\x7f\x08\x1b"), [KeyCode::Enter, KeyCode::Backspace, KeyCode::Backspace, KeyCode::Esc]);
        assert_eq!(
            codes(b"\x1b[[Aq\x1b[15~\x1b[200~\xff\xc3q\0s"),
            letters("qqs"),
            "what means nothing is passed over"
        );
    }

    #[test]
    fn modifiers_are_told() {
        let one = |bytes: &[u8]| keys(bytes).first().map(|key| (key.code, key.modifiers));
        assert_eq!(one(b"\x03"), Some((KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert_eq!(one(b"\x1a"), Some((KeyCode::Char('z'), KeyModifiers::CONTROL)));
        assert_eq!(one(b"\x1bq"), Some((KeyCode::Char('q'), KeyModifiers::ALT)));
        assert_eq!(one(b"\x1b[1;5A"), Some((KeyCode::Up, KeyModifiers::CONTROL)));
    }

    #[test]
    fn a_sequence_in_pieces_is_one_key_and_half_of_one_holds_nothing_up() {
        let (mut keys, now) = (Keys::default(), clock::now());
        for piece in [b"\x1b", b"[", b"B"] {
            assert_eq!(keys.next(now), None);
            keys.feed(piece, now);
        }
        assert_eq!(keys.next(now).map(|key| key.code), Some(KeyCode::Down));
        for half in [&b"\x1b["[..], b"\x1bO", b"\x1b[1;", b"\xe6\xaf"] {
            keys.feed(half, now);
            assert_eq!(keys.next(now), None, "{half:?}");
            assert_eq!(keys.next(now + PATIENCE), None, "{half:?}");
            keys.feed(b"q", now);
            assert_eq!(keys.next(now).map(|key| key.code), Some(KeyCode::Char('q')), "{half:?}");
        }
        keys.feed(&[b'1'; 9_999], now);
        assert_eq!(std::iter::from_fn(|| keys.next(now)).count(), WAITING_MAX);
    }
}
