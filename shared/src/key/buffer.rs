//! The key being written: its text, and its columns in canonical order.
//!
//! Columns are written one behind the other as serde names them, sorted as they come, and joined
//! at the end. A buffer that has grown to the size of its keys allocates nothing more.

use std::cmp::Ordering;
use std::ops::Range;

use serde::ser::Error as _;

use super::error::KeyError;

/// The memory a key is written in.
#[derive(Debug, Default)]
pub(super) struct KeyBuffer {
    /// The key.
    pub(super) text: Vec<u8>,
    /// Names and values of the columns, in the order they came.
    pub(super) parts: Vec<u8>,
    /// Where in `parts` they are, in canonical order of the names.
    columns: Vec<Column>,
    /// The key has one column: its value is plain text, and not JSON.
    pub(super) plain: bool,
}

#[derive(Debug)]
struct Column {
    name: Range<usize>,
    value: Range<usize>,
}

impl KeyBuffer {
    pub(super) const fn new() -> Self {
        Self { text: Vec::new(), parts: Vec::new(), columns: Vec::new(), plain: false }
    }

    /// Empties the buffer for a key whose columns have `names`, if they were given.
    pub(super) fn start(&mut self, names: &[Box<str>]) {
        self.text.clear();
        self.parts.clear();
        self.columns.clear();
        self.plain = names.len() == 1;
    }

    /// Names and values of the columns, in canonical order of the names.
    pub(super) fn columns(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.columns.iter().map(|column| (self.part(&column.name), self.part(&column.value)))
    }

    /// The value of the column `name`, if the key has that column.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        self.columns().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    pub(super) fn part(&self, range: &Range<usize>) -> &[u8] {
        &self.parts[range.clone()]
    }

    /// Adds a column whose name and value were just written.
    pub(super) fn place(&mut self, name: Range<usize>, value: Range<usize>) {
        let order = |column: &Column| canonical(self.part(&column.name), self.part(&name));
        let at = self.columns.partition_point(|column| order(column) == Ordering::Less);
        match self.columns.get(at).map(order) {
            // Flattened structs can name a column twice; the later value counts.
            Some(Ordering::Equal) => self.columns[at].value = value,
            _ => self.columns.insert(at, Column { name, value }),
        }
    }

    /// Joins the columns into the key, once they are all written.
    pub(super) fn end(&mut self, names: &[Box<str>]) -> Result<(), KeyError> {
        if self.columns.is_empty() {
            return Err(KeyError::NotAKey("a struct without columns".to_owned()));
        }
        if !names.is_empty() {
            self.check_names(names)?;
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

    fn check_names(&self, names: &[Box<str>]) -> Result<(), KeyError> {
        let has = |name: &str| self.value(name).is_some();
        if names.len() == self.columns.len() && names.iter().all(|name| has(name)) {
            return Ok(());
        }
        let key: Vec<_> = self.columns().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        Err(KeyError::OtherColumns { key: key.join(", "), named: names.join(", ") })
    }

    /// The key is one scalar: if `names` has its column, the column is noted.
    pub(super) fn name_scalar(&mut self, names: &[Box<str>]) {
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

/// Appends `text` in quotes, with JSON's minimal escapes.
pub(super) fn push_text(document: &mut Vec<u8>, text: &[u8]) -> Result<(), KeyError> {
    let text = std::str::from_utf8(text).map_err(|_| KeyError::NotUtf8)?;
    serde_json::to_writer(document, text).map_err(KeyError::custom)
}
