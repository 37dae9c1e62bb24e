//! The log folded as the contract has it, by none of the pipeline's code: duplicates dropped,
//! missing records noticed, rows added up.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::log::{Placed, Raw};

/// What a log comes to.
#[derive(Debug, Default)]
pub struct Folded {
    /// The records that count, partition by partition.
    pub kept: Vec<Placed>,
    /// Records that were in the log already.
    pub repeated: usize,
    /// Sequences that were passed over, by partition.
    pub missing: BTreeMap<i32, u64>,
    /// The rows by key.
    pub rows: BTreeMap<String, Value>,
}

/// Folds a whole log.
///
/// # Errors
/// When a record is not as the producer writes them.
pub fn fold(log: Vec<Placed>) -> Result<Folded> {
    let mut folded = Folded::default();
    let mut next: BTreeMap<(i32, Uuid), u64> = BTreeMap::new();
    for placed in log {
        let (writer, sequence) = write_id(&placed.raw)?;
        let expected = next.entry((placed.partition, writer)).or_default();
        if sequence < *expected {
            folded.repeated += 1;
            continue;
        }
        if sequence > *expected {
            *folded.missing.entry(placed.partition).or_default() += sequence - *expected;
        }
        *expected = sequence + 1;
        apply(&mut folded.rows, &placed.raw)
            .with_context(|| format!("partition {}, offset {}", placed.partition, placed.offset))?;
        folded.kept.push(placed);
    }
    Ok(folded)
}

impl Raw {
    /// The key as text.
    pub fn key_text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(self.key.as_deref().context("no key")?)?)
    }

    /// The columns of the value, none for a tombstone.
    pub fn columns(&self) -> Result<Option<Map<String, Value>>> {
        let Some(value) = &self.value else { return Ok(None) };
        Ok(Some(serde_json::from_slice(value).context("the value is no object")?))
    }

    /// The names of the columns that are increments.
    pub fn added(&self) -> Result<Vec<&str>> {
        let names = self.header("add").map(std::str::from_utf8).transpose()?;
        Ok(names.map_or(Vec::new(), |names| names.split(',').collect()))
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| &**value)
    }
}

fn write_id(raw: &Raw) -> Result<(Uuid, u64)> {
    let bytes = raw.header("write-id").context("a record without a write-id")?;
    let (writer, sequence) = bytes.split_first_chunk::<16>().context("a short write-id")?;
    Ok((Uuid::from_bytes(*writer), u64::from_be_bytes(sequence.try_into()?)))
}

fn apply(rows: &mut BTreeMap<String, Value>, raw: &Raw) -> Result<()> {
    let key = raw.key_text()?;
    let Some(columns) = raw.columns()? else {
        rows.remove(key);
        return Ok(());
    };
    let added = raw.added()?;
    let row = rows.entry(key.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    for (name, value) in columns {
        let value = if added.contains(&name.as_str()) {
            let delta = value.as_i64().context("a delta that is no integer")?;
            Value::from(row[&name].as_i64().unwrap_or(0) + delta)
        } else {
            value
        };
        ensure!(row.is_object(), "{key} is no object");
        row[&name] = value;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, value: &str, add: &str) -> Placed {
        let mut raw = Raw::put("k", value);
        let mut id = [7; 24];
        id[16..].copy_from_slice(&sequence.to_be_bytes());
        raw.headers.push(("write-id".to_owned(), id.to_vec()));
        if !add.is_empty() {
            raw = raw.adding(add);
        }
        Placed { partition: 0, offset: sequence as i64, raw }
    }

    #[test]
    fn a_repeated_record_counts_once_and_a_missing_one_is_noticed() {
        let log = vec![
            record(0, r#"{"n":5}"#, ""),
            record(1, r#"{"n":2}"#, "n"),
            record(0, r#"{"n":5}"#, ""),
            record(1, r#"{"n":2}"#, "n"),
            record(4, r#"{"n":10,"by":"x"}"#, "n"),
        ];
        let folded = fold(log).unwrap();
        assert_eq!((folded.kept.len(), folded.repeated), (3, 2));
        assert_eq!(folded.missing, BTreeMap::from([(0, 2)]));
        assert_eq!(folded.rows["k"], serde_json::json!({"n": 17, "by": "x"}));
    }
}
