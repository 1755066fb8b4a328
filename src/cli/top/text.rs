//! Numbers as short text, and text cut to a width. Pure.

/// Signs that stand for something, for terminals with and without UTF-8.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    pub(super) open: &'static str,
    pub(super) folded: &'static str,
    pub(super) cut: &'static str,
    pub(super) levels: [&'static str; 8],
}

/// Where UTF-8 is understood.
pub(super) const UTF8: Signs =
    Signs {
        up: "▲", down: "▼", open: "▾", folded: "▸", cut: "…", levels: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
    };

/// Where it is not.
pub(super) const ASCII: Signs =
    Signs { up: "^", down: "v", open: "-", folded: "+", cut: "~", levels: ["_", ".", ",", "-", "=", "+", "*", "#"] };

/// A number with its thousands apart, shortened where it is longer than `width`.
pub(super) fn count(number: u64, width: usize) -> String {
    let whole = thousands(number);
    if whole.len() <= width {
        return whole;
    }
    for (unit, size) in [("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000_u64)] {
        let (whole, rest) = (number / size, number % size);
        for text in [format!("{whole}.{:02}{unit}", rest * 100 / size), format!("{whole}{unit}")] {
            if whole < 1_000 && text.len() <= width {
                return text;
            }
        }
    }
    "#".repeat(width)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: with one decimal below a thousand, so that such ones stand in line.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no rate is near 2^63 or below 0")]
pub(super) fn rate(rate: f64, width: usize) -> String {
    if rate < 999.95 { format!("{rate:.1}") } else { count(rate.round() as u64, width) }
}

/// Nanoseconds in the unit that needs few digits: `850us`, `12ms`, `3.4s`, `5m`, `2h`, `9d`.
pub(super) fn span(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let tenths = |unit: u64| format!("{}.{}", ns / unit, ns % unit * 10 / unit);
    let text = match ns {
        0..1_000_000 => format!("{}us", ns / 1_000),
        1_000_000..10_000_000 => format!("{}ms", tenths(1_000_000)),
        10_000_000..1_000_000_000 => format!("{}ms", ns / 1_000_000),
        1_000_000_000..60_000_000_000 => format!("{}s", tenths(1_000_000_000)),
        60_000_000_000..3_600_000_000_000 => format!("{}m", ns / 60_000_000_000),
        3_600_000_000_000..86_400_000_000_000 => format!("{}h", ns / 3_600_000_000_000),
        _ => format!("{}d", ns / 86_400_000_000_000),
    };
    format!("{sign}{text}")
}

/// Seconds as `12s`, `3m 5s`, `4h 12m`, `9d 3h`.
pub(super) fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Bytes as `512 B`, `1.5 KiB`, `12.0 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).to_string()
}

/// A text of at most this many columns, with a sign where something is cut off.
pub(super) fn cut(text: &str, width: usize, signs: &Signs) -> String {
    // A control character would move the cursor; a name that holds one is not worth that.
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let mut kept = String::new();
    let mut used = 0;
    // Where the sign would have to stand.
    let mut end = 0;
    for letter in text.chars().map(clean) {
        let columns = ratatui::text::Span::raw(letter.encode_utf8(&mut [0; 4]) as &str).width();
        if used + columns > width {
            kept.truncate(end);
            return if width > 0 { kept + signs.cut } else { String::new() };
        }
        used += columns;
        kept.push(letter);
        if used < width {
            end = kept.len();
        }
    }
    kept
}

/// The last rates as a line of this many columns, the highest one as high as it gets.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "eight levels")]
pub(super) fn trend(rates: &[f64], width: usize, signs: &Signs) -> String {
    let last = rates.get(rates.len().saturating_sub(width)..).unwrap_or_default();
    let highest = last.iter().copied().fold(0.0, f64::max);
    let level = |rate: &f64| {
        let level = if highest > 0.0 { (rate / highest * 7.0).round() as usize } else { 0 };
        signs.levels.get(level).copied().unwrap_or(" ")
    };
    last.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit() {
        assert_eq!(count(1_234_567, 9), "1,234,567");
        assert_eq!(count(1_234_567, 8), "1.23M");
        assert_eq!(count(999, 3), "999");
        assert_eq!(count(12_345, 4), "12k");
        assert_eq!(count(u64::MAX, 6), "######", "no number rather than a wrong one");
        assert_eq!((rate(3.44, 7), rate(187.0, 7), rate(999.96, 7)), ("3.4".into(), "187.0".into(), "1,000".into()));
        assert_eq!(rate(1_234.5, 7), "1,235");
        assert_eq!(rate(1_234_567.0, 7), "1.23M");
        for number in [0, 9, 99, 1_000, 99_999, 123_456, 99_999_999, 1_234_567_890] {
            assert!(count(number, 7).len() <= 7, "{number}");
        }
    }

    #[test]
    fn times_are_short() {
        let texts = [850_000, 1_500_000, 120_000_000, 3_440_000_000, 61_000_000_000, 7_200_000_000_000].map(span);
        assert_eq!(texts, ["850us", "1.5ms", "120ms", "3.4s", "1m", "2h"]);
        assert_eq!((span(-2_000_000), span(0), span(i64::MAX)), ("-2.0ms".into(), "0us".into(), "106751d".into()));
        assert_eq!((uptime(59), uptime(3_661), uptime(90_000)), ("59s".into(), "1h 1m".into(), "1d 1h".into()));
    }

    #[test]
    fn what_is_too_wide_is_cut_visibly() {
        assert_eq!(cut("BTCUSDT", 7, &UTF8), "BTCUSDT");
        assert_eq!(cut("BTCUSDT", 6, &UTF8), "BTCUS…");
        assert_eq!(cut("BTCUSDT", 6, &ASCII), "BTCUS~");
        assert_eq!(cut("比特币USDT", 6, &UTF8), "比特…", "two columns each");
        assert_eq!(cut("BTC", 0, &UTF8), "");
        assert_eq!(cut("a\u{1b}[2J", 9, &UTF8), "a?[2J");
        assert_eq!(cut(&"x".repeat(16 << 20), 3, &UTF8), "xx…", "what is cut off costs nothing");
    }

    #[test]
    fn a_trend_is_as_high_as_its_highest() {
        assert_eq!(trend(&[0.0, 7.0, 14.0], 9, &UTF8), "▁▅█");
        assert_eq!(trend(&[1.0, 0.0, 0.0], 2, &UTF8), "▁▁");
        assert_eq!(trend(&[], 5, &ASCII), "");
    }
}
