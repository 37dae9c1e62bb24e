//! A JSON object split into its members, each value still the text it was written in.
//!
//! Values are not parsed here: the type of its column judges a value later, and most values of a
//! hot row are overwritten before that. What every document must satisfy is checked here: it is
//! UTF-8, it is one JSON object, it names no member twice, and it is not nested too deeply.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::mistaken;

/// How many levels a document may be nested; the outer object is level 1.
pub const DEPTH_MAX: usize = 64;

/// How many members the outer object may have: more than a table has columns.
pub const MEMBERS_MAX: usize = 2_000;

/// One member of an object: its name, and its value as it was written.
pub type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// Why a document cannot be split into members.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Some bytes are not UTF-8.
    #[error("the value is not UTF-8")]
    NotUtf8,
    /// Not JSON, not an object, or followed by something else: what it looks like, without its
    /// content.
    #[error("the value is not a JSON object: {0}")]
    NotAnObject(String),
    /// Two members have this name.
    #[error("the member {0:?} is named twice")]
    NamedTwice(String),
    /// More members than [`MEMBERS_MAX`].
    #[error("the value names more than {MEMBERS_MAX} columns")]
    TooManyMembers,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("the value is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// The members of the object `document`, in its order.
///
/// # Errors
/// [`JsonError`], when the document is not one well-formed JSON object.
pub fn members(document: &[u8]) -> Result<Vec<Member<'_>>, JsonError> {
    let text = std::str::from_utf8(document).map_err(|_| not_text(document))?;
    if depth_exceeds(document, DEPTH_MAX) {
        return Err(JsonError::TooDeep);
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let refused = |error| not_an_object(document, &error);
    let members = reader.deserialize_map(Members).map_err(refused)?;
    reader.end().map_err(refused)?;
    if members.len() > MEMBERS_MAX {
        return Err(JsonError::TooManyMembers);
    }
    if let Some(name) = named_twice(&members) {
        return Err(JsonError::NamedTwice(name.to_owned()));
    }
    Ok(members)
}

/// Whether `holds` is true of any member of the object `document`, given its name and the text of
/// its value. Allocates only for a name with escapes.
///
/// # Errors
/// [`JsonError`], when the document is not one well-formed JSON object.
pub fn any_member(
    document: &str,
    holds: impl FnMut(&str, &str) -> bool,
) -> Result<bool, JsonError> {
    let mut reader = serde_json::Deserializer::from_str(document);
    reader.deserialize_map(Any(holds)).map_err(|error| not_an_object(document.as_bytes(), &error))
}

/// Whether brackets outside strings nest deeper than `limit`. Does not recurse.
#[must_use]
pub fn depth_exceeds(document: &[u8], limit: usize) -> bool {
    // Nearly every document has fewer brackets than that in all, and counting them is quick.
    if brackets(document) <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in document {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The start of a value, long enough to recognise it: a value may be a megabyte.
#[must_use]
pub fn excerpt(value: &str) -> String {
    const CHARS: usize = 60;
    let mut shown: String = value.chars().take(CHARS).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
}

/// How many opening brackets there are. The count of one chunk fits a byte, so the compiler counts
/// many bytes at a time.
fn brackets(document: &[u8]) -> usize {
    let in_chunk =
        |chunk: &[u8]| chunk.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    document.chunks(255).map(|chunk| usize::from(in_chunk(chunk))).sum()
}

/// Whether a well-formed `document` spells a NUL character, which no text column can hold.
#[must_use]
pub fn spells_nul(document: &str) -> bool {
    const NUL: &str = r"\u0000";
    document.match_indices(NUL).any(|(at, _)| {
        // After an even number of backslashes, its own backslash is not escaped.
        let before = &document.as_bytes()[..at];
        before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
    })
}

/// `text` without its quotes, if it has any. Many clients write exact decimals as strings.
#[must_use]
pub fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// The plain text of a JSON scalar: a string without quotes and escapes, a number or a boolean as
/// it is. Null, arrays and objects have none.
#[must_use]
pub fn plain_scalar(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first()? {
        b'"' if value.contains('\\') => serde_json::from_str(value).ok().map(Cow::Owned),
        b'"' => Some(Cow::Borrowed(unquoted(value))),
        b'n' | b'[' | b'{' => None,
        _ => Some(Cow::Borrowed(value)),
    }
}

fn not_text(document: &[u8]) -> JsonError {
    // Of an object, some text in it is not UTF-8.
    let looks_like = mistaken::of_value(document);
    looks_like.map_or(JsonError::NotUtf8, |told| JsonError::NotAnObject(told.to_owned()))
}

fn not_an_object(document: &[u8], error: &serde_json::Error) -> JsonError {
    JsonError::NotAnObject(match mistaken::of_value(document) {
        Some(told) => told.to_owned(),
        None if error.is_eof() => "it ends too early".to_owned(),
        // Errors of the syntax have a place, and nothing of the document.
        None => error.to_string(),
    })
}

fn named_twice<'m>(members: &'m [Member<'_>]) -> Option<&'m str> {
    // Most objects are small; beyond a handful of members, sorting beats comparing all pairs.
    if members.len() <= 8 {
        return members.iter().enumerate().find_map(|(place, (name, _))| {
            members[..place].iter().any(|(other, _)| other == name).then_some(&**name)
        });
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, map.next_value::<&RawValue>()?));
        }
        Ok(members)
    }
}

struct Any<F>(F);

impl<'de, F: FnMut(&str, &str) -> bool> Visitor<'de> for Any<F> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        let mut holds = false;
        while let Some(Name(name)) = map.next_key()? {
            let value = map.next_value::<&RawValue>()?;
            holds = holds || (self.0)(&name, value.get());
        }
        Ok(holds)
    }
}

/// A member's name, borrowed from the document unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> de::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(document: &str) -> Vec<(String, String)> {
        let members = members(document.as_bytes()).unwrap();
        members.iter().map(|(name, raw)| (name.to_string(), raw.get().to_owned())).collect()
    }

    #[test]
    fn values_keep_the_text_they_were_written_in() {
        assert_eq!(
            texts(r#"{"a": 1.50, "\u0062":{"x":[1, 2]}, "c":null}"#),
            [("a", "1.50"), ("b", r#"{"x":[1, 2]}"#), ("c", "null")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(texts("{}"), []);
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for document in ["", "null", "[]", "1", "{", "{}{}", r#"{"a":}"#, r#"{"a":01}"#, "{a:1}"] {
            let error = members(document.as_bytes()).unwrap_err();
            assert!(matches!(error, JsonError::NotAnObject(_)), "{document:?} gave {error:?}");
        }
        assert_eq!(members(b"{\"a\":\"\xff\"}").unwrap_err(), JsonError::NotUtf8);
    }

    #[test]
    fn a_member_named_twice_is_refused_however_its_name_is_spelled() {
        let twice = JsonError::NamedTwice("a".to_owned());
        assert_eq!(members(br#"{"a":1,"\u0061":2}"#).unwrap_err(), twice);
        let many = r#"{"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"a":1,"i":1,"a":1}"#;
        assert_eq!(members(many.as_bytes()).unwrap_err(), twice);
    }

    #[test]
    fn a_member_is_found_under_every_spelling_of_its_name() {
        let says = |document, expected: &str| {
            any_member(document, |name, value| name == "id" && value == expected)
        };
        assert_eq!(says(r#"{"a":[{"id":2}], "id" : 1 , "b":{}}"#, "1"), Ok(true));
        assert_eq!(says(r#"{"\u0069d":1}"#, "1"), Ok(true));
        assert_eq!(says(r#"{"a":{"id":1},"id":2}"#, "1"), Ok(false));
        assert!(says("[1]", "1").is_err());
    }

    #[test]
    fn scalars_have_a_plain_text_and_nothing_else_has() {
        for (json, plain) in [
            ("7", "7"),
            (r#""7""#, "7"),
            (r#""a\u0022\n""#, "a\"\n"),
            ("true", "true"),
            (r#""""#, ""),
        ] {
            assert_eq!(plain_scalar(json).as_deref(), Some(plain), "{json}");
        }
        for json in ["null", "[1]", "{}", ""] {
            assert_eq!(plain_scalar(json), None, "{json}");
        }
    }

    #[test]
    fn nesting_is_limited_and_brackets_in_strings_do_not_count() {
        let nested = |levels: usize| {
            format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        assert!(members(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(members(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err(), JsonError::TooDeep);
        assert_eq!(members(nested(1_000_000).as_bytes()).unwrap_err(), JsonError::TooDeep);
        let quoted = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(500));
        assert!(members(quoted.as_bytes()).is_ok());
    }

    #[test]
    fn members_are_limited() {
        let object = |members: usize| {
            let members = (0..members).map(|at| format!("\"c{at}\":1")).collect::<Vec<_>>();
            format!("{{{}}}", members.join(","))
        };
        assert!(members(object(MEMBERS_MAX).as_bytes()).is_ok());
        let error = members(object(MEMBERS_MAX + 1).as_bytes()).unwrap_err();
        assert_eq!(error, JsonError::TooManyMembers);
    }

    #[test]
    fn a_nul_is_found_only_where_it_is_one() {
        assert!(spells_nul(r#"{"a":"x\u0000"}"#));
        assert!(spells_nul(r#"{"a":"\\\u0000"}"#));
        assert!(!spells_nul(r#"{"a":"\\u0000"}"#));
        assert!(!spells_nul(r#"{"a":"0000"}"#));
    }
}
