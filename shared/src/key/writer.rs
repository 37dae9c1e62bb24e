//! A reusable writer of keys: a Rust value in, the canonical text of its row out.

use std::borrow::Cow;

use serde::Serialize;

use super::buffer::KeyBuffer;
use super::error::{KEY_BYTES_MAX, KeyError};
use super::serialize::{Part, Place};
use crate::json;

/// Writes keys one after the other, and keeps its memory from one to the next.
#[derive(Debug, Default)]
pub struct KeyWriter(KeyBuffer);

impl KeyWriter {
    /// A writer that holds no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(KeyBuffer::new())
    }

    /// Writes the canonical text of `key`: a scalar, or a struct, map or tuple of scalars. `names`
    /// are the key's columns, in a tuple's order; with none given, a key that names its columns
    /// itself is composite, and a tuple is refused.
    ///
    /// # Errors
    /// [`KeyError`]; what the writer then holds is not a key.
    pub fn write<K: Serialize + ?Sized>(
        &mut self,
        key: &K,
        names: &[Box<str>],
    ) -> Result<&[u8], KeyError> {
        let buffer = &mut self.0;
        buffer.start(names);
        key.serialize(Part { buffer, place: Place::Whole(names) })?;
        if self.text().len() > KEY_BYTES_MAX { Err(KeyError::TooLong) } else { Ok(self.text()) }
    }

    /// The text of the key last written.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.0.text
    }

    /// The text of the key last written, without a copy.
    #[must_use]
    pub fn into_text(self) -> Vec<u8> {
        self.0.text
    }

    /// The memory the writer keeps, in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.text.capacity() + self.0.parts.capacity()
    }

    /// Whether the columns of the key last written are known by name.
    #[must_use]
    pub fn names_columns(&self) -> bool {
        self.0.columns().len() > 0
    }

    /// Whether the JSON object `document` may have a member named like one of the key's columns.
    #[must_use]
    pub fn may_repeat(&self, document: &str) -> bool {
        let occurs = |name| std::str::from_utf8(name).is_ok_and(|name| document.contains(name));
        // With a backslash anywhere, a name may be spelled in another way.
        self.names_columns()
            && (self.0.columns().any(|(name, _)| occurs(name)) || document.contains('\\'))
    }

    /// Whether `name` is a column of the key last written.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.value(name).is_some()
    }

    /// Whether `name` is a column of the key last written whose value is not `value`, given as
    /// JSON: their plain texts differ.
    #[must_use]
    pub fn disagrees(&self, name: &str, value: &str) -> bool {
        let plain = self.0.plain;
        let Some(in_key) = self.0.value(name) else { return false };
        if !plain && in_key == value.as_bytes() {
            return false;
        }
        let in_key = std::str::from_utf8(in_key).ok();
        let in_key = in_key.and_then(|text| {
            if plain { Some(Cow::Borrowed(text)) } else { json::plain_scalar(text) }
        });
        in_key.is_none() || in_key != json::plain_scalar(value)
    }
}

#[cfg(test)]
#[path = "tests/writer.rs"]
mod tests;
