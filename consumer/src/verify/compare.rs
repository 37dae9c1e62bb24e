//! The comparison of the rows of one pass with the table.

use std::borrow::Cow;
use std::collections::HashSet;

use write_behind_shared::{Partition, key};

use crate::core::table::Table;
use crate::core::table::row::{Row, RowCell};
use crate::store::StoreError;
use crate::store::snapshot::Snapshot as _;
use crate::verify::fold::{Choice, Entry, FoldedPass, Range};
use crate::verify::report::{ColumnDiffers, Difference, DifferenceKind, VerifyReport};
use crate::verify::{ByColumns, Verifying};

/// Rows compared in one statement.
const ROWS: usize = 1_000;
/// Keys read in one statement.
const KEYS: usize = 10_000;

/// A row as the log has it, with its last records.
struct Expected {
    row: Row<'static>,
    partition: Option<Partition>,
    offsets: Vec<i64>,
}

impl Verifying<'_> {
    /// Compares the rows of one pass.
    pub(super) async fn compare(
        &mut self,
        table: &Table,
        folded: FoldedPass,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let mut seen = HashSet::with_capacity(folded.rows.len());
        let (mut there, mut absent) = (ByColumns::new(), Vec::new());
        let mut unjudged = [(Unjudged::Unfit, 0_u64), (Unjudged::Unclear, 0)];
        for ((partition, key), entry) in folded.rows {
            let expected = match expected(table, partition, &key, entry) {
                Ok(expected) => expected,
                Err(why) => {
                    unjudged.iter_mut().filter(|(of, _)| *of == why).for_each(|(_, n)| *n += 1);
                    seen.extend(key::decode(&key, table.record_key()));
                    continue;
                }
            };
            seen.insert(expected.key());
            match &expected.row.write {
                Some(cells) => {
                    let shape = cells.iter().map(|(place, _)| *place).collect();
                    there.entry(shape).or_default().push(expected);
                }
                None => absent.push(expected),
            }
        }
        for (why, rows) in unjudged.iter().filter(|(_, rows)| *rows > 0) {
            report.remarks.push(format!("{rows} rows {}: they are not compared", why.as_str()));
        }
        report.rows += seen.len() as u64;
        self.unseen(table, &seen, &mut absent);
        for (shape, rows) in &there {
            for rows in rows.chunks(ROWS) {
                self.those_that_differ(table, shape, rows, report).await?;
            }
        }
        for rows in absent.chunks(ROWS) {
            self.those_that_are_there(table, rows, report).await?;
        }
        if self.options.choice == Choice::All && self.is_whole() {
            self.extra(table, folded.range, &seen, report).await?;
        }
        Ok(())
    }

    /// Adds the requested keys without a record to the rows that the table must not have.
    fn unseen(&self, table: &Table, seen: &HashSet<Vec<String>>, absent: &mut Vec<Expected>) {
        let Choice::Keys(keys) = &self.options.choice else { return };
        if !self.is_whole() {
            return;
        }
        for key in keys.iter().filter_map(|key| key::decode(key, table.record_key()).ok()) {
            if !seen.contains(&key) {
                absent.push(Expected::no_row(key));
            }
        }
    }

    async fn those_that_differ(
        &mut self,
        table: &Table,
        shape: &[usize],
        expected: &[Expected],
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let rows: Vec<&Row<'_>> = expected.iter().map(|expected| &expected.row).collect();
        for compared in self.store.compare(table, shape, &rows).await? {
            let Some(expected) = expected.get(compared.at) else { continue };
            let column = |(place, expected, found): (usize, Option<String>, Option<String>)| {
                let column = table.columns[shape[place]].name.clone();
                ColumnDiffers { column, expected, found }
            };
            let (kind, columns) = if compared.missing {
                (DifferenceKind::Missing, Vec::new())
            } else {
                (DifferenceKind::Different, compared.differs.into_iter().map(column).collect())
            };
            report.add(expected.difference(kind, columns), self.options.at_most);
        }
        Ok(())
    }

    async fn those_that_are_there(
        &mut self,
        table: &Table,
        expected: &[Expected],
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let rows: Vec<&Row<'_>> = expected.iter().map(|expected| &expected.row).collect();
        let missing = self.store.compare(table, &[], &rows).await?;
        let missing: HashSet<usize> = missing.into_iter().map(|compared| compared.at).collect();
        for (_, expected) in expected.iter().enumerate().filter(|(at, _)| !missing.contains(at)) {
            report
                .add(expected.difference(DifferenceKind::Extra, Vec::new()), self.options.at_most);
        }
        Ok(())
    }

    /// Finds rows of the table that no record names.
    async fn extra(
        &mut self,
        table: &Table,
        range: Range,
        seen: &HashSet<Vec<String>>,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let mut after: Option<Vec<String>> = None;
        loop {
            let keys = self.store.keys(table, after.as_deref(), KEYS).await?;
            let Some(last) = keys.last() else { return Ok(()) };
            after = Some(last.clone());
            for key in keys.into_iter().filter(|key| range.holds(key) && !seen.contains(key)) {
                let extra = Expected::no_row(key);
                report
                    .add(extra.difference(DifferenceKind::Extra, Vec::new()), self.options.at_most);
            }
        }
    }
}

impl Expected {
    /// A key that no record names, and of which the table must have no row.
    fn no_row(key: Vec<String>) -> Self {
        let key = key.into_iter().map(Cow::Owned).collect();
        let row = Row { key, delete: true, write: None, then_add: Vec::new() };
        Self { row, partition: None, offsets: Vec::new() }
    }

    fn key(&self) -> Vec<String> {
        self.row.key.iter().map(|text| (**text).to_owned()).collect()
    }

    fn difference(&self, kind: DifferenceKind, columns: Vec<ColumnDiffers>) -> Difference {
        let partition = self.partition.map(|partition| partition.0);
        Difference { kind, key: self.key(), partition, offsets: self.offsets.clone(), columns }
    }
}

/// Why a row can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unjudged {
    /// Its records do not fit the table.
    Unfit,
    /// It is not known which of its records were applied.
    Unclear,
}

impl Unjudged {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unfit => {
                "have records that do not fit the table and are no longer among the dead letters"
            }
            Self::Unclear => "have versions that may or may not have been older than the row's",
        }
    }
}

/// The row that `entry` makes.
fn expected(
    table: &Table,
    partition: Partition,
    key: &[u8],
    entry: Entry,
) -> Result<Expected, Unjudged> {
    if entry.is_unclear {
        return Err(Unjudged::Unclear);
    }
    let row = Row::judge(table, key, &entry.change).map_err(|_| Unjudged::Unfit)?;
    let mut row = row.summed().into_owned();
    if let Some(cells) = &mut row.write {
        // What was there before the log's beginning is unknown, and so is a sum that includes it.
        cells.retain(|(_, cell)| matches!(cell, RowCell::Set(_)));
    }
    let offsets = entry.offsets.into_iter().map(|offset| offset.0).collect();
    Ok(Expected { row, partition: Some(partition), offsets })
}
