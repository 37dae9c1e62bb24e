//! A JSON value as the text that its column takes, or the reason why it does not fit.
//!
//! The text becomes a bound parameter that the statement casts to the column's type, so it is in
//! the database's own notation. What only the database can judge (calendar dates, enum labels,
//! lengths) is left to it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use write_behind_shared::Number;
use write_behind_shared::json::{excerpt, spells_nul, unquoted};

pub use crate::core::table::digits::FLOAT_DIGITS;
use crate::core::table::digits::{self, finer, integer, spells_number};
use crate::core::table::{ColumnKind, Float, notation};

/// Why a value does not fit its column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{excerpt} {why}")]
pub struct Unfit {
    /// The start of the value.
    pub excerpt: String,
    /// The reason, to follow the words "the value"; it quotes nothing of the value.
    pub why: String,
}

/// The text of `json`, a well-formed JSON document, for a column of this kind; `None` is NULL.
///
/// # Errors
/// The value does not fit the column.
pub fn text_of<'j>(kind: &ColumnKind, json: &'j str) -> Result<Option<Cow<'j, str>>, Unfit> {
    if json == "null" {
        return Ok(None);
    }
    let text = match kind {
        ColumnKind::Integer(range) | ColumnKind::Ordinal(range) => {
            let digits = unquoted(json);
            match integer(digits) {
                Some(integer) if range.contains(&integer) => digits.into(),
                Some(_) => return Err(not_between(digits, range)),
                None => return Err(is_not(json, "an integer in the column's range")),
            }
        }
        ColumnKind::Numeric(scale) => kept(decimal(json)?, *scale)?.into(),
        ColumnKind::Significant(most) => significant(decimal(json)?, *most)?.into(),
        ColumnKind::Float(float) => match json.parse::<Number>() {
            Ok(_) => finite(kept(json, float.scale)?, *float)?.into(),
            Err(_) => return Err(is_not(json, "a number")),
        },
        ColumnKind::Boolean if json == "true" || json == "false" => json.into(),
        ColumnKind::Boolean => return Err(is_not(json, "true or false")),
        ColumnKind::Text | ColumnKind::Notation => string(json)?,
        ColumnKind::Calendar(calendar) => {
            let text = string(json)?;
            if !calendar.reads(&text) {
                return Err(is_not(json, calendar.what()));
            }
            text
        }
        ColumnKind::Labels { labels, several } => {
            let text = string(json)?;
            let known = |label: &str| labels.iter().any(|known| known == label);
            let fits = match several {
                true => text.is_empty() || text.split(',').all(known),
                false => known(&text),
            };
            if !fits {
                return Err(is_not(json, "one of the column's labels"));
            }
            text
        }
        ColumnKind::Instant(_) => {
            let text = string(json)?;
            if !is_instant(&text) && !matches!(&*text, "infinity" | "-infinity") {
                return Err(is_not(json, "an instant in RFC 3339, like 2013-01-01T10:00:00Z"));
            }
            text
        }
        ColumnKind::Json => document(json)?,
        ColumnKind::Bytes(exactly) => bytes(json, *exactly)?.into(),
        ColumnKind::Affine(kind) => return affine(kind, json),
        ColumnKind::Array(element, delimiter) => array(element, *delimiter, json)?.into(),
        ColumnKind::Short(_)
        | ColumnKind::Range(_)
        | ColumnKind::Multirange(_)
        | ColumnKind::Composite(_)
        | ColumnKind::Lexemes
        | ColumnKind::Geometry { .. } => {
            let text = string(json)?;
            if let Some(why) = notation::unfit(kind, &text) {
                return Err(unfit(json, why));
            }
            text
        }
    };
    Ok(Some(text))
}

/// Why a key's text would be changed by its column, which is of this kind.
pub(crate) fn unfit_key(kind: &ColumnKind, text: &str) -> Option<Unfit> {
    let why = match kind {
        ColumnKind::Short(length) => length.exceeded_by(text)?,
        ColumnKind::Affine(_) if spells_number(text) => {
            "looks like a number, and its column would make it one".to_owned()
        }
        _ => return None,
    };
    Some(unfit(text, why))
}

pub(super) fn not_between(digits: &str, range: &RangeInclusive<i64>) -> Unfit {
    unfit(digits, format!("is not between {} and {}", range.start(), range.end()))
}

/// `number`, if a column that keeps `scale` digits after the point keeps all of it.
pub(super) fn kept(number: &str, scale: Option<i32>) -> Result<&str, Unfit> {
    match scale.and_then(|scale| finer(number, scale)) {
        Some(why) => Err(unfit(number, why)),
        None => Ok(number),
    }
}

/// `number`, if it is an integer of 64 bits or has at most `most` significant digits.
pub(super) fn significant(number: &str, most: u32) -> Result<&str, Unfit> {
    if digits::is_significant(number, most) {
        return finite(number, Float::DOUBLE);
    }
    Err(unfit(number, format!("has more than the {most} digits that the column keeps")))
}

/// `number`, if a float is near it.
pub(super) fn finite(number: &str, float: Float) -> Result<&str, Unfit> {
    let fits = digits::is_near_a_float(number, float.single);
    if fits { Ok(number) } else { Err(is_not(number, "in the range of the column's floats")) }
}

/// The number in `json`, which is a JSON number or a string of one.
fn decimal(json: &str) -> Result<&str, Unfit> {
    let digits = unquoted(json);
    let number: Result<Number, _> = digits.parse();
    number.map(|_| digits).map_err(|_| is_not(json, "a decimal number"))
}

/// Bytes as Postgres writes them in hexadecimal.
fn bytes(json: &str, exactly: Option<usize>) -> Result<String, Unfit> {
    let text = string(json)?;
    let bytes = STANDARD.decode(&*text).map_err(|_| is_not(json, "base64"))?;
    if let Some(exactly) = exactly.filter(|exactly| bytes.len() != *exactly) {
        return Err(is_not(
            json,
            &format!("base64 of {exactly} bytes, which the column fills up to"),
        ));
    }
    Ok(bytes.iter().fold(String::from(r"\x"), |mut hex, byte| {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// The text of a value whose column makes a number of a text that looks like one: JSON that is a
/// number stays one.
fn affine<'j>(kind: &ColumnKind, json: &'j str) -> Result<Option<Cow<'j, str>>, Unfit> {
    let text = text_of(kind, json)?;
    match &text {
        Some(text) if spells_number(text) && *kind == ColumnKind::Json => {
            significant(text, FLOAT_DIGITS)?;
        }
        Some(text) if spells_number(text) => {
            return Err(unfit(json, "looks like a number, and its column would make it one"));
        }
        _ => {}
    }
    Ok(text)
}

fn string(json: &str) -> Result<Cow<'_, str>, Unfit> {
    let quoted = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = quoted.ok_or_else(|| is_not(json, "a string"))?;
    if !inner.contains('\\') {
        return Ok(inner.into());
    }
    if spells_nul(json) {
        return Err(unfit(json, "holds a NUL character, which no text column can"));
    }
    let text = serde_json::from_str(json).map(Cow::Owned);
    text.map_err(|_| unfit(json, "holds half of a surrogate pair"))
}

/// The document of a JSON column, as written, if the database's text type can hold it.
fn document(json: &str) -> Result<Cow<'_, str>, Unfit> {
    if json.contains('\\') {
        if spells_nul(json) {
            return Err(unfit(json, "holds a NUL character, which no text column can"));
        }
        if spells_lone_surrogate(json) {
            return Err(unfit(json, "holds half of a surrogate pair"));
        }
    }
    Ok(json.into())
}

/// Whether a well-formed `document` escapes half of a surrogate pair without the other half.
fn spells_lone_surrogate(document: &str) -> bool {
    let bytes = document.as_bytes();
    let unit = |at: usize| {
        let escape = bytes.get(at..at + 6)?.strip_prefix(br"\u")?;
        u16::from_str_radix(std::str::from_utf8(escape).ok()?, 16).ok()
    };
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], unit(at)) {
            (b'\\', Some(0xD800..=0xDBFF)) => match unit(at + 6) {
                Some(0xDC00..=0xDFFF) => at += 12,
                _ => return true,
            },
            (b'\\', Some(0xDC00..=0xDFFF)) => return true,
            (b'\\', _) => at += 2,
            _ => at += 1,
        }
    }
    false
}

/// An array in Postgres' notation: `{"a",NULL,{"nested"}}`. Every element is quoted, so nothing in
/// it can pass for punctuation or NULL.
fn array(element: &ColumnKind, delimiter: char, json: &str) -> Result<String, Unfit> {
    let elements: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|_| is_not(json, "an array"))?;
    // An array of JSON documents, or of arrays by another name, has one dimension: what is deeper
    // belongs to the elements.
    let is_flat = matches!(element, ColumnKind::Json | ColumnKind::Array(..));
    let mut text = String::from("{");
    for (place, value) in elements.iter().map(|value| value.get()).enumerate() {
        if place > 0 {
            text.push(delimiter);
        }
        if value.starts_with('[') && !is_flat {
            let nested = array(element, delimiter, value)?;
            if nested == "{}" {
                return Err(is_not(json, "an array that its column keeps: one in it is empty"));
            }
            text.push_str(&nested);
            continue;
        }
        match text_of(element, value)? {
            None => text.push_str("NULL"),
            Some(element) => {
                text.push('"');
                for letter in element.chars() {
                    if matches!(letter, '"' | '\\') {
                        text.push('\\');
                    }
                    text.push(letter);
                }
                text.push('"');
            }
        }
    }
    text.push('}');
    Ok(text)
}

/// Whether `text` is an RFC 3339 instant: date, `T`, time, and an offset from UTC.
fn is_instant(text: &str) -> bool {
    let number = |at: usize, digits: usize| -> Option<u32> {
        let part = text.as_bytes().get(at..at + digits)?;
        let all_digits = part.iter().all(u8::is_ascii_digit);
        all_digits.then(|| part.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    };
    let at = |at: usize, any_of: &[u8]| text.as_bytes().get(at).is_some_and(|b| any_of.contains(b));
    let in_range = |number: Option<u32>, range: RangeInclusive<u32>| {
        number.is_some_and(|number| range.contains(&number))
    };
    let clock = in_range(number(0, 4), 0..=9999)
        && at(4, b"-")
        && in_range(number(5, 2), 1..=12)
        && at(7, b"-")
        && in_range(number(8, 2), 1..=31)
        && at(10, b"Tt ")
        && in_range(number(11, 2), 0..=23)
        && at(13, b":")
        && in_range(number(14, 2), 0..=59)
        && at(16, b":")
        // No database keeps a leap second.
        && in_range(number(17, 2), 0..=59);
    let mut end = 19;
    if clock && at(end, b".") {
        let digits = text.as_bytes()[end + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        end += if digits == 0 { return false } else { 1 + digits };
    }
    let zone = match text.len().checked_sub(end) {
        Some(1) => at(end, b"Zz"),
        Some(6) => {
            at(end, b"+-")
                && in_range(number(end + 1, 2), 0..=23)
                && at(end + 3, b":")
                && in_range(number(end + 4, 2), 0..=59)
        }
        _ => false,
    };
    clock && zone
}

pub(crate) fn is_not(json: &str, what: &str) -> Unfit {
    unfit(json, format!("is not {what}"))
}

pub(super) fn unfit(text: &str, why: impl Into<String>) -> Unfit {
    Unfit { excerpt: excerpt(text), why: why.into() }
}

#[cfg(test)]
#[path = "tests/column.rs"]
mod tests;
