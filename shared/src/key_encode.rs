//! Writing keys: takes a Rust value, gives the canonical text of the row that it names.
//!
//! [`crate::key`] says what that text is. No tree is built and nothing is allocated once the writer
//! has grown to the size of its keys: the columns are written one behind the other as serde names
//! them, kept in canonical order as they come, and put together at the end.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use serde::Serialize;
use serde::ser::Error as _;

use crate::json;
use crate::key::{KEY_BYTES_MAX, KeyError};
use crate::key_serialize::{Part, Place};

/// Writes keys, one after the other, and keeps its memory from one to the next.
#[derive(Debug, Default)]
pub struct KeyWriter {
    /// The key.
    pub(crate) text: Vec<u8>,
    /// Names and values of the columns, in the order they came.
    pub(crate) parts: Vec<u8>,
    /// Where in `parts` they are, in canonical order of the names.
    columns: Vec<Column>,
    /// The key has one column: its value is plain text, and not JSON.
    pub(crate) plain: bool,
}

#[derive(Debug)]
struct Column {
    name: Range<usize>,
    value: Range<usize>,
}

impl KeyWriter {
    /// A writer that holds no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: Vec::new(), parts: Vec::new(), columns: Vec::new(), plain: false }
    }

    /// Writes the canonical text of `key`: a scalar, or a struct, map or tuple of scalars. `names`
    /// are the key's columns, in a tuple's order; with none given, a key that names its columns
    /// itself is composite, and a tuple is refused.
    ///
    /// # Errors
    /// [`KeyError`]; what the writer holds then is no key.
    pub fn write<K: Serialize + ?Sized>(
        &mut self,
        key: &K,
        names: &[Box<str>],
    ) -> Result<&[u8], KeyError> {
        self.text.clear();
        self.parts.clear();
        self.columns.clear();
        self.plain = names.len() == 1;
        key.serialize(Part { writer: self, place: Place::Whole(names) })?;
        if self.text.len() > KEY_BYTES_MAX { Err(KeyError::TooLong) } else { Ok(&self.text) }
    }

    /// The text of the key just written.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same, for good.
    #[must_use]
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// The memory it keeps, in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.text.capacity() + self.parts.capacity()
    }

    /// Whether the columns of the key just written are known by name.
    #[must_use]
    pub fn names_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether the JSON object `document` may hold a member named as one of the key's columns.
    #[must_use]
    pub fn may_repeat(&self, document: &str) -> bool {
        // With a backslash anywhere, a name may be spelled in another way.
        self.names_columns()
            && (self.columns.iter().any(|column| {
                std::str::from_utf8(self.part(&column.name))
                    .is_ok_and(|name| document.contains(name))
            }) || document.contains('\\'))
    }

    /// Whether `name` is a column of the key just written.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| self.part(&column.name) == name.as_bytes())
    }

    /// Whether `name` is a column of the key just written, and `value`, as JSON, says something
    /// else of it: its plain text is another.
    #[must_use]
    pub fn disagrees(&self, name: &str, value: &str) -> bool {
        let named = |column: &&Column| self.part(&column.name) == name.as_bytes();
        let Some(column) = self.columns.iter().find(named) else { return false };
        let in_key = self.part(&column.value);
        if !self.plain && in_key == value.as_bytes() {
            return false;
        }
        let in_key = std::str::from_utf8(in_key).ok();
        let in_key = in_key.and_then(|text| {
            if self.plain { Some(Cow::Borrowed(text)) } else { json::plain_scalar(text) }
        });
        in_key.is_none() || in_key != json::plain_scalar(value)
    }

    pub(crate) fn part(&self, range: &Range<usize>) -> &[u8] {
        &self.parts[range.clone()]
    }

    /// Takes in a column whose name and value were just written.
    pub(crate) fn place(&mut self, name: Range<usize>, value: Range<usize>) {
        let order = |column: &Column| canonical(self.part(&column.name), self.part(&name));
        let at = self.columns.partition_point(|column| order(column) == Ordering::Less);
        match self.columns.get(at).map(order) {
            // Flattened structs can name a column twice; the later value counts.
            Some(Ordering::Equal) => self.columns[at].value = value,
            _ => self.columns.insert(at, Column { name, value }),
        }
    }

    /// The columns are written; puts the key together.
    pub(crate) fn end(&mut self, names: &[Box<str>]) -> Result<(), KeyError> {
        if self.columns.is_empty() {
            return Err(KeyError::NotAKey("a struct without columns".to_owned()));
        }
        if !names.is_empty() {
            self.are(names)?;
        }
        let Self { text, parts, columns, plain } = self;
        if let ([column], true) = (&**columns, *plain) {
            text.extend_from_slice(&parts[column.value.clone()]);
            return Ok(());
        }
        for (place, column) in columns.iter().enumerate() {
            text.push(if place == 0 { b'{' } else { b',' });
            push_text(text, &parts[column.name.clone()])?;
            text.push(b':');
            text.extend_from_slice(&parts[column.value.clone()]);
        }
        text.push(b'}');
        Ok(())
    }

    fn are(&self, names: &[Box<str>]) -> Result<(), KeyError> {
        if names.len() == self.columns.len() && names.iter().all(|name| self.has(name)) {
            return Ok(());
        }
        let has = self.columns.iter().map(|column| self.part(&column.name));
        let has: Vec<_> = has.map(String::from_utf8_lossy).collect();
        Err(KeyError::OtherColumns { key: has.join(", "), named: names.join(", ") })
    }

    /// The key is one scalar, and `names` may say of which column.
    pub(crate) fn name_scalar(&mut self, names: &[Box<str>]) {
        if let [name] = names {
            self.parts.extend_from_slice(name.as_bytes());
            let name = 0..self.parts.len();
            self.parts.extend_from_slice(&self.text);
            let value = name.end..self.parts.len();
            self.columns.push(Column { name, value });
        }
    }
}

/// RFC 8785 sorts names by their UTF-16 units, which for ASCII is by their bytes.
fn canonical(a: &[u8], b: &[u8]) -> Ordering {
    match (std::str::from_utf8(a), std::str::from_utf8(b)) {
        (Ok(a), Ok(b)) if !(a.is_ascii() && b.is_ascii()) => a.encode_utf16().cmp(b.encode_utf16()),
        _ => a.cmp(b),
    }
}

/// `text` in quotes, with JSON's minimal escapes.
pub(crate) fn push_text(document: &mut Vec<u8>, text: &[u8]) -> Result<(), KeyError> {
    let text = std::str::from_utf8(text).map_err(|_| KeyError::NotUtf8)?;
    serde_json::to_writer(document, text).map_err(KeyError::custom)
}

#[cfg(test)]
#[path = "key_encode_tests.rs"]
mod tests;
