//! Exact numbers in rows: decimals and large integers, with all their digits.
//!
//! A number of JSON goes through a float on its way into most decimal types, and loses what a
//! float does not hold: `12345678901234567.89` comes back as `12345678901234568`. With this module
//! a field is read from the number's text, whether a loader, an increment or another client wrote
//! it as a number or as a string; and it is written as a string, which numeric columns take.
//!
//! It suits every type that is written by `Display` and read by `FromStr`, as `rust_decimal` and
//! `bigdecimal` have them:
//!
//! ```
//! use bigdecimal::BigDecimal;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Account {
//!     #[serde(with = "write_behind_producer::exact")]
//!     balance: BigDecimal,
//!     #[serde(with = "write_behind_producer::exact::option", default)]
//!     limit: Option<BigDecimal>,
//! }
//!
//! let read: Account = serde_json::from_str(r#"{"balance":12345678901234567.89}"#).unwrap();
//! assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"balance":"12345678901234567.89","limit":null}"#);
//! ```
//!
//! It reads from JSON's text only, which is how the producer reads rows: not within a flattened
//! struct or an untagged enum, which serde reads in another way.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize as _, Deserializer, Serializer};
use serde_json::value::RawValue;
use write_behind_shared::json;

/// Writes the number as a string.
///
/// # Errors
/// The serializer's.
pub fn serialize<T: Display, S: Serializer>(number: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// Reads a number, or a string that holds one.
///
/// # Errors
/// The text is none of `T`, or is not read from JSON's text.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let text = Box::<RawValue>::deserialize(deserializer)?;
    parsed(&text)
}

fn parsed<T: FromStr<Err: Display>, E: serde::de::Error>(text: &RawValue) -> Result<T, E> {
    json::unquoted(text.get()).parse().map_err(E::custom)
}

/// The same of a number that may be missing: `None` is null.
pub mod option {
    use super::{Deserializer, Display, FromStr, RawValue, Serializer, parsed};
    use serde::Deserialize as _;

    /// Writes the number as a string, or null.
    ///
    /// # Errors
    /// The serializer's.
    #[allow(clippy::ref_option, reason = "the shape that serde wants")]
    pub fn serialize<T: Display, S: Serializer>(
        number: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => serializer.collect_str(number),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a number, a string that holds one, or null.
    ///
    /// # Errors
    /// As of [`deserialize`](super::deserialize).
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if text.get() == "null" { Ok(None) } else { parsed(&text).map(Some) }
    }
}
