//! Keys, ranges and rows as JSON, for databases that don't write JSON as records have it themselves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::LoadError;
use crate::load::LogRange;
use crate::load::table_plan::{KeyTexts, TableColumn};

/// Columns of a statement's answer before those of the row: the partition's next offset, and whether
/// the row is there.
const BEFORE_THE_ROW: usize = 2;

/// An array of arrays, each the partition and the key columns' texts.
pub(super) fn keys(keys: &KeyTexts) -> String {
    let keys = keys.partitions.iter().enumerate().map(|(at, partition)| {
        let texts = keys.texts.iter().map(|column| json!(column[at]));
        std::iter::once(json!(partition)).chain(texts).collect::<Value>()
    });
    keys.collect::<Value>().to_string()
}

/// An array of arrays, each a partition, its first offset and the end.
pub(super) fn ranges(ranges: &[LogRange]) -> String {
    let ranges = ranges.iter().map(|range| json!([range.partition.0, range.from.0, range.to.0]));
    ranges.collect::<Value>().to_string()
}

/// An object of the row's columns. `value` reads the one at a place of the answer; None is null.
pub(super) fn object<F>(
    columns: &[TableColumn<F>],
    value: impl Fn(&TableColumn<F>, usize) -> Result<Option<String>, LoadError>,
) -> Result<Vec<u8>, LoadError> {
    let mut object = String::from("{");
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            object.push(',');
        }
        object.push_str(&text(&column.name));
        object.push(':');
        object.push_str(value(column, at + BEFORE_THE_ROW)?.as_deref().unwrap_or("null"));
    }
    object.push('}');
    Ok(object.into_bytes())
}

pub(super) fn text(text: &str) -> String {
    Value::from(text).to_string()
}

pub(super) fn bytes(bytes: &[u8]) -> String {
    text(&STANDARD.encode(bytes))
}

/// The document that the column has as text.
pub(super) fn document(column: &str, text: String) -> Result<String, LoadError> {
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let error = format!("the column {column:?} holds what is not JSON: {error}");
            Err(LoadError::new(error))
        }
    }
}
