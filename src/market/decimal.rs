//! Decimal text to mantissa and scale, exactly, and back. No float anywhere.

use std::fmt;

/// Most decimal places that a record holds.
pub const SCALE_MAX: u8 = 18;

/// Longest text that is looked at, in bytes. Longer text is refused before any digit is read.
pub const TEXT_BYTES_MAX: usize = 64;

/// An exact decimal: `±magnitude × 10^-scale`, trailing zeros dropped, so that one value has one form.
///
/// # Examples
/// ```
/// use data_manager::market::Decimal;
/// let price = Decimal::parse("61837.63000000").unwrap();
/// assert_eq!((price.price().unwrap(), price.scale()), (6_183_763, 2));
/// assert_eq!(Decimal::parse("9.2E-7").unwrap().to_string(), "0.00000092");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    magnitude: u64,
    scale: u8,
    negative: bool,
}

/// Why a text is no decimal that a record can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecimalError {
    /// Not a decimal: empty, `+1`, `.5`, `5.`, `NaN`, `1_000`, a second point, trailing text.
    #[error("not a decimal number")]
    Syntax,
    /// More than [`TEXT_BYTES_MAX`] bytes of text.
    #[error("more than {TEXT_BYTES_MAX} characters of number")]
    TooLong,
    /// More than 18 decimals after trailing zeros are dropped.
    #[error("more than {SCALE_MAX} decimal places")]
    TooManyDecimals,
    /// The digits do not fit in 64 bits.
    #[error("more digits than 64 bits hold")]
    TooLarge,
    /// A size below zero.
    #[error("negative, where only zero and above can stand")]
    Negative,
}

impl Decimal {
    /// Reads decimal text: digits, an optional leading `-`, an optional fraction, an optional exponent
    /// (`E-7`, `e-05`, `E+3`, `e3`). What JSON calls a number is accepted, and leading zeros besides.
    ///
    /// # Errors
    /// [`DecimalError`] for anything else, and for a value that 64 bits and 18 decimals do not hold exactly.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        Self::parse_bytes(text.as_bytes())
    }

    /// As [`Self::parse`], on bytes.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_bytes(text: &[u8]) -> Result<Self, DecimalError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(DecimalError::TooLong);
        }
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (parts, rest) = Digits::read(digits)?;
        let exponent = read_exponent(rest)?;
        parts.finish(negative, exponent)
    }

    /// Decimal places, 0..=18, after trailing zeros are dropped.
    #[must_use]
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// The mantissa as a price.
    ///
    /// # Errors
    /// [`DecimalError::TooLarge`] beyond a signed 64-bit number.
    pub fn price(self) -> Result<i64, DecimalError> {
        let value = i128::from(self.magnitude);
        i64::try_from(if self.negative { -value } else { value }).map_err(|_| DecimalError::TooLarge)
    }

    /// The mantissa as a size.
    ///
    /// # Errors
    /// [`DecimalError::Negative`] below zero.
    pub const fn size(self) -> Result<u64, DecimalError> {
        if self.negative { Err(DecimalError::Negative) } else { Ok(self.magnitude) }
    }

    /// The decimal of a record's price.
    #[must_use]
    pub const fn from_price(mantissa: i64, scale: u8) -> Self {
        Self { magnitude: mantissa.unsigned_abs(), scale, negative: mantissa < 0 }
    }

    /// The decimal of a record's size.
    #[must_use]
    pub const fn from_size(mantissa: u64, scale: u8) -> Self {
        Self { magnitude: mantissa, scale, negative: false }
    }
}

impl fmt::Display for Decimal {
    /// Plain notation, never an exponent: `0.00000092`, `-12.5`, `30236`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        if self.scale == 0 {
            return write!(f, "{}", self.magnitude);
        }
        let scale = usize::from(self.scale);
        // u64 has 20 digits at most; the whole part is empty when the scale is larger.
        let digits = format!("{:0>width$}", self.magnitude, width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        write!(f, "{whole}.{fraction}")
    }
}

/// What the digits before the exponent say.
struct Digits {
    /// All significant digits so far, trailing zeros not yet among them.
    magnitude: u64,
    /// Zeros read since the last other digit: they count only if another digit follows.
    zeros: i32,
    /// Digits behind the point, those in `zeros` included.
    fraction: i32,
}

impl Digits {
    /// Reads `123.4500` and returns what is left behind it.
    fn read(text: &[u8]) -> Result<(Self, &[u8]), DecimalError> {
        let mut this = Self { magnitude: 0, zeros: 0, fraction: 0 };
        let whole = this.read_run(text)?;
        if whole == 0 {
            return Err(DecimalError::Syntax);
        }
        let rest = &text[whole..];
        let [b'.', after @ ..] = rest else { return Ok((this, rest)) };
        let fraction = this.read_run(after)?;
        if fraction == 0 {
            return Err(DecimalError::Syntax);
        }
        this.fraction = as_i32(fraction);
        Ok((this, &after[fraction..]))
    }

    fn read_run(&mut self, text: &[u8]) -> Result<usize, DecimalError> {
        let mut length = 0;
        for byte in text {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            length += 1;
            if digit == 0 {
                self.zeros += 1;
            } else {
                self.take(digit)?;
            }
        }
        Ok(length)
    }

    #[inline]
    fn take(&mut self, digit: u8) -> Result<(), DecimalError> {
        if self.magnitude == 0 {
            // Leading zeros carry no value.
            self.zeros = 0;
        }
        let shifted = match self.zeros {
            0 => self.magnitude.checked_mul(10),
            zeros => power_of_ten(zeros + 1).and_then(|power| self.magnitude.checked_mul(power)),
        };
        self.zeros = 0;
        self.magnitude = shifted.and_then(|m| m.checked_add(u64::from(digit))).ok_or(DecimalError::TooLarge)?;
        Ok(())
    }

    fn finish(self, negative: bool, exponent: i32) -> Result<Decimal, DecimalError> {
        if self.magnitude == 0 {
            return Ok(Decimal { magnitude: 0, scale: 0, negative: false });
        }
        // magnitude × 10^zeros × 10^-fraction × 10^exponent
        let scale = self.fraction - self.zeros - exponent;
        if scale > i32::from(SCALE_MAX) {
            return Err(DecimalError::TooManyDecimals);
        }
        if scale >= 0 {
            let scale = u8::try_from(scale).map_err(|_| DecimalError::TooManyDecimals)?;
            return Ok(Decimal { magnitude: self.magnitude, scale, negative });
        }
        let magnitude =
            power_of_ten(-scale).and_then(|power| self.magnitude.checked_mul(power)).ok_or(DecimalError::TooLarge)?;
        Ok(Decimal { magnitude, scale: 0, negative })
    }
}

fn power_of_ten(exponent: i32) -> Option<u64> {
    u32::try_from(exponent).ok().and_then(|exponent| 10_u64.checked_pow(exponent))
}

fn as_i32(length: usize) -> i32 {
    // At most TEXT_BYTES_MAX.
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn read_exponent(text: &[u8]) -> Result<i32, DecimalError> {
    let after = match text {
        [] => return Ok(0),
        [b'e' | b'E', rest @ ..] => rest,
        _ => return Err(DecimalError::Syntax),
    };
    let (negative, digits) = match after {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::Syntax);
    }
    // Saturating: a huge exponent is out of range whatever its exact value.
    let value = digits
        .iter()
        .fold(0_i32, |value, digit| value.saturating_mul(10).saturating_add(i32::from(digit - b'0')).min(100_000));
    Ok(if negative { -value } else { value })
}
