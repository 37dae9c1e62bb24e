//! The SQL that writes rows to SQLite.
//!
//! The rows are one parameter: a JSON array of arrays of texts, the key columns' first.
//!
//! SQLite adds integers as floats when the sum does not fit. A counter must not silently lose its
//! last digits, so the statement turns such a sum into an error, that of `abs` of the smallest
//! integer.
//!
//! INV-13: identifiers come from the catalogue, values are bound.

use write_behind_shared::table_name::quoted;

use crate::core::table::{ColumnKind, Table};
use crate::store::sql::{comparison, key_list, not_newer, places, same_key};

/// The compare-and-set. Parameters: scope, partition, start, end, partitions, the table's mark. The
/// offset moves only if the file's schema is as it was when the table was described.
pub(super) const MOVE_OFFSET: &str = "UPDATE write_behind_offsets
    SET next_offset = $6, partitions = $7, updated_at = CURRENT_TIMESTAMP
    WHERE pipeline = $1 AND cluster = $2 AND topic = $3 AND partition = $4 AND next_offset = $5
        AND (SELECT CAST(schema_version AS text) FROM pragma_schema_version) = $8";

/// Finds a row if the schema is as it was when the table was described. Parameter: its version then.
pub(super) const IS_AS_DESCRIBED: &str = "SELECT 1 FROM pragma_schema_version
    WHERE CAST(schema_version AS text) = $1";

/// A dead letter. Parameters: scope, partition, offset, key, value, headers, reason, code.
pub(super) const SET_ASIDE: &str = "INSERT INTO write_behind_dead_letters
    (pipeline, cluster, topic, partition, record_offset, record_key, record_value, headers,
     reason, sqlstate)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (pipeline, cluster, topic, partition, record_offset) DO NOTHING";

/// A writer. Parameters: scope, partition, writer, sequence, offset.
pub(super) const NOTE_WRITER: &str = "INSERT INTO write_behind_writers AS w
    (pipeline, cluster, topic, partition, writer, last_sequence, last_offset)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (pipeline, cluster, topic, partition, writer) DO UPDATE
    SET last_sequence = max(w.last_sequence, excluded.last_sequence),
        last_offset = max(w.last_offset, excluded.last_offset),
        updated_at = CURRENT_TIMESTAMP";

/// A last record. Parameters: scope, partition, offset, timestamp.
pub(super) const NOTE_LAST_RECORD: &str = "INSERT INTO write_behind_last_records
    (pipeline, cluster, topic, partition, record_offset, record_timestamp)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (pipeline, cluster, topic, partition) DO UPDATE
    SET record_offset = excluded.record_offset, record_timestamp = excluded.record_timestamp";

/// Deletes rows.
pub(super) fn delete(table: &Table) -> String {
    let keys = key_list(table);
    let given = Given::of(table, &[]).select();
    format!("DELETE FROM {} WHERE ({keys}) IN ({given})", table.sql_name)
}

/// Inserts rows, or updates those that are there.
pub(super) fn upsert(table: &Table, shape: &[(usize, bool)]) -> String {
    let given = Given::of(table, shape);
    let action = if shape.is_empty() {
        "NOTHING".to_owned()
    } else {
        format!("UPDATE SET {}", given.set("excluded"))
    };
    format!(
        "INSERT INTO {} AS t ({}) {} WHERE true ON CONFLICT ({}) DO {action}",
        table.sql_name,
        given.names(),
        given.select(),
        key_list(table),
    )
}

/// Updates the rows that are there, and only those.
pub(super) fn update(table: &Table, shape: &[(usize, bool)]) -> String {
    let given = Given::of(table, shape);
    format!(
        "UPDATE {} AS t SET {} FROM ({}) AS g WHERE {}{}",
        table.sql_name,
        given.set("g"),
        given.select(),
        same_key(table),
        not_newer(table),
    )
}

/// Inserts the rows that are not there, and only those.
pub(super) fn insert(table: &Table, shape: &[(usize, bool)]) -> String {
    let given = Given::of(table, shape);
    format!(
        "INSERT INTO {table} ({names}) SELECT {names} FROM ({select}) AS g \
         WHERE NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {same})",
        table = table.sql_name,
        names = given.names(),
        select = given.select(),
        same = same_key(table),
    )
}

/// Finds the rows that differ.
pub(super) fn compare(table: &Table, shape: &[usize]) -> String {
    let set: Vec<(usize, bool)> = shape.iter().map(|place| (*place, false)).collect();
    let given = Given::of(table, &set);
    let of_shape = &given.columns[given.key_columns..];
    let of_shape = of_shape.iter().map(|(name, kind, _)| {
        let text = |of: &str| format!("CAST({of}.{name} AS TEXT)");
        [differs(name, kind), text("g"), text("t")]
    });
    let (told, wrong) = comparison(table, &format!("g.{AT}"), &of_shape.collect::<Vec<_>>());
    format!(
        "SELECT {told} FROM (SELECT j.key AS {AT}, {values} \
         FROM json_each($1) AS j) AS g LEFT JOIN {table} AS t ON {same} WHERE {wrong} \
         ORDER BY g.{AT}",
        values = given.values(),
        table = table.sql_name,
        same = same_key(table),
    )
}

/// The name of the row's place: one that no column has by chance.
const AT: &str = "\"the place of the row\"";

/// Whether a column differs. Sums of floats depend on where batches ended, but not by much.
fn differs(name: &str, kind: &ColumnKind) -> String {
    match kind {
        ColumnKind::Float(_) | ColumnKind::Numeric(_) | ColumnKind::Significant(_) => format!(
            "coalesce(abs(t.{name} - g.{name}) > 1e-9 * max(abs(t.{name}), abs(g.{name})), \
             (t.{name} IS NULL) <> (g.{name} IS NULL))"
        ),
        _ => format!("(t.{name} IS NOT g.{name})"),
    }
}

/// The columns of the rows given in the parameter: the key's, then the shape's.
struct Given<'a> {
    key_columns: usize,
    /// Each column's name, kind, and whether it is added to.
    columns: Vec<(String, &'a ColumnKind, bool)>,
}

impl<'a> Given<'a> {
    fn of(table: &'a Table, shape: &[(usize, bool)]) -> Self {
        let columns = places(table, shape).map(|(at, is_add)| {
            let column = &table.columns[at];
            (quoted(&column.name), &column.kind, is_add)
        });
        Self { key_columns: table.key.len(), columns: columns.collect() }
    }

    fn names(&self) -> String {
        self.columns.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>().join(", ")
    }

    fn select(&self) -> String {
        format!("SELECT {} FROM json_each($1) AS j", self.values())
    }

    fn values(&self) -> String {
        let values = self.columns.iter().enumerate().map(|(at, (name, kind, is_add))| {
            let text = format!("json_extract(j.value, '$[{at}]')");
            let value = match kind {
                ColumnKind::Integer(_) => format!("CAST({text} AS INTEGER)"),
                ColumnKind::Float(_) => format!("CAST({text} AS REAL)"),
                ColumnKind::Significant(_) if *is_add => format!("CAST({text} AS NUMERIC)"),
                ColumnKind::Boolean => format!("({text} = 'true')"),
                // The text is `\x` and the bytes in hexadecimal.
                ColumnKind::Bytes(_) => format!("unhex(substr({text}, 3))"),
                _ => text,
            };
            format!("{value} AS {name}")
        });
        values.collect::<Vec<_>>().join(", ")
    }

    fn set(&self, alias: &str) -> String {
        let set = self.columns[self.key_columns..].iter().map(|(name, kind, is_add)| {
            let given = format!("{alias}.{name}");
            let sum = format!("coalesce(t.{name}, 0) + {given}");
            match (is_add, kind) {
                (false, _) => format!("{name} = {given}"),
                (true, ColumnKind::Integer(_)) => format!(
                    "{name} = CASE typeof({sum}) WHEN 'integer' THEN {sum} \
                     ELSE abs(-9223372036854775807 - (typeof({given}) IS NOT NULL)) END"
                ),
                (true, _) => format!("{name} = {sum}"),
            }
        });
        set.collect::<Vec<_>>().join(", ")
    }
}
