//! A reusable writer of keys: a Rust value in, its canonical text out.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Range;

use serde::Serialize;
use serde_json::{Map, Value};

use super::canonical;
use super::composite;
use super::error::{KEY_BYTES_MAX, KeyError};
use super::scalar::{self, NotScalar};
use crate::json;
use crate::mistaken;

/// Writes keys one after the other, and keeps its memory from one to the next.
#[derive(Debug, Default)]
pub struct KeyWriter {
    text: Vec<u8>,
    columns: Columns,
    /// The key has one column: its value is plain text, not JSON.
    plain: bool,
}

/// The columns of a key whose names are known.
#[derive(Debug, Default)]
struct Columns {
    /// Their names, joined.
    names: String,
    /// Where each column's name is in `names`, and its value in the key.
    places: Vec<(Range<usize>, Range<usize>)>,
}

impl Columns {
    const fn new() -> Self {
        Self { names: String::new(), places: Vec::new() }
    }

    fn clear(&mut self) {
        self.names.clear();
        self.places.clear();
    }

    fn push(&mut self, name: &str, value: Range<usize>) {
        let start = self.names.len();
        self.names.push_str(name);
        self.places.push((start..self.names.len(), value));
    }

    /// Each column's name, and where its value is in the key.
    fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Range<usize>)> {
        self.places.iter().map(|(name, value)| (&self.names[name.clone()], value.clone()))
    }
}

impl KeyWriter {
    /// A writer that holds no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: Vec::new(), columns: Columns::new(), plain: false }
    }

    /// Writes the canonical text of `key`: a scalar, or a struct, map or tuple of scalars. `names`
    /// are the key's columns, in a tuple's order; with none given, a key that names its columns
    /// itself is composite, and a tuple is refused. A scalar is written without an allocation.
    ///
    /// # Errors
    /// [`KeyError`]; what the writer then holds is not a key.
    pub fn write<K: Serialize + ?Sized>(
        &mut self,
        key: &K,
        names: &[Box<str>],
    ) -> Result<&[u8], KeyError> {
        self.text.clear();
        self.columns.clear();
        self.plain = names.len() == 1;
        let named = names.len();
        match scalar::write(key, &mut self.text) {
            Ok(_) if named > 1 => return Err(KeyError::ColumnCount { named, parts: 1 }),
            Ok(_) => names.iter().for_each(|name| self.columns.push(name, 0..self.text.len())),
            Err(NotScalar::Tuple(_)) if named == 0 => return Err(KeyError::NoColumnNames),
            Err(NotScalar::Tuple(parts)) if parts != named => {
                return Err(KeyError::ColumnCount { named, parts });
            }
            Err(NotScalar::Tuple(_) | NotScalar::Columns) => {
                self.write_columns(&composite::columns(key, names)?, names)?;
            }
            Err(NotScalar::Refused(why)) => return Err(why),
        }
        if self.text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong);
        }
        // A composite key never looks so: its names are sorted.
        mistaken::of_text_key(&self.text)
            .map_or(Ok(&self.text), |told| Err(KeyError::Mistaken(told)))
    }

    /// Writes the columns of a struct, a map or a tuple.
    fn write_columns(
        &mut self,
        columns: &Map<String, Value>,
        names: &[Box<str>],
    ) -> Result<(), KeyError> {
        let mut columns: Vec<(&str, &Value)> =
            columns.iter().map(|(name, value)| (&**name, value)).collect();
        if columns.is_empty() {
            return Err(not_a_key("a struct without columns"));
        }
        check_names(&columns, names)?;
        if let ([(name, value)], true) = (&*columns, self.plain) {
            let value = value.as_str().map_or_else(|| value.to_string().into(), Cow::Borrowed);
            self.text.extend_from_slice(value.as_bytes());
            self.columns.push(name, 0..self.text.len());
            return Ok(());
        }
        let pushed = |name: &str, value| self.columns.push(name, value);
        canonical::push_object(&mut self.text, &mut columns, pushed).map_err(not_a_key)
    }

    /// The text of the key last written.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The text of the key last written, without a copy.
    #[must_use]
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// The memory the writer keeps, in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.text.capacity() + self.columns.names.capacity()
    }

    /// Whether the columns of the key last written are known by name.
    #[must_use]
    pub fn names_columns(&self) -> bool {
        !self.columns.places.is_empty()
    }

    /// Whether the JSON object `document` may have a member named like one of the key's columns.
    #[must_use]
    pub fn may_repeat(&self, document: &str) -> bool {
        // With a backslash anywhere, a name may be spelled in another way.
        let occurs = |(name, _): (&str, _)| document.contains(name);
        self.names_columns() && (self.columns.iter().any(occurs) || document.contains('\\'))
    }

    /// Whether `name` is a column of the key last written.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether `name` is a column of the key last written whose value is not `value`, given as
    /// JSON: their plain texts differ.
    #[must_use]
    pub fn disagrees(&self, name: &str, value: &str) -> bool {
        let Some(in_key) = self.value(name) else { return false };
        if !self.plain && in_key == value.as_bytes() {
            return false;
        }
        let in_key = std::str::from_utf8(in_key).ok();
        let in_key = in_key.and_then(|text| {
            if self.plain { Some(Cow::Borrowed(text)) } else { json::plain_scalar(text) }
        });
        in_key.is_none() || in_key != json::plain_scalar(value)
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.columns.iter().find(|(column, _)| *column == name)?;
        Some(&self.text[value])
    }
}

fn not_a_key(why: impl Display) -> KeyError {
    KeyError::NotAKey(why.to_string())
}

/// Lets `columns` pass if they are those of `names`, each once, where there are names.
fn check_names(columns: &[(&str, &Value)], names: &[Box<str>]) -> Result<(), KeyError> {
    let is_named_once =
        |(column, _): &(&str, &Value)| names.iter().filter(|name| ***name == **column).count() == 1;
    if names.is_empty() || columns.len() == names.len() && columns.iter().all(is_named_once) {
        return Ok(());
    }
    let key: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    Err(KeyError::OtherColumns { key: key.join(", "), named: names.join(", ") })
}

#[cfg(test)]
#[path = "tests/writer.rs"]
mod tests;
