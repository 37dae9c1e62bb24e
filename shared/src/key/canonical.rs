//! The canonical form of a composite key (RFC 8785). Reading a key writes it too, and compares.

use std::cmp::Ordering;
use std::ops::Range;

use serde_json::Value;

/// Whether a key column can hold `value`.
pub(super) fn is_scalar(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Bool(_) => true,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Appends the object of `columns`, and passes `pushed` each name and where in `text` its value is.
pub(super) fn push_object(
    text: &mut Vec<u8>,
    columns: &mut [(&str, &Value)],
    mut pushed: impl FnMut(&str, Range<usize>),
) -> serde_json::Result<()> {
    columns.sort_unstable_by(|(a, _), (b, _)| compare(a, b));
    for (place, (name, value)) in columns.iter().enumerate() {
        text.push(if place == 0 { b'{' } else { b',' });
        serde_json::to_writer(&mut *text, name)?;
        text.push(b':');
        let start = text.len();
        serde_json::to_writer(&mut *text, value)?;
        pushed(name, start..text.len());
    }
    text.push(b'}');
    Ok(())
}

/// Orders names by their UTF-16 units. For ASCII, that is by bytes.
fn compare(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}
