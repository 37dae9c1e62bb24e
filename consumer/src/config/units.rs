//! Sizes and times as people write them: `"8MiB"`, `"200ms"`. A number has no fraction, so none is
//! rounded, and one that is too large is refused.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A number of bytes: an integer, or a text such as `"8MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanSize(pub usize);

/// A time: a text such as `"200ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
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
        let bytes = match toml::Value::deserialize(deserializer)? {
            toml::Value::Integer(bytes) => u64::try_from(bytes).ok(),
            toml::Value::String(text) => text.parse().ok().or_else(|| measure(text.trim(), &SIZES)),
            _ => None,
        };
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("a size is written like \"8MiB\""))
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
        let span = Self::parse(&String::deserialize(deserializer)?);
        span.ok_or_else(|| de::Error::custom("a time is written like \"200ms\" or \"1s\""))
    }
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
}
