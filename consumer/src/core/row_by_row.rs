//! The row-by-row fallback: which rows of a batch fit their table, and the single records of those
//! that don't.
//!
//! Pure. If a row does not fit its table, or the database rejects it, its records are written one
//! by one, so that exactly the bad ones are set aside.
//!
//! INV-10: a record is set aside only for its own content; an outage sets nothing aside.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use write_behind_shared::{Change, Headers, Offset, Partition, RecordError, record};

use crate::core::batch::{Batch, FoldedRow, Span, WantedKeys};
use crate::core::record::{DeadLetter, RawRecord};
use crate::core::table::Table;
use crate::core::table::row::{Misfit, Row};

/// Indexes into [`Batch::rows`].
pub(crate) type Places = BTreeSet<usize>;

/// The rows of a batch that fit their table, and those that don't.
#[derive(Debug)]
pub(crate) struct JudgedRows<'b> {
    /// Rows that fit, sorted by key.
    pub(crate) rows: Vec<Row<'b>>,
    /// The index of each of them in the batch.
    pub(crate) places: Vec<usize>,
    /// Rows that don't fit.
    pub(crate) misfits: Places,
}

/// Records to write one by one.
#[derive(Debug, Default)]
pub(crate) struct RowByRow {
    /// Records to try, in log order.
    pub(crate) records: Vec<(RawRecord, Row<'static>)>,
    /// Records already known to be bad.
    pub(crate) dead_letters: Vec<DeadLetter>,
}

/// Judges all rows of `batch` except those in `fallback`.
pub(crate) fn judge<'b>(table: &Table, batch: &'b Batch, fallback: &Places) -> JudgedRows<'b> {
    let count = batch.rows.len();
    let (mut rows, mut places) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut misfits = Places::new();
    for place in sorted(&batch.rows) {
        if fallback.contains(&place) {
            continue;
        }
        let folded = &batch.rows[place];
        match Row::judge(table, &folded.key, &folded.change) {
            Ok(row) => {
                rows.push(row);
                places.push(place);
            }
            Err(_) => {
                misfits.insert(place);
            }
        }
    }
    JudgedRows { rows, places, misfits }
}

/// The indexes of `rows`, sorted by key. Most comparisons need only a key's first eight bytes,
/// which lie side by side in memory.
fn sorted(rows: &[FoldedRow]) -> impl Iterator<Item = usize> {
    let first_bytes = |key: &[u8]| {
        let mut bytes = [0; 8];
        let length = key.len().min(bytes.len());
        bytes[..length].copy_from_slice(&key[..length]);
        u64::from_be_bytes(bytes)
    };
    let keys = rows.iter().enumerate().map(|(place, row)| (first_bytes(&row.key), place));
    let mut keys: Vec<(u64, usize)> = keys.collect();
    keys.sort_unstable_by(|(a, at), (b, other)| {
        a.cmp(b).then_with(|| rows[*at].key.cmp(&rows[*other].key))
    });
    keys.into_iter().map(|(_, place)| place)
}

/// The rows whose records must be written one by one, whatever the database says.
pub(crate) fn marked(table: &Table, batch: &Batch) -> Places {
    let may_delete = |row: &FoldedRow| row.row_by_row || row.change.resets();
    if table.deletes_reach_others && batch.rows.len() > 1 && batch.rows.iter().any(may_delete) {
        // A delete may reach other rows, and must meet them as they were at its place in the log. A
        // row's fold may hold what came before that place together with what came after.
        return (0..batch.rows.len()).collect();
    }
    let row_by_row = batch.rows.iter().enumerate().filter(|(_, row)| row.row_by_row);
    row_by_row.map(|(place, _)| place).collect()
}

/// The keys of the rows in `fallback`, and the spans that hold their records.
pub(crate) fn wanted(batch: &Batch, fallback: &Places) -> (WantedKeys, Vec<Span>) {
    let rows = fallback.iter().filter_map(|place| batch.rows.get(*place));
    let wanted: WantedKeys = rows.map(|row| (row.partition, row.key.clone())).collect();
    let partitions: HashSet<Partition> = wanted.iter().map(|(partition, _)| *partition).collect();
    let holds = |span: &Span| partitions.contains(&span.partition);
    (wanted, batch.spans.iter().copied().filter(holds).collect())
}

/// Takes the keys of `records` out of `unseen`.
pub(crate) fn see(unseen: &mut WantedKeys, records: &[RawRecord]) {
    for record in records {
        if let Some(key) = &record.key {
            unseen.remove(&(record.partition, key.clone()));
        }
    }
}

/// Judges records read again, each alone.
pub(crate) fn from_log(table: &Table, batch: &Batch, records: Vec<RawRecord>) -> RowByRow {
    // Records dropped or set aside while folding must not be applied now.
    let set_aside = batch.dead_letters.iter().map(|letter| &letter.record);
    let dealt_with: HashSet<(Partition, Offset)> = set_aside
        .map(|record| (record.partition, record.offset))
        .chain(batch.duplicates.iter().copied())
        .collect();
    let mut row_by_row = RowByRow::default();
    for record in records {
        if dealt_with.contains(&(record.partition, record.offset)) {
            continue;
        }
        match judge_record(table, &record) {
            Ok(row) => row_by_row.records.push((record, row)),
            Err(error) => {
                let reason = error.to_string();
                row_by_row.dead_letters.push(DeadLetter { record, reason, sqlstate: None });
            }
        }
    }
    row_by_row
}

/// Whether records of the batch that follow each other may be written as one row per key: what their
/// effect is does not depend on other rows, nor on what a row holds.
pub(crate) fn may_fold(table: &Table, batch: &Batch) -> bool {
    table.version.is_none()
        && table.own_references.is_empty()
        && !table.deletes_reach_others
        && batch.rows.iter().all(|row| !row.row_by_row)
}

/// The rows of the batch that may be in another's way, or make way: those that name a column by which
/// that is decided, or are deleted. All of them, where that is not known of the table.
pub(crate) fn contested(table: &Table, batch: &Batch) -> Places {
    let columns = table.contested.as_ref().filter(|_| may_fold(table, batch));
    let is_one = |name: &str| match (columns, table.member(name)) {
        (Some(columns), Some(place)) => columns.contains(&table.columns[place].name),
        _ => true,
    };
    let may_be = |row: &FoldedRow| {
        columns.is_none() || row.change.resets() || row.change.cells().any(|(name, _)| is_one(name))
    };
    let rows = batch.rows.iter().enumerate();
    rows.filter(|(_, row)| may_be(row)).map(|(place, _)| place).collect()
}

/// These of `records` as one row per key, as a batch of them alone has them. `None`: together they do
/// not fit the table.
pub(crate) fn folded(
    table: &Table,
    records: &[(RawRecord, Row<'_>)],
    places: &[usize],
) -> Option<Vec<Row<'static>>> {
    let mut changes: BTreeMap<&[u8], Change> = BTreeMap::new();
    for (record, _) in places.iter().map(|place| &records[*place]) {
        let (key, change) = decoded(record).ok()?;
        changes.entry(key).or_default().fold(change);
    }
    let judged = changes.iter().map(|(key, change)| Row::judge(table, key, change));
    judged.map(|row| row.ok().map(Row::into_owned)).collect()
}

fn decoded(record: &RawRecord) -> Result<(&[u8], Change), RecordError> {
    let headers = record.headers.iter().map(|(name, value)| (&**name, value.as_deref()));
    let headers = Headers::read(headers)?;
    let key = record.key.as_deref().ok_or(RecordError::NoKey)?;
    Ok((key, record::decode(record.value.as_deref(), headers.add)?))
}

/// Why a record is bad, when the database has not judged it.
#[derive(Debug, thiserror::Error)]
enum BadRecord {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

impl BadRecord {
    fn without_values(&self) -> String {
        match self {
            BadRecord::Record(RecordError::AddNotNumeric(column, _)) => {
                format!("column {column:?} is an increment, but its delta is not a number")
            }
            BadRecord::Record(error) => error.to_string(),
            BadRecord::Misfit(misfit) => misfit.without_values(),
        }
    }
}

fn judge_record(table: &Table, record: &RawRecord) -> Result<Row<'static>, BadRecord> {
    let (key, change) = decoded(record)?;
    Ok(Row::judge(table, key, &change)?.into_owned())
}

/// Why a record would be set aside for what it says itself, without any of its content except column
/// names; `None`: it would not.
pub(crate) fn would_be_set_aside(table: &Table, record: &RawRecord) -> Option<String> {
    judge_record(table, record).err().map(|bad| bad.without_values())
}

/// Why a record is bad, for logs and the status page: without any of its content except column
/// names. The dead letter has the full reason.
pub(crate) fn reason_without_values(table: &Table, letter: &DeadLetter) -> String {
    // Database messages quote values, each database in its own way.
    if let Some(code) = &letter.sqlstate {
        return format!("the database refuses it (code {code})");
    }
    let refused = || "the database refuses it".to_owned();
    would_be_set_aside(table, &letter.record).unwrap_or_else(refused)
}

/// The place of the first of `letters`, and its [`reason_without_values`].
pub(crate) fn first_of<'l>(
    table: &Table,
    letters: impl Iterator<Item = &'l DeadLetter>,
) -> Option<String> {
    let first = letters.min_by_key(|letter| (letter.record.partition, letter.record.offset))?;
    let RawRecord { partition, offset, .. } = &first.record;
    Some(format!("{partition}:{offset}: {}", reason_without_values(table, first)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use write_behind_shared::key::KeyKind;

    use super::*;
    use crate::core::batch::FoldedRow;
    use crate::core::table::{Column, ColumnKind};

    #[test]
    fn only_rows_that_want_or_give_up_a_unique_value_are_read_again() {
        let column = |name| Column::plain(name, ColumnKind::Text);
        let plain = Table::plain("t", KeyKind::Text, vec![column("n"), column("mail")]);
        let known = Table { contested: Some(vec!["mail".to_owned()]), ..plain.clone() };
        let versioned = Table { version: Some(0), ..known.clone() };
        let row = |key: &str, change: Change| FoldedRow {
            partition: Partition(0),
            key: key.as_bytes().into(),
            change,
            row_by_row: false,
        };
        let set = |name| Change::new().set(name, "x").unwrap();
        let changes = [set("n"), set("mail"), Change::delete(), Change::new(), set("unknown")];
        let rows = ["a", "b", "c", "d", "e"].into_iter().zip(changes);
        let rows = rows.map(|(key, change)| row(key, change)).collect();
        let batch = Batch { rows, ..Batch::default() };
        assert_eq!(contested(&known, &batch), Places::from([1, 2, 4]));
        for table in [plain, versioned] {
            assert_eq!(contested(&table, &batch).len(), 5, "{table:?}");
        }
    }

    #[test]
    fn rows_are_sorted_by_key_so_that_transactions_that_meet_lock_in_one_order() {
        let table = Table::plain("t", KeyKind::Text, Vec::new());
        let row = |key: &str| FoldedRow {
            partition: Partition(0),
            key: key.as_bytes().into(),
            change: Change::delete(),
            row_by_row: false,
        };
        let batch = Batch {
            route: 0,
            topic: Arc::from("t"),
            spans: Vec::new(),
            rows: ["c", "a", "d", "b"].map(row).into(),
            dead_letters: Vec::new(),
            duplicates: Vec::new(),
            writers: Vec::new(),
            forgotten: Vec::new(),
            last_records: Vec::new(),
            records: 4,
            refuse_missing_references: false,
        };
        let judged = judge(&table, &batch, &Places::from([2]));
        let keys: Vec<&str> = judged.rows.iter().map(|row| &*row.key[0]).collect();
        assert_eq!((keys, judged.places), (vec!["a", "b", "c"], vec![1, 3, 0]));
    }
}
