//! The key of a record: the row it changes, as one canonical text.
//!
//! A key of one column is the column's plain text. A key of several is a JSON object of exactly
//! these columns in canonical form (RFC 8785: sorted names, no white space, minimal escapes), with
//! integers written in full. Two spellings of one row would hash to two partitions and lose their
//! order, so both sides refuse what is not canonical: the producer before it sends a record, the
//! consumer when it reads one.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::mistaken;

mod error;
mod canonical;
mod scalar;
mod composite;
mod writer;

pub use error::{KEY_BYTES_MAX, KeyError};
pub use writer::KeyWriter;

/// The types a key column may have: those in which equal values have equal texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// An integer within the column's range.
    Integer(RangeInclusive<i64>),
    /// Text, compared byte by byte.
    Text,
    /// A UUID, written in lower case with hyphens.
    Uuid,
    /// `true` or `false`.
    Boolean,
    /// A date, written `YYYY-MM-DD`.
    Date,
}

/// A key column: its name and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// The column's name.
    pub name: String,
    /// The column's type.
    pub kind: KeyKind,
}

/// The canonical text of `key`: a scalar, or a struct or map of scalars. To write many keys, or a
/// tuple, keep a [`KeyWriter`].
///
/// # Errors
/// [`KeyError`]: the value cannot be a key.
pub fn encode<K: Serialize + ?Sized>(key: &K) -> Result<Vec<u8>, KeyError> {
    let mut writer = KeyWriter::default();
    writer.write(key, &[])?;
    Ok(writer.into_text())
}

/// Decodes a record's key into the plain texts of `columns`, in their order.
///
/// # Errors
/// [`KeyError`]: the record is bad.
pub fn decode(key: &[u8], columns: &[KeyColumn]) -> Result<Vec<String>, KeyError> {
    Ok(texts(key, columns)?.into_iter().map(Cow::into_owned).collect())
}

/// Like [`decode`], but the text of a key of one column is borrowed.
///
/// # Errors
/// [`KeyError`]: the record is bad.
pub fn texts<'k>(key: &'k [u8], columns: &[KeyColumn]) -> Result<Vec<Cow<'k, str>>, KeyError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    texts_of(key, columns)
        .map_err(|error| mistaken::of_key(key, columns.len()).map_or(error, KeyError::Mistaken))
}

fn texts_of<'k>(key: &'k [u8], columns: &[KeyColumn]) -> Result<Vec<Cow<'k, str>>, KeyError> {
    let text = std::str::from_utf8(key).map_err(|_| KeyError::NotUtf8)?;
    if let [column] = columns {
        if let Some(told) = mistaken::of_text_key(key) {
            return Err(KeyError::Mistaken(told));
        }
        return Ok(vec![column.check(Cow::Borrowed(text))?]);
    }
    let not_canonical = |why: &str| KeyError::NotCanonicalObject(why.to_owned());
    let object: serde_json::Map<String, Value> =
        serde_json::from_str(text).map_err(|error| not_canonical(&error.to_string()))?;
    if object.len() != columns.len() {
        return Err(not_canonical(&format!("{} columns, not {}", object.len(), columns.len())));
    }
    if let Some((_, value)) = object.iter().find(|(_, value)| !canonical::is_scalar(value)) {
        return Err(not_canonical(&format!("{value} is not a scalar")));
    }
    let mut canonical = Vec::with_capacity(key.len());
    let mut members: Vec<_> = object.iter().map(|(name, value)| (&**name, value)).collect();
    let pushed = canonical::push_object(&mut canonical, &mut members, |_, _| ());
    if pushed.is_err() || canonical != key {
        return Err(not_canonical("names sorted, no white space, minimal escapes"));
    }
    let text_of = |column: &KeyColumn| {
        let value = object.get(&column.name);
        let value = value.ok_or_else(|| not_canonical(&format!("no {:?}", column.name)))?;
        column.check(Cow::Owned(column.scalar_text(value)?))
    };
    columns.iter().map(text_of).collect()
}

impl KeyColumn {
    /// The plain text of a scalar in a composite key, if its JSON type is the column's.
    fn scalar_text(&self, value: &Value) -> Result<String, KeyError> {
        match (&self.kind, value) {
            (KeyKind::Integer(_), Value::Number(number)) => Ok(number.to_string()),
            (KeyKind::Boolean, Value::Bool(boolean)) => Ok(boolean.to_string()),
            (KeyKind::Text | KeyKind::Uuid | KeyKind::Date, Value::String(text)) => {
                Ok(text.clone())
            }
            _ => Err(self.not_canonical(value.to_string())),
        }
    }

    /// Returns `text` if it is canonical for this column's type.
    fn check<'k>(&self, text: Cow<'k, str>) -> Result<Cow<'k, str>, KeyError> {
        let canonical = match &self.kind {
            KeyKind::Integer(range) => {
                let natural = text.strip_prefix('-').unwrap_or(&text);
                let canonical = !natural.starts_with(['0', '+']) || text == "0";
                canonical && text.parse().is_ok_and(|integer| range.contains(&integer))
            }
            KeyKind::Text if text.contains('\0') => return Err(KeyError::Nul),
            KeyKind::Text => true,
            KeyKind::Uuid => Uuid::parse_str(&text).is_ok_and(|uuid| uuid.to_string() == text),
            KeyKind::Boolean => text == "true" || text == "false",
            KeyKind::Date => is_date(&text),
        };
        if canonical { Ok(text) } else { Err(self.not_canonical(text.into_owned())) }
    }

    fn not_canonical(&self, text: String) -> KeyError {
        let kind = match self.kind {
            KeyKind::Integer(_) => "an integer in the column's range",
            KeyKind::Text => "a text",
            KeyKind::Uuid => "a uuid",
            KeyKind::Boolean => "a boolean",
            KeyKind::Date => "a date",
        };
        KeyError::NotCanonical { text, kind, column: self.name.clone() }
    }
}

/// Whether `text` is a day of the calendar, written `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shape {
        return false;
    }
    let (Ok(year), Ok(month), Ok(day)) =
        (text[..4].parse::<u32>(), text[5..7].parse::<u32>(), text[8..].parse::<u32>())
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year > 0 && (1..=days).contains(&day)
}

#[cfg(test)]
#[path = "tests/canonical.rs"]
mod tests;
