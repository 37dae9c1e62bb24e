//! The SQL that writes rows to MySQL and MariaDB.
//!
//! The rows are one parameter: a JSON array of arrays of texts, the key columns' first, which
//! `JSON_TABLE` reads as a table of texts. The server reads the rows in the order of their keys.
//! The statements force the key's index: on a table that was just empty the optimizer would scan
//! and lock all of it for each row.
//!
//! `ON DUPLICATE KEY UPDATE` checks every unique key, so a row that repeats another row's e-mail
//! address would change that other row. Only tables with one unique key are upserted into; any
//! other is [`update_before_insert`](Table::update_before_insert): existing rows are updated, then
//! the others are inserted.
//!
//! INV-13: identifiers come from the catalogue, values are bound.

use write_behind_shared::key::KeyKind;
use write_behind_shared::table_name::quoted;

use crate::core::table::{ColumnKind, Table};
use crate::store::sql::places;

/// The compare-and-set. Parameters: end, partitions, scope, partition, start, then those of
/// [`unchanged`]. The offset moves only if the table is as it was described.
pub(super) fn move_offset(table: &Table) -> String {
    format!(
        r#"UPDATE write_behind_offsets
    SET next_offset = ?, partitions = ?, updated_at = CURRENT_TIMESTAMP(6)
    WHERE pipeline = ? AND cluster = ? AND topic = ? AND "partition" = ? AND next_offset = ?
        AND {}"#,
        unchanged(table)
    )
}

/// Finds a row if the table is as it was described. The parameters of [`unchanged`].
pub(super) fn is_as_described(table: &Table) -> String {
    format!("SELECT 1 FROM dual WHERE {}", unchanged(table))
}

/// That the table is as it was described. Parameters: its schema, name and mark, its schema, name and
/// shape. The table is named, too: from then on until COMMIT nobody can alter it, or its triggers.
fn unchanged(table: &Table) -> String {
    format!(
        "EXISTS (SELECT 1 FROM information_schema.tables AS i
            WHERE i.table_schema = ? AND i.table_name = ?
            AND CAST(coalesce(i.create_time, '') AS char) = ?)
        AND ({SHAPE}) = ? AND NOT EXISTS (SELECT 1 FROM {} WHERE false)",
        table.sql_name
    )
}

/// What changes with a table's triggers, which its mark does not. Parameters: schema, name.
pub(super) const SHAPE: &str =
    "SELECT CAST(concat(count(*), ' ', coalesce(max(g.created), '')) AS char)
    FROM information_schema.triggers AS g
    WHERE g.event_object_schema = ? AND g.event_object_table = ?";

/// A dead letter. Parameters: scope, partition, offset, key, value, headers, reason, code.
pub(super) const SET_ASIDE: &str = r#"INSERT INTO write_behind_dead_letters
    (pipeline, cluster, topic, "partition", record_offset, record_key, record_value, headers,
     reason, "sqlstate")
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON DUPLICATE KEY UPDATE record_offset = record_offset"#;

/// A writer. Parameters: scope, partition, writer, sequence, offset, the last two again.
pub(super) const NOTE_WRITER: &str = r#"INSERT INTO write_behind_writers
    (pipeline, cluster, topic, "partition", writer, last_sequence, last_offset)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON DUPLICATE KEY UPDATE last_sequence = greatest(last_sequence, ?),
        last_offset = greatest(last_offset, ?), updated_at = CURRENT_TIMESTAMP(6)"#;

/// A last record. Parameters: scope, partition, offset, timestamp, the last two again.
pub(super) const NOTE_LAST_RECORD: &str = r#"INSERT INTO write_behind_last_records
    (pipeline, cluster, topic, "partition", record_offset, record_timestamp)
    VALUES (?, ?, ?, ?, ?, ?)
    ON DUPLICATE KEY UPDATE record_offset = ?, record_timestamp = ?"#;

/// Deletes rows.
pub(super) fn delete(table: &Table) -> String {
    let given = GivenRows::of(table, &[]);
    format!("DELETE t FROM {} STRAIGHT_JOIN {}", given.rows(), given.target("ON"))
}

/// Inserts rows, or updates those that are there.
pub(super) fn upsert(table: &Table, shape: &[(usize, bool)]) -> String {
    let given = GivenRows::of(table, shape);
    let set = if shape.is_empty() {
        let key = &given.columns[0].name;
        format!("{key} = {}.{key}", table.sql_name)
    } else {
        given.set(&table.sql_name, "")
    };
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM {} ON DUPLICATE KEY UPDATE {set}",
        table.sql_name,
        given.names(),
        given.values(),
        given.rows(),
    )
}

/// Updates the rows that are there, and only those.
pub(super) fn update(table: &Table, shape: &[(usize, bool)]) -> String {
    let given = GivenRows::of(table, shape);
    let (rows, target, set) = (given.rows(), given.target("ON"), given.set("t", "t."));
    let not_newer = given.not_newer(shape);
    format!("UPDATE {rows} STRAIGHT_JOIN {target}{not_newer} SET {set}")
}

/// Inserts rows that are not there.
pub(super) fn insert(table: &Table, shape: &[(usize, bool)]) -> String {
    let given = GivenRows::of(table, shape);
    let (names, values, rows) = (given.names(), given.values(), given.rows());
    format!("INSERT INTO {} ({names}) SELECT {values} FROM {rows}", table.sql_name)
}

/// The rows that exist, by their place from 0. FOR UPDATE locks them, so that none is deleted
/// before it is updated.
pub(super) fn present(table: &Table) -> String {
    let given = GivenRows::of(table, &[]);
    format!(
        "SELECT CAST(write_behind_rows.place AS signed) - 1 FROM {} STRAIGHT_JOIN {} FOR UPDATE",
        given.numbered_rows(),
        given.target("ON"),
    )
}

/// The columns of the rows given in the parameter: the key's, then the shape's.
pub(super) struct GivenRows<'a> {
    table: &'a Table,
    columns: Vec<GivenColumn>,
}

struct GivenColumn {
    /// Its quoted name.
    name: String,
    /// Its value in a given row.
    value: String,
    /// Whether it is added to.
    is_add: bool,
}

impl<'a> GivenRows<'a> {
    pub(super) fn of(table: &'a Table, shape: &[(usize, bool)]) -> Self {
        let columns = places(table, shape).enumerate().map(|(at, (place, is_add))| {
            let column = &table.columns[place];
            let key = table.key.get(at).map(|key| &key.kind);
            let value = value_of(at, key, &column.kind, is_add);
            GivenColumn { name: quoted(&column.name), value, is_add }
        });
        Self { table, columns: columns.collect() }
    }

    fn names(&self) -> String {
        self.columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ")
    }

    fn values(&self) -> String {
        self.columns.iter().map(|column| &*column.value).collect::<Vec<_>>().join(", ")
    }

    /// The name is one that no client's table has: an upsert's target can't be given another.
    fn rows(&self) -> String {
        self.rows_with("")
    }

    /// The same with their `place`, from 1 on.
    pub(super) fn numbered_rows(&self) -> String {
        self.rows_with("place FOR ORDINALITY, ")
    }

    fn rows_with(&self, first: &str) -> String {
        let columns = (0..self.columns.len())
            .map(|at| format!("p{at} longtext CHARACTER SET utf8mb4 PATH '$[{at}]'"));
        let columns = columns.collect::<Vec<_>>().join(", ");
        format!("JSON_TABLE(?, '$[*]' COLUMNS ({first}{columns})) AS write_behind_rows")
    }

    /// The table as `t`, found by its key.
    pub(super) fn target(&self, on: &str) -> String {
        let keys = &self.columns[..self.table.key.len()];
        let same = keys.iter().map(|key| format!("t.{} = {}", key.name, key.value));
        let same = same.collect::<Vec<_>>().join(" AND ");
        let index = self.table.key_index.as_deref().unwrap_or_default();
        format!("{} AS t FORCE INDEX ({}) {on} {same}", self.table.sql_name, quoted(index))
    }

    /// That the row in the table has no newer version than the given one. A text is cast, or it
    /// would be compared as a float.
    fn not_newer(&self, shape: &[(usize, bool)]) -> String {
        let at = shape.iter().position(|(place, _)| Some(*place) == self.table.version);
        let Some(at) = at.map(|at| at + self.table.key.len()) else { return String::new() };
        let GivenColumn { name, value, .. } = &self.columns[at];
        let given = match &self.table.columns[shape[at - self.table.key.len()].0].kind {
            ColumnKind::Numeric(scale) => {
                format!("CAST({value} AS decimal(65, {}))", scale.unwrap_or(0))
            }
            ColumnKind::Instant(_) => format!("CAST({value} AS datetime(6))"),
            _ => value.clone(),
        };
        format!(" AND (t.{name} IS NULL OR t.{name} <= {given})")
    }

    fn set(&self, table: &str, prefix: &str) -> String {
        let set = self.columns[self.table.key.len()..].iter().map(|column| {
            let GivenColumn { name, value, is_add } = column;
            match is_add {
                true => format!("{prefix}{name} = coalesce({table}.{name}, 0) + {value}"),
                false => format!("{prefix}{name} = {value}"),
            }
        });
        set.collect::<Vec<_>>().join(", ")
    }
}

/// A given text as a value. The column itself converts an assigned text and refuses what it can't
/// hold, while a cast would turn some of that into NULL.
fn value_of(at: usize, key: Option<&KeyKind>, kind: &ColumnKind, is_add: bool) -> String {
    let text = format!("write_behind_rows.p{at}");
    match (key, kind) {
        (Some(KeyKind::Date), _) => format!("CAST({text} AS date)"),
        (_, ColumnKind::Integer(_) | ColumnKind::Ordinal(_)) => {
            format!("CAST({text} AS signed)")
        }
        // The text alone would be added as a float.
        (_, ColumnKind::Numeric(scale)) if is_add => {
            format!("CAST({text} AS decimal(65, {}))", scale.unwrap_or(0))
        }
        (_, ColumnKind::Boolean) => format!("({text} = 'true')"),
        // The text is `\x` and the bytes in hexadecimal.
        (_, ColumnKind::Bytes(_)) => format!("unhex(substr({text}, 3))"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::table::Column;

    fn table() -> Table {
        let columns = vec![
            Column::plain("id", ColumnKind::Integer(0..=9)),
            Column::plain("a\"b", ColumnKind::Text),
            Column::plain("n", ColumnKind::Numeric(Some(2))),
        ];
        let table = Table::plain("\"game\".\"Seats\"", KeyKind::Integer(0..=9), columns);
        Table { key_index: Some("PRIMARY".to_owned()), ..table }
    }

    const SHAPE: &[(usize, bool)] = &[(1, false), (2, true)];
    const ROWS: &str = "JSON_TABLE(?, '$[*]' COLUMNS (\
         p0 longtext CHARACTER SET utf8mb4 PATH '$[0]', \
         p1 longtext CHARACTER SET utf8mb4 PATH '$[1]', \
         p2 longtext CHARACTER SET utf8mb4 PATH '$[2]')) AS write_behind_rows";

    #[test]
    fn an_upsert_has_this_text() {
        let expected = "INSERT INTO \"game\".\"Seats\" (\"id\", \"a\"\"b\", \"n\") \
             SELECT CAST(write_behind_rows.p0 AS signed), write_behind_rows.p1, \
             CAST(write_behind_rows.p2 AS decimal(65, 2)) FROM ROWS ON DUPLICATE KEY UPDATE \
             \"a\"\"b\" = write_behind_rows.p1, \"n\" = coalesce(\"game\".\"Seats\".\"n\", 0) + \
             CAST(write_behind_rows.p2 AS decimal(65, 2))";
        assert_eq!(upsert(&table(), SHAPE), expected.replace("ROWS", ROWS));
    }

    #[test]
    fn an_update_has_this_text() {
        let expected = "UPDATE ROWS STRAIGHT_JOIN \"game\".\"Seats\" AS t \
             FORCE INDEX (\"PRIMARY\") ON t.\"id\" = CAST(write_behind_rows.p0 AS signed) \
             SET t.\"a\"\"b\" = write_behind_rows.p1, t.\"n\" = coalesce(t.\"n\", 0) + \
             CAST(write_behind_rows.p2 AS decimal(65, 2))";
        assert_eq!(update(&table(), SHAPE), expected.replace("ROWS", ROWS));
    }

    #[test]
    fn a_row_that_names_no_column_is_only_inserted() {
        let text = upsert(&table(), &[]);
        assert!(text.ends_with("UPDATE \"id\" = \"game\".\"Seats\".\"id\""), "{text}");
    }
}
