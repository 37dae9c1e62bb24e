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
use write_behind_shared::json::{spells_nul, unquoted};

use crate::core::table::ColumnKind;

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
        ColumnKind::Integer(range) => {
            let digits = unquoted(json);
            match integer(digits) {
                Some(integer) if range.contains(&integer) => digits.into(),
                Some(_) => return Err(not_between(digits, range)),
                None => return Err(is_not(json, "an integer in the column's range")),
            }
        }
        ColumnKind::Numeric(_) => decimal(json)?.into(),
        ColumnKind::Significant(most) => significant(decimal(json)?, *most)?.into(),
        ColumnKind::Float => match json.parse::<Number>() {
            Ok(_) => finite(json)?.into(),
            Err(_) => return Err(is_not(json, "a number")),
        },
        ColumnKind::Boolean if json == "true" || json == "false" => json.into(),
        ColumnKind::Boolean => return Err(is_not(json, "true or false")),
        ColumnKind::Text | ColumnKind::Notation => string(json)?,
        ColumnKind::Calendar => {
            let text = string(json)?;
            if is_of_the_moment(&text) {
                return Err(is_not(json, "the same date or time whenever it is applied"));
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
            if !is_instant(&text) {
                return Err(is_not(json, "an instant in RFC 3339, like 2013-01-01T10:00:00Z"));
            }
            text
        }
        ColumnKind::Json => document(json)?,
        ColumnKind::Bytes => {
            let text = string(json)?;
            let bytes = STANDARD.decode(&*text).map_err(|_| is_not(json, "base64"))?;
            let hex = bytes.iter().fold(String::from(r"\x"), |mut hex, byte| {
                // Writing to a string can't fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            hex.into()
        }
        ColumnKind::Array(element) => array(element, json)?.into(),
    };
    Ok(Some(text))
}

/// The text of an increment for a column of this kind.
///
/// # Errors
/// The increment does not fit the column.
pub fn delta_text(kind: &ColumnKind, delta: &Number) -> Result<String, Unfit> {
    let text = delta.to_string();
    match kind {
        ColumnKind::Integer(range) => match delta.as_i64() {
            // A decrement of an unsigned column is a negative delta.
            Some(delta) if (-range.end()..=*range.end()).contains(&delta) => Ok(text),
            Some(delta) if range.contains(&delta) => Ok(text),
            Some(_) => Err(not_between(&text, range)),
            None => Err(is_not(&text, "an integer in the column's range")),
        },
        // Rounding each delta and rounding their sum give different results, and which one it is
        // would depend on where a batch ends.
        ColumnKind::Numeric(Some(scale)) if digits_after_the_point(&text) > *scale as usize => {
            Err(unfit(&text, format!("has more than the column's {scale} digits after the point")))
        }
        ColumnKind::Numeric(_) => Ok(text),
        ColumnKind::Significant(most) => significant(&text, *most).map(str::to_owned),
        ColumnKind::Float => finite(&text).map(str::to_owned),
        _ => Err(unfit(&text, "is added to a column that is not numeric")),
    }
}

/// The integer that `digits` spell in JSON's notation, if it fits 64 bits.
fn integer(digits: &str) -> Option<i64> {
    let natural = digits.strip_prefix('-').unwrap_or(digits).as_bytes();
    let canonical = natural.first() != Some(&b'0') || natural.len() == 1;
    let spelled = canonical && natural.iter().all(u8::is_ascii_digit);
    if spelled { digits.parse().ok() } else { None }
}

fn not_between(digits: &str, range: &RangeInclusive<i64>) -> Unfit {
    unfit(digits, format!("is not between {} and {}", range.start(), range.end()))
}

fn digits_after_the_point(plain: &str) -> usize {
    plain.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len())
}

/// The number in `json`, which is a JSON number or a string of one.
fn decimal(json: &str) -> Result<&str, Unfit> {
    let digits = unquoted(json);
    let number: Result<Number, _> = digits.parse();
    number.map(|_| digits).map_err(|_| is_not(json, "a decimal number"))
}

/// `number`, if it is an integer of 64 bits or has at most `most` significant digits.
fn significant(number: &str, most: u32) -> Result<&str, Unfit> {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.trim_start_matches(['-', '0', '.']).replace('.', "");
    let digits = if mantissa.contains('.') { digits.trim_end_matches('0') } else { &digits };
    if digits.len() <= most as usize || integer(number).is_some() {
        return finite(number);
    }
    Err(unfit(number, format!("has more than the {most} digits that the column keeps")))
}

/// Whether `text` contains a word that stands for the current time.
fn is_of_the_moment(text: &str) -> bool {
    let mut words = text.split(|letter: char| !letter.is_ascii_alphabetic());
    words.any(|word| {
        ["now", "today", "tomorrow", "yesterday"].iter().any(|the| word.eq_ignore_ascii_case(the))
    })
}

fn finite(text: &str) -> Result<&str, Unfit> {
    let fits = text.parse::<f64>().is_ok_and(f64::is_finite);
    if fits { Ok(text) } else { Err(is_not(text, "in the range of a float")) }
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
fn array(element: &ColumnKind, json: &str) -> Result<String, Unfit> {
    let elements: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|_| is_not(json, "an array"))?;
    let mut text = String::from("{");
    for (place, value) in elements.iter().map(|value| value.get()).enumerate() {
        if place > 0 {
            text.push(',');
        }
        // An array of JSON documents has one level; deeper arrays are documents.
        if value.starts_with('[') && *element != ColumnKind::Json {
            text.push_str(&array(element, value)?);
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
        && in_range(number(17, 2), 0..=60);
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

fn unfit(text: &str, why: impl Into<String>) -> Unfit {
    Unfit { excerpt: excerpt(text), why: why.into() }
}

/// The start of a value, long enough to recognise it: a value may be a megabyte.
fn excerpt(text: &str) -> String {
    const CHARS: usize = 60;
    let mut shown: String = text.chars().take(CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
#[path = "tests/column.rs"]
mod tests;
