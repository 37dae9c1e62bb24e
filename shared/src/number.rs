//! An exact number: the delta of an increment, or the sum of many.
//!
//! Integers stay machine integers while they fit; anything else is an arbitrary-precision decimal.
//! Addition never rounds and never overflows: the database judges whether a sum fits its column.

use std::fmt;
use std::str::FromStr;

use bigdecimal::{BigDecimal, Zero as _};

/// An exact decimal number of bounded size.
#[derive(Clone, Debug)]
pub enum Number {
    /// One written without a fraction or an exponent that fits 128 bits.
    Integer(i128),
    /// Any other.
    Decimal(BigDecimal),
}

/// Not a decimal number, or one with more digits than any database column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a decimal number of at most {DIGITS_MAX} digits before and {SCALE_MAX} after the point"
)]
pub struct NotANumber;

/// The digits before the point that Postgres' `numeric` holds. Without a limit, adding `1` to
/// `1e999999999` would allocate a gigabyte.
pub const DIGITS_MAX: i64 = 131_072;
/// The digits after the point that Postgres' `numeric` holds.
pub const SCALE_MAX: i64 = 16_383;
/// The longest text that is read as a number: all these digits, a sign, a point, an exponent.
const LENGTH_MAX: usize = (DIGITS_MAX + SCALE_MAX) as usize + 32;
/// How many zeros are written out before an exponent takes their place.
const ZEROS_MAX: i64 = 64;

impl Number {
    /// The exact sum.
    #[must_use]
    pub fn plus(&self, other: &Number) -> Number {
        if let (Number::Integer(a), Number::Integer(b)) = (self, other)
            && let Some(sum) = a.checked_add(*b)
        {
            return Number::Integer(sum);
        }
        Number::Decimal(self.to_decimal() + other.to_decimal())
    }

    /// The integer, if it was written as one and fits 64 bits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Number::Integer(integer) => i64::try_from(*integer).ok(),
            Number::Decimal(_) => None,
        }
    }

    /// How many digits it has before the point: its amount is below ten to this power. Negative for
    /// `0.01`, and the least for 0.
    #[must_use]
    pub fn whole_digits(&self) -> i64 {
        match self {
            Number::Integer(integer) => {
                let below = integer.unsigned_abs().checked_ilog10();
                below.map_or(i64::MIN, |below| i64::from(below) + 1)
            }
            Number::Decimal(decimal) if decimal.is_zero() => i64::MIN,
            Number::Decimal(decimal) => {
                let (_, scale) = decimal.as_bigint_and_exponent();
                let digits = i64::try_from(decimal.digits()).unwrap_or(i64::MAX);
                digits.saturating_sub(scale)
            }
        }
    }

    /// How many digits after the point it needs; below zero, how many zeros it ends in before the
    /// point. The least for 0.
    #[must_use]
    pub fn scale(&self) -> i64 {
        match self {
            Number::Integer(0) => i64::MIN,
            Number::Integer(integer) => -zeros_at_the_end(*integer),
            Number::Decimal(decimal) if decimal.is_zero() => i64::MIN,
            Number::Decimal(decimal) => decimal.normalized().as_bigint_and_exponent().1,
        }
    }

    /// Whether this is less than `other`.
    #[must_use]
    pub fn is_less_than(&self, other: &Number) -> bool {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => a < b,
            (Number::Decimal(a), Number::Decimal(b)) => a < b,
            _ => self.to_decimal() < other.to_decimal(),
        }
    }

    /// The heap memory it holds, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Number::Integer(_) => 0,
            Number::Decimal(decimal) => {
                let (digits, _) = decimal.as_bigint_and_scale();
                usize::try_from(digits.bits() / 8 + 8).unwrap_or(usize::MAX)
            }
        }
    }

    fn to_decimal(&self) -> BigDecimal {
        match self {
            Number::Integer(integer) => BigDecimal::from(*integer),
            Number::Decimal(decimal) => decimal.clone(),
        }
    }
}

impl FromStr for Number {
    type Err = NotANumber;

    /// Parses a JSON number, nothing wider (no `+1`, no `NaN`, no `1_000`).
    fn from_str(text: &str) -> Result<Self, NotANumber> {
        if text.len() > LENGTH_MAX || !is_json_number(text) {
            return Err(NotANumber);
        }
        // Nearly every delta is short, and 64-bit parsing is the quicker one.
        if let Ok(integer) = text.parse::<i64>() {
            return Ok(Number::Integer(integer.into()));
        }
        if let Ok(integer) = text.parse::<i128>() {
            return Ok(Number::Integer(integer));
        }
        // Bounds the exponent before any digit is expanded: see `DIGITS_MAX`.
        let decimal: BigDecimal = text.parse().map_err(|_| NotANumber)?;
        let (_, scale) = decimal.as_bigint_and_exponent();
        let digits = i64::try_from(decimal.digits()).map_err(|_| NotANumber)?;
        let before_the_point = digits.checked_sub(scale).ok_or(NotANumber)?;
        if scale > SCALE_MAX || before_the_point > DIGITS_MAX {
            return Err(NotANumber);
        }
        Ok(Number::Decimal(decimal))
    }
}

/// How many zeros an integer other than 0 ends in. Division is quick in 64 bits.
fn zeros_at_the_end(integer: i128) -> i64 {
    let mut zeros = 0;
    let Ok(mut rest) = i64::try_from(integer) else {
        return if integer % 10 == 0 { 1 + zeros_at_the_end(integer / 10) } else { 0 };
    };
    while rest % 10 == 0 {
        (rest, zeros) = (rest / 10, zeros + 1);
    }
    zeros
}

/// How many digits the number `text` has from its first that is not 0 to its last, or to the last
/// that is not 0 if there is a point.
#[must_use]
pub fn significant_digits(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.trim_start_matches(['-', '0', '.']).replace('.', "");
    if mantissa.contains('.') { digits.trim_end_matches('0').len() } else { digits.len() }
}

/// Whether `text` is a number in JSON's grammar.
fn is_json_number(text: &str) -> bool {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let places = digits(fraction);
        if places == 0 {
            return false;
        }
        rest = &fraction[places..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent =
            exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => a == b,
            _ => self.to_decimal() == other.to_decimal(),
        }
    }
}

impl Eq for Number {}

impl fmt::Display for Number {
    /// Valid as JSON and as SQL. Digits, with an exponent only in the place of many zeros: `1e131000`
    /// is as short in memory and in a statement as in its record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Integer(integer) => integer.fmt(f),
            Number::Decimal(decimal) => {
                let (digits, scale) = decimal.as_bigint_and_exponent();
                let digits_max = i64::try_from(decimal.digits()).unwrap_or(i64::MAX);
                if scale < 0 && decimal.is_zero() {
                    // Its zeros before the point would be no number to JSON: `0e3` is not `0000`.
                    return f.write_str("0");
                }
                if scale < -ZEROS_MAX || scale > digits_max.saturating_add(ZEROS_MAX) {
                    return write!(f, "{digits}e{}", -scale);
                }
                f.write_str(&decimal.to_plain_string())
            }
        }
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Number {
            fn from(integer: $integer) -> Self {
                Number::Integer(i128::from(integer))
            }
        }
    )*};
}
from_integer!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

impl From<usize> for Number {
    fn from(integer: usize) -> Self {
        // No platform has wider ones.
        Number::Integer(integer as i128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap_or_else(|_| panic!("{text} is a number"))
    }

    #[test]
    fn sums_of_decimals_are_exact_where_floats_are_not() {
        assert_eq!(number("0.1").plus(&number("0.2")), number("0.3"));
        assert_eq!(number("1e20").plus(&number("1")).to_string(), "100000000000000000001");
    }

    #[test]
    fn a_zero_with_an_exponent_is_written_as_one_digit() {
        for (text, written) in [("0e3", "0"), ("-0E+63", "0"), ("0e999", "0"), ("0e-2", "0.00")] {
            assert_eq!(number(text).to_string(), written, "{text}");
        }
    }

    #[test]
    fn numbers_are_compared_by_value_and_not_by_text() {
        assert!(number("9").is_less_than(&number("10")));
        assert!(number("9.99").is_less_than(&number("1e1")));
        assert!(!number("10.0").is_less_than(&number("10")));
    }

    #[test]
    fn sums_of_integers_do_not_overflow() {
        let most = Number::Integer(i128::MAX);
        let sum = most.plus(&Number::from(1_i64));
        assert_eq!(sum.to_string(), "170141183460469231731687303715884105728");
        assert_eq!(sum.plus(&Number::from(-1_i64)), most);
    }

    #[test]
    fn only_what_json_calls_a_number_is_one() {
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "NaN", "1_0", " 1", "0x1", "١"]
        {
            assert_eq!(text.parse::<Number>(), Err(NotANumber), "{text:?} must be refused");
        }
        for text in ["0", "-0", "10", "-1.50", "1e2", "1E+2", "12.5e-1"] {
            assert!(text.parse::<Number>().is_ok(), "{text:?} must be read");
        }
    }

    #[test]
    fn an_exponent_that_would_fill_the_memory_is_refused() {
        for text in ["1e999999999", "1e-999999999", "1e99999999999999999999", "1e131073"] {
            assert_eq!(text.parse::<Number>(), Err(NotANumber), "{text}");
        }
        assert!("1e131000".parse::<Number>().is_ok());
        let digits = "9".repeat(1 << 20);
        assert_eq!(digits.parse::<Number>(), Err(NotANumber), "before any digit is read");
    }

    #[test]
    fn a_number_is_written_as_short_as_it_was_read() {
        for (text, written) in [
            ("1e131000", "1e131000"),
            ("-25E-16000", "-25e-16000"),
            ("1e20", "100000000000000000000"),
            ("1.50e-3", "0.00150"),
        ] {
            assert_eq!(number(text).to_string(), written);
            assert_eq!(number(written), number(text));
        }
        assert_eq!(number("1e131000").plus(&number("0")), number("1e131000"));
    }

    #[test]
    fn digits_are_counted_before_the_point_after_it_and_from_the_first_to_the_last() {
        for (text, whole, scale, significant) in [
            ("0", i64::MIN, i64::MIN, 0),
            ("0.00", i64::MIN, i64::MIN, 0),
            ("7", 1, 0, 1),
            ("-9900", 4, -2, 4),
            ("9999.990", 4, 2, 6),
            ("1e4", 5, -4, 5),
            ("0.005", -2, 3, 1),
            ("0.5", 0, 1, 1),
            ("100000000000000000000", 21, -20, 21),
        ] {
            let number = number(text);
            let significant_digits = significant_digits(&number.to_string());
            let counted = (number.whole_digits(), number.scale(), significant_digits);
            assert_eq!(counted, (whole, scale, significant), "{text}");
        }
    }
}
