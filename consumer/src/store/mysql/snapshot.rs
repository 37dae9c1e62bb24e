//! MySQL's and MariaDB's snapshot: a read-only transaction in which every statement sees the same
//! rows, and which locks none.
//!
//! An expected value is converted as its column would convert it, and compared by the column's
//! type: texts by their bytes, whatever the collation. MySQL compares JSON as JSON; MariaDB keeps
//! the text that was written, so there it is the text.

use sqlx::AssertSqlSafe;
use write_behind_shared::key::{KeyColumn, KeyKind};
use write_behind_shared::table_name::quoted;

use crate::core::table::row::Row;
use crate::core::table::{Column, ColumnKind, Table};
use crate::store::StoreError;
use crate::store::classify::Failure;
use crate::store::mysql::MysqlStore;
use crate::store::mysql::sql::GivenRows;
use crate::store::session::{Session as _, TransactionCommand};
use crate::store::snapshot::{Compared, Snapshot, compared, keys_of};
use crate::store::sql::{comparison, next_keys};

/// The log is read between two questions, and may take long: a year is the longest `wait_timeout`.
const FREEZE: &str = "SET wait_timeout = 31536000
        /*M! , idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0 */;
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
    START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

impl Snapshot for MysqlStore {
    async fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        self.run(FREEZE).await.map_err(Failure::of_no_row)
    }

    async fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row<'_>],
    ) -> Result<Vec<Compared>, StoreError> {
        let sql = compare(table, shape);
        let mut differing = Vec::new();
        for (before, document) in self.documents(table, rows, true)? {
            let query = sqlx::query(AssertSqlSafe(sql.clone())).bind(document);
            let found = self.fetch(query).await.map_err(Failure::of_no_row)?;
            let found = compared(&found, shape.len())?;
            let placed = found.into_iter().map(|one| Compared { at: before + one.at, ..one });
            differing.extend(placed);
        }
        Ok(differing)
    }

    async fn keys(
        &mut self,
        table: &Table,
        after: Option<&[String]>,
        limit: usize,
    ) -> Result<Vec<Vec<String>>, StoreError> {
        let text = |key: &KeyColumn, name: &str| match key.kind {
            KeyKind::Boolean => format!("if({name}, 'true', 'false')"),
            // The text of a ZEROFILL column has zeros that the log's key has not.
            KeyKind::Integer(_) => format!("CAST({name} + 0 AS char)"),
            _ => format!("CAST({name} AS char)"),
        };
        let sql = next_keys(table, text, after.map(|_| behind(table)), limit);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        let after = after.unwrap_or_default();
        for text in (1..=after.len()).flat_map(|columns| &after[..columns]) {
            query = query.bind(text.clone());
        }
        let rows = self.fetch(query).await.map_err(Failure::of_no_row)?;
        keys_of(&rows)
    }

    async fn end_snapshot(&mut self) -> Result<(), StoreError> {
        self.command(TransactionCommand::RollBack).await.map_err(Failure::of_no_row)
    }
}

/// The condition that a key is greater than the one in the parameters, column by column: MySQL
/// would compare the columns as one row without an index.
fn behind(table: &Table) -> String {
    let is = |sign: &str, key: &KeyColumn| {
        let given = match key.kind {
            KeyKind::Integer(_) => "CAST(? AS signed)",
            KeyKind::Boolean => "(? = 'true')",
            KeyKind::Date => "CAST(? AS date)",
            KeyKind::Text | KeyKind::Uuid => "?",
        };
        format!("{} {sign} {given}", quoted(&key.name))
    };
    let ways = (0..table.key.len()).map(|at| {
        let same = table.key[..at].iter().map(|key| is("=", key));
        let way = same.chain([is(">", &table.key[at])]).collect::<Vec<_>>();
        format!("({})", way.join(" AND "))
    });
    ways.collect::<Vec<_>>().join(" OR ")
}

/// Finds the rows that differ.
fn compare(table: &Table, shape: &[usize]) -> String {
    let set: Vec<(usize, bool)> = shape.iter().map(|place| (*place, false)).collect();
    let given = GivenRows::of(table, &set);
    let of_shape = shape.iter().zip(table.key.len()..).map(|(place, at)| {
        let column = &table.columns[*place];
        let there = format!("t.{}", quoted(&column.name));
        let expected = converted(column, &format!("write_behind_rows.p{at}"));
        let text = |value: &str| match column.kind {
            ColumnKind::Bytes(_) => format!("CAST(hex({value}) AS char)"),
            // A string of bits is not its number.
            ColumnKind::Integer(_) | ColumnKind::Ordinal(_) | ColumnKind::Boolean => {
                format!("CAST({value} + 0 AS char)")
            }
            _ => format!("CAST({value} AS char)"),
        };
        [differs(&column.kind, &there, &expected), text(&expected), text(&there)]
    });
    let at = "CAST(write_behind_rows.place AS signed) - 1";
    let (told, wrong) = comparison(table, at, &of_shape.collect::<Vec<_>>());
    format!(
        "SELECT {told} FROM {} LEFT JOIN {} WHERE {wrong} ORDER BY 1",
        given.numbered_rows(),
        given.target("ON"),
    )
}

/// A given text as its column would keep it.
fn converted(column: &Column, text: &str) -> String {
    let sql_type = &*column.sql_type;
    let padded = sql_type.starts_with("char(");
    match &column.kind {
        ColumnKind::Integer(_) | ColumnKind::Ordinal(_) => {
            format!("CAST({text} AS decimal(65, 0))")
        }
        ColumnKind::Numeric(scale) => {
            format!("CAST({text} AS decimal(65, {}))", scale.unwrap_or(0))
        }
        ColumnKind::Float(_) => format!("({text} + 0e0)"),
        ColumnKind::Boolean => format!("({text} = 'true')"),
        ColumnKind::Calendar(_) => format!("CAST({text} AS {sql_type})"),
        ColumnKind::Instant(digits) => format!("CAST({text} AS datetime({digits}))"),
        ColumnKind::Bytes(_) => format!("unhex(substr({text}, 3))"),
        ColumnKind::Text if padded => format!("trim(TRAILING ' ' FROM {text})"),
        // MariaDB's own types of a text.
        ColumnKind::Notation if matches!(sql_type, "uuid" | "inet4" | "inet6") => {
            format!("CAST({text} AS {sql_type})")
        }
        _ => text.to_owned(),
    }
}

/// Whether a column differs. Sums of floats depend on where batches ended, but not by much.
fn differs(kind: &ColumnKind, there: &str, expected: &str) -> String {
    let bytes = |value: &str| format!("CAST(CONVERT({value} USING utf8mb4) AS binary)");
    match kind {
        ColumnKind::Float(float) => format!(
            "coalesce(abs({there} - {expected}) > {near} * greatest(abs({there}), abs({expected})), \
             ({there} IS NULL) <> ({expected} IS NULL))",
            near = if float.single { "1e-5" } else { "1e-9" },
        ),
        ColumnKind::Json => format!(
            "(NOT (/*M! {text} <=> {given} */ /*!80000 {there} <=> CAST({expected} AS json) */))",
            text = bytes(there),
            given = bytes(expected),
        ),
        ColumnKind::Text | ColumnKind::Short(_) | ColumnKind::Labels { .. } => {
            format!("(NOT ({} <=> {}))", bytes(there), bytes(expected))
        }
        _ => format!("(NOT ({there} <=> {expected}))"),
    }
}
