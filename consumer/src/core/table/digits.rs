//! The digits of a number: how many a column keeps, and which texts have nothing but digits.

use write_behind_shared::number::significant_digits;

/// Why `number` would be rounded to `scale` digits after the point. What is no number is not.
pub(crate) fn finer(number: &str, scale: i32) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.trim_start_matches(['-', '0']);
    let digits = if !fraction.is_empty() {
        fraction.len() as i64 - exponent
    } else if !whole.is_empty() {
        whole.trim_end_matches('0').len() as i64 - whole.len() as i64 - exponent
    } else {
        return None;
    };
    (digits > i64::from(scale)).then(|| match scale {
        0.. => format!("has more than the column's {scale} digits after the point"),
        _ => format!("is not in the steps of 1e{} that the column keeps", -scale),
    })
}

/// The integer that `digits` spell in JSON's notation, if it fits 64 bits.
pub(crate) fn integer(digits: &str) -> Option<i64> {
    let natural = digits.strip_prefix('-').unwrap_or(digits).as_bytes();
    let canonical = natural.first() != Some(&b'0') || natural.len() == 1;
    let spelled = canonical && natural.iter().all(u8::is_ascii_digit);
    if spelled { digits.parse().ok() } else { None }
}

/// Whether `number` is an integer of 64 bits or has at most `most` significant digits.
pub(crate) fn is_significant(number: &str, most: u32) -> bool {
    significant_digits(number) <= most as usize || integer(number).is_some()
}

/// Whether a float of 32 or 64 bits is near `number`: it is not too large, nor so small that only 0
/// is near.
pub(crate) fn is_near_a_float(number: &str, single: bool) -> bool {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.contains(|letter| matches!(letter, '1'..='9'));
    if single {
        number.parse().is_ok_and(|near: f32| near.is_finite() && (near == 0.0) == is_zero)
    } else {
        number.parse().is_ok_and(|near: f64| near.is_finite() && (near == 0.0) == is_zero)
    }
}

/// The decimal digits that a float keeps.
pub const FLOAT_DIGITS: u32 = 15;

/// Whether SQLite would make a number of `text`.
pub(crate) fn spells_number(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && digits(exponent)
        && !exponent.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_finer_than_a_scale_by_what_it_is_and_not_by_how_it_is_spelled() {
        for (number, scale, is_finer) in [
            ("1.25", 2, false),
            ("1.250", 2, false),
            ("1.255", 2, true),
            ("125e-2", 2, false),
            ("1250E-3", 2, false),
            ("1255e-3", 2, true),
            ("0.0000", 0, false),
            ("-0e-9", 0, false),
            ("1e3", 0, false),
            ("12300", -2, false),
            ("12345", -2, true),
            ("1.2345e4", -1, true),
            ("1.23e4", -2, false),
            ("-0.5", 0, true),
            ("NaN", 0, false),
        ] {
            assert_eq!(finer(number, scale).is_some(), is_finer, "{number} at {scale}");
        }
    }

    #[test]
    fn a_float_is_near_a_number_that_is_neither_too_large_nor_too_small() {
        for (number, single, double) in [
            ("0", true, true),
            ("-0.0e9", true, true),
            ("1.1", true, true),
            ("1e39", false, true),
            ("1e-46", false, true),
            ("1e-45", true, true),
            ("1e400", false, false),
            ("-1e-400", false, false),
        ] {
            let found = (is_near_a_float(number, true), is_near_a_float(number, false));
            assert_eq!(found, (single, double), "{number}");
        }
    }

    #[test]
    fn a_text_spells_a_number_as_sqlite_reads_one() {
        for number in [
            "7",
            "007",
            "-1",
            "+.5",
            "5.",
            "1e3",
            "0930",
            " 12\t",
            "1E+05",
            "9".repeat(30).as_str(),
        ] {
            assert!(spells_number(number), "{number:?}");
        }
        for text in [
            "",
            ".",
            "e3",
            "1e",
            "1e+",
            "0x10",
            "1 2",
            "--1",
            "Inf",
            "nan",
            "1_0",
            "2013-01-31",
            "10:00",
            "१",
        ] {
            assert!(!spells_number(text), "{text:?}");
        }
    }
}
