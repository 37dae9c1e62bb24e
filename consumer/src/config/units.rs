//! Sizes and times as people write them: `"8MiB"`, `"200ms"`. A number has no fraction, so none is
//! rounded, and one that is too large is refused.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use toml::Value;

/// A number of bytes: an integer, or a text such as `"8MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanSize(pub usize);

/// A time: a text such as `"200ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

const SIZES: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
const TIMES: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The number in `text`, multiplied by its unit.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl<'de> Deserialize<'de> for HumanSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        let bytes = match &written {
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            Value::String(text) => text.parse().ok().or_else(|| measure(text.trim(), &SIZES)),
            _ => None,
        };
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| {
            let form =
                "a size is written like \"8MiB\", in B, kB, MB, GB, TB, KiB, MiB, GiB or TiB";
            de::Error::custom(format!("{} is no size; {form}", shown(&written)))
        })
    }
}

impl HumanDuration {
    /// The time that `text` names, if it names one.
    pub fn parse(text: &str) -> Option<Self> {
        measure(text.trim(), &TIMES).map(|millis| Self(Duration::from_millis(millis)))
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        written.as_str().and_then(Self::parse).ok_or_else(|| {
            let form = "a time is written like \"200ms\" or \"90s\": a whole number and one unit, ms, \
                        s, m, h or d";
            de::Error::custom(format!("{} is no time; {form}", shown(&written)))
        })
    }
}

/// What was written, if it was meant as a number: something else may be a secret in the wrong place.
fn shown(written: &Value) -> String {
    match written {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(text) if text.len() <= 16 && text.starts_with(|c: char| is_of_number(c)) => {
            format!("{text:?}")
        }
        _ => "this".to_owned(),
    }
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || "+-.".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        assert_eq!(measure("8MiB", &SIZES), Some(8 << 20));
        assert_eq!(measure("10 kB", &SIZES), Some(10_000));
        assert_eq!(measure("200ms", &TIMES), Some(200));
        assert_eq!(measure("2h", &TIMES), Some(7_200_000));
        assert_eq!(measure("90d", &TIMES), Some(90 * 24 * 3_600_000));
    }

    #[test]
    fn what_has_no_number_or_an_unknown_unit_or_overflows_is_refused() {
        for text in ["", "MiB", "8", "8mib", "-1B", "1.5MiB", "99999999999999999999B"] {
            assert_eq!(measure(text, &SIZES), None, "{text:?}");
        }
        assert_eq!(measure("99999999999999999GiB", &SIZES), None);
    }

    #[test]
    fn a_refusal_shows_what_was_meant_as_a_number_and_the_units_that_there_are() {
        let time = |text: &str| refused::<HumanDuration>(text);
        for written in ["\"1 second\"", "\"1m30s\"", "200", "\"90 days\"", "\"0.5s\"", "\"200\""] {
            let refused = time(written);
            assert!(refused.starts_with(&format!("{written} is no time; ")), "{refused}");
            assert!(refused.ends_with("ms, s, m, h or d"), "{refused}");
        }
        let size = |text: &str| refused::<HumanSize>(text);
        for written in ["\"8M\"", "\"8mib\"", "-1", "0.5"] {
            let refused = size(written);
            assert!(refused.starts_with(&format!("{written} is no size; ")), "{refused}");
            assert!(refused.ends_with("GiB or TiB"), "{refused}");
        }
        for secret in ["\"hush\"", "\"4-a-long-password\"", "[\"hush\"]"] {
            assert!(time(secret).starts_with("this is no time"), "{secret}");
            assert!(size(secret).starts_with("this is no size"), "{secret}");
        }
        assert_eq!(measure("1TiB", &SIZES), Some(1 << 40));
    }

    fn refused<T: for<'de> Deserialize<'de> + std::fmt::Debug>(written: &str) -> String {
        #[derive(Debug, Deserialize)]
        struct File<T> {
            #[expect(dead_code, reason = "only its refusal is looked at")]
            value: T,
        }
        let read: Result<File<T>, _> = toml::from_str(&format!("value = {written}"));
        read.unwrap_err().message().to_owned()
    }
}
