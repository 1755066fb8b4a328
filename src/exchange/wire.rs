//! What several venues' wire formats share: decimal fields, ISO times, milliseconds or microseconds. No venue is named.

use serde::Deserialize;

use crate::market::Decimal;

use super::{DecodeError, Frame, profile};

/// Times below this are milliseconds, above it microseconds: 10^14 ms is the year 5138, 10^14 µs was in 1973.
const MILLIS_MAX: u64 = 100_000_000_000_000;

/// The text of a frame that must be text.
///
/// # Errors
/// [`DecodeError::FrameType`] for a binary frame, [`DecodeError::TooLong`] beyond the bound of all frames.
pub fn text<'a>(frame: &Frame<'a>) -> Result<&'a str, DecodeError> {
    match frame {
        Frame::Text(text) if text.len() > profile::FRAME_BYTES_MAX => Err(DecodeError::TooLong { bytes: text.len() }),
        Frame::Text(text) => Ok(text),
        Frame::Binary(_) => Err(DecodeError::FrameType { what: "binary" }),
    }
}

/// A text that is to be a JSON object. serde would read an array as one, field by field.
///
/// # Errors
/// [`DecodeError::Json`] for anything else.
#[inline]
pub fn object(text: &str) -> Result<&str, DecodeError> {
    if text.trim_start().starts_with('{') {
        return Ok(text);
    }
    Err(DecodeError::Json { message: "an object was expected at line 1 column 1".to_owned() })
}

/// Mantissa and scale of a price.
///
/// # Errors
/// [`DecodeError::Number`].
#[inline]
pub fn price(field: &'static str, text: &str) -> Result<(i64, u8), DecodeError> {
    let decimal = Decimal::parse(text).and_then(|decimal| Ok((decimal.price()?, decimal.scale())));
    decimal.map_err(|source| DecodeError::Number { field, text: cut(text), source })
}

/// Mantissa and scale of a size.
///
/// # Errors
/// [`DecodeError::Number`].
#[inline]
pub fn size(field: &'static str, text: &str) -> Result<(u64, u8), DecodeError> {
    let decimal = Decimal::parse(text).and_then(|decimal| Ok((decimal.size()?, decimal.scale())));
    decimal.map_err(|source| DecodeError::Number { field, text: cut(text), source })
}

/// Nanoseconds of a time in milliseconds or microseconds, told apart by magnitude.
///
/// # Errors
/// [`DecodeError::Time`] when the nanoseconds do not fit.
#[inline]
pub fn millis_or_micros(field: &'static str, time: u64) -> Result<u64, DecodeError> {
    let factor = if time < MILLIS_MAX { 1_000_000 } else { 1_000 };
    time.checked_mul(factor).ok_or_else(|| DecodeError::Time { field, text: time.to_string() })
}

/// Nanoseconds since the Unix epoch of `2021-04-17T16:43:30.244075Z`: UTC, with 0 to 9 digits of fraction.
///
/// # Errors
/// [`DecodeError::Time`] for any other text, an impossible date, or a time before 1970.
pub fn iso_time(field: &'static str, text: &str) -> Result<u64, DecodeError> {
    parse_iso(text.as_bytes()).ok_or_else(|| DecodeError::Time { field, text: cut(text) })
}

/// A tick or lot size as instruments carry it: trailing zeros dropped, what is no decimal left out.
#[must_use]
pub fn step(text: Option<&str>) -> Option<String> {
    text.and_then(|text| Decimal::parse(text).ok()).map(|decimal| decimal.to_string())
}

/// At most 64 characters of a text, for error messages.
#[must_use]
pub fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Turns a parser's complaint into ours.
#[must_use]
pub fn json(error: &serde_json::Error) -> DecodeError {
    DecodeError::Json { message: error.to_string() }
}

fn parse_iso(text: &[u8]) -> Option<u64> {
    let (date, rest) = text.split_at_checked(19)?;
    let separators = date[4] == b'-' && date[7] == b'-' && date[10] == b'T' && date[13] == b':' && date[16] == b':';
    if !separators {
        return None;
    }
    let (year, month, day) = (digits(&date[0..4])?, digits(&date[5..7])?, digits(&date[8..10])?);
    let (hour, minute, second) = (digits(&date[11..13])?, digits(&date[14..16])?, digits(&date[17..19])?);
    let in_range = year >= 1970 && (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    // Second 60 is a leap second: venues that smear never send it, and it reads as the second after.
    if !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction = fraction_ns(rest.strip_suffix(b"Z")?)?;
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

fn fraction_ns(text: &[u8]) -> Option<u64> {
    let digits_only = match text {
        [] => return Some(0),
        [b'.', digits @ ..] if !digits.is_empty() && digits.len() <= 9 => digits,
        _ => return None,
    };
    let missing = u32::try_from(9 - digits_only.len()).ok()?;
    Some(digits(digits_only)? * 10_u64.pow(missing))
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, by counting leap days of the proleptic Gregorian calendar.
const fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    // Leap days before 1970: 1969/4 - 1969/100 + 1969/400.
    let mut days = (year - 1970) * 365 + leap_days - 477;
    let mut earlier = 1;
    while earlier < month {
        days += days_in_month(year, earlier);
        earlier += 1;
    }
    days + day - 1
}

/// Reads a JSON text.
///
/// # Errors
/// [`DecodeError::Json`].
#[inline]
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|error| json(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_times_agree_with_known_instants() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2021-04-17T16:43:30.244075Z", 1_618_677_810_244_075_000),
            ("2020-02-29T23:59:59.999999999Z", 1_583_020_799_999_999_999),
            ("2000-03-01T00:00:00.5Z", 951_868_800_500_000_000),
            ("2014-11-07T08:19:27.028459Z", 1_415_348_367_028_459_000),
        ] {
            assert_eq!(iso_time("time", text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_utc_time_is_refused() {
        for text in [
            "",
            "2021-04-17",
            "2021-04-17 16:43:30Z",
            "2021-02-29T00:00:00Z",
            "2021-13-01T00:00:00Z",
            "2021-04-17T24:00:00Z",
            "2021-04-17T16:43:30",
            "2021-04-17T16:43:30.Z",
            "2021-04-17T16:43:30+00:00",
            "2021-04-17T16:43:30.1234567890Z",
            "1969-12-31T23:59:59Z",
            "2021-04-17T16:4x:30Z",
            "２021-04-17T16:43:30Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert!(iso_time("time", text).is_err(), "{text}");
        }
    }

    #[test]
    fn milliseconds_and_microseconds_are_told_apart() {
        assert_eq!(millis_or_micros("T", 1_723_161_255_342), Ok(1_723_161_255_342_000_000));
        assert_eq!(millis_or_micros("T", 1_723_161_255_342_123), Ok(1_723_161_255_342_123_000));
        assert!(millis_or_micros("T", u64::MAX).is_err());
    }
}
