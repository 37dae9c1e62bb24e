//! Headers that a service gives its records.

use write_behind_shared::record::{ADD, PRIORITY, UNREADABLE, WRITE_ID};

/// The headers of a record in the making: what [`Builder::headers`](crate::Builder::headers) adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordHeaders(Vec<(Box<str>, Box<[u8]>)>);

/// What all of a record's headers may take, in bytes.
pub(crate) const BYTES_MAX: usize = 1_024;

impl RecordHeaders {
    /// Adds a header.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.0.push((name.into(), value.as_ref().into()));
    }

    /// Names and values, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of all names and values.
    pub(crate) fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Why no record can have them, if so.
    pub(crate) fn refused(&self) -> Option<String> {
        let reserved = [ADD, WRITE_ID, PRIORITY, UNREADABLE];
        let is_bad =
            |name: &str| name.is_empty() || name.contains('\0') || reserved.contains(&name);
        if let Some((name, _)) = self.iter().find(|(name, _)| is_bad(name)) {
            return Some(format!("the name {name:?} is reserved, or no name"));
        }
        let bytes = self.bytes();
        (bytes > BYTES_MAX).then(|| format!("they take {bytes} bytes, at most {BYTES_MAX} may be"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> bool {
        let mut headers = RecordHeaders::default();
        headers.add("traceparent", "00-1-2-01");
        headers.add(name, value);
        headers.refused().is_some()
    }

    #[test]
    fn reserved_names_and_headers_without_measure_are_refused() {
        for name in ["write-id", "add", "priority", "", "a\0b", "\u{fffd}"] {
            assert!(refused(name, "x"), "{name:?}");
        }
        assert!(refused("baggage", &"x".repeat(BYTES_MAX)));
        assert!(!refused("baggage", &"x".repeat(BYTES_MAX / 2)));
    }
}
