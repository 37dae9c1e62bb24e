//! The SQL that writes rows to Postgres.
//!
//! Values are parameters: an array for each column, which the statement casts to the column's type.
//! So the text depends on the table and the shape alone, and is prepared once. Integer columns'
//! arrays hold integers, which saves the server most of the parsing; all others hold texts.
//!
//! INV-13: identifiers come from the catalogue, values are bound.

use write_behind_shared::key::KeyKind;
use write_behind_shared::table_name::quoted;

use crate::core::table::{Column, ColumnKind, Table};
use crate::store::postgres::catalog::shape;
use crate::store::sql::{key_list, not_newer, places, same_key};

/// Stores dead letters. Parameters: scope, then an array a column.
pub(super) const SET_ASIDE: &str = "INSERT INTO write_behind_dead_letters
    (pipeline, cluster, topic, partition, record_offset, record_key, record_value, headers,
     reason, sqlstate)
    SELECT $1, $2, $3, l.partition, l.record_offset, l.record_key, l.record_value,
        l.headers::jsonb, l.reason, l.sqlstate
    FROM unnest($4::integer[], $5::bigint[], $6::bytea[], $7::bytea[], $8::text[], $9::text[],
        $10::text[])
        AS l(partition, record_offset, record_key, record_value, headers, reason, sqlstate)
    ON CONFLICT (pipeline, cluster, topic, partition, record_offset) DO NOTHING";

/// Notes writers. Parameters: scope, then an array a column.
pub(super) const NOTE_WRITERS: &str = "INSERT INTO write_behind_writers AS w
    (pipeline, cluster, topic, partition, writer, last_sequence, last_offset)
    SELECT $1, $2, $3, s.partition, s.writer, s.last_sequence, s.last_offset
    FROM unnest($4::integer[], $5::text[], $6::bigint[], $7::bigint[])
        AS s(partition, writer, last_sequence, last_offset)
    ORDER BY s.partition, s.writer
    ON CONFLICT (pipeline, cluster, topic, partition, writer) DO UPDATE
    SET last_sequence = greatest(w.last_sequence, excluded.last_sequence),
        last_offset = greatest(w.last_offset, excluded.last_offset), updated_at = now()";

/// Stores the last record if the offset moves: one round trip instead of two. Parameters: those of
/// the compare-and-set, the record's offset, its timestamp.
const NOTE_LAST_RECORD: &str = "INSERT INTO write_behind_last_records
        (pipeline, cluster, topic, partition, record_offset, record_timestamp)
    SELECT $1, $2, $3, $4, $11, $12 FROM moved LIMIT 1
    ON CONFLICT (pipeline, cluster, topic, partition) DO UPDATE
    SET record_offset = excluded.record_offset, record_timestamp = excluded.record_timestamp";

/// The compare-and-set. Parameters: scope, partition, start, end, partitions, the table's name, its
/// oid and its shape.
///
/// The offset moves only if the name still means the table that was described, with the columns that
/// it had then: Postgres would round a value that was judged by an earlier type, and say nothing. The
/// statement names the table, too, which locks it: until COMMIT nobody can drop, rename or alter it.
pub(super) fn move_offset(table: &Table, notes_last_record: bool) -> String {
    let update = format!(
        "UPDATE write_behind_offsets \
         SET next_offset = $6, partitions = $7, updated_at = CURRENT_TIMESTAMP \
         WHERE pipeline = $1 AND cluster = $2 AND topic = $3 AND partition = $4 \
         AND next_offset = $5 AND {}",
        unchanged(table, [8, 9, 10])
    );
    if !notes_last_record {
        return update;
    }
    format!("WITH moved AS ({update} RETURNING 1), noted AS ({NOTE_LAST_RECORD}) SELECT FROM moved")
}

/// Finds a row if the table is as it was described. Parameters: its name, its oid and its shape.
pub(super) fn is_as_described(table: &Table) -> String {
    format!("SELECT 1 WHERE {}", unchanged(table, [1, 2, 3]))
}

/// That the table is as it was described, by the places of these parameters.
fn unchanged(table: &Table, [name, oid, as_it_was]: [u8; 3]) -> String {
    format!(
        "to_regclass(${name})::oid::text = ${oid} \
         AND (SELECT {} FROM pg_class c WHERE c.oid = to_regclass(${name})) = ${as_it_was} \
         AND NOT EXISTS (SELECT FROM {} WHERE false)",
        shape!(),
        table.sql_name
    )
}

/// Deletes rows. Parameters: an array a key column.
pub(super) fn delete(table: &Table) -> String {
    let given = Given::of(table, &[]);
    format!(
        "DELETE FROM {} AS t USING (SELECT {} FROM {}) AS g WHERE {}",
        table.sql_name,
        given.casts(),
        given.unnest(),
        same_key(table),
    )
}

/// Inserts rows, or updates those that are there. Parameters: an array a key column, then an array
/// a column of the shape.
pub(super) fn upsert(table: &Table, shape: &[(usize, bool)]) -> String {
    let given = Given::of(table, shape);
    format!(
        "INSERT INTO {} AS t ({}) SELECT {} FROM {} ORDER BY {} {}",
        table.sql_name,
        given.names(),
        given.casts(),
        given.unnest(),
        given.order("u"),
        given.on_conflict(),
    )
}

/// Updates the rows that are there, and only those. The same parameters.
pub(super) fn update(table: &Table, shape: &[(usize, bool)]) -> String {
    let given = Given::of(table, shape);
    format!(
        "UPDATE {} AS t SET {} FROM (SELECT {} FROM {}) AS g WHERE {}{}",
        table.sql_name,
        given.set("g"),
        given.casts(),
        given.unnest(),
        same_key(table),
        not_newer(table),
    )
}

/// Inserts the rows that are not there, and only those. The same parameters.
///
/// Without ON CONFLICT: a row that another writer inserts at the same moment is refused as a
/// duplicate, and the next try updates it. Were it updated here, triggers and constraints would have
/// judged the row that was proposed.
fn insert_missing(table: &Table, shape: &[(usize, bool)], and: &str) -> String {
    let same = same_key(table);
    let missing = format!("NOT EXISTS (SELECT FROM {} AS t WHERE {same}){and}", table.sql_name);
    insert(table, shape, &format!("WHERE {missing} "))
}

/// Inserts rows of which none may be there. The same parameters.
pub(super) fn insert_new(table: &Table, shape: &[(usize, bool)]) -> String {
    insert(table, shape, "")
}

fn insert(table: &Table, shape: &[(usize, bool)], filter: &str) -> String {
    let given = Given::of(table, shape);
    format!(
        "INSERT INTO {table} ({names}) SELECT {columns} FROM (SELECT {casts} FROM {unnest}) AS g \
         {filter}ORDER BY {order}",
        table = table.sql_name,
        names = given.names(),
        columns = given.columns("g"),
        casts = given.casts(),
        unnest = given.unnest(),
        order = given.order("g"),
    )
}

/// Locks the rows that are there, and says which of the given ones they are, counted from 1.
/// Parameters: an array a key column.
pub(super) fn lock_present(table: &Table) -> String {
    let given = Given::of(table, &[]);
    let names = given.list(|at, _| format!("p{at}"));
    format!(
        "SELECT g.place FROM (SELECT {}, u.place FROM unnest({}) WITH ORDINALITY AS u({names}, place)) \
         AS g JOIN {} AS t ON {} FOR NO KEY UPDATE OF t",
        given.casts(),
        given.arrays(),
        table.sql_name,
        same_key(table),
    )
}

/// Updates the rows that are there and inserts the others: one statement, the same parameters. Its
/// parts see the same rows, so each row is written by one of them; and foreign keys between the rows
/// are checked once both are done. Where rows have versions, it finds as many rows as it writes.
pub(super) fn update_then_insert(table: &Table, shape: &[(usize, bool)]) -> String {
    if shape.is_empty() {
        return insert_missing(table, shape, "");
    }
    // It reads what the UPDATE returns: a part that nobody reads runs last, and a row would be
    // inserted with a unique value that a row of the same batch is about to give up.
    let insert = insert_missing(table, shape, " AND (SELECT count(*) FROM there) >= 0");
    let there = format!("WITH there AS ({} RETURNING 1)", update(table, shape));
    match table.version {
        None => format!("{there} {insert}"),
        Some(_) => format!(
            "{there}, added AS ({insert} RETURNING 1) \
             SELECT 1 FROM there UNION ALL SELECT 1 FROM added"
        ),
    }
}

/// The columns of the rows given in the parameters: the key's, then the shape's.
struct Given<'a> {
    table: &'a Table,
    shape: &'a [(usize, bool)],
    /// Each column's quoted name, the column, and whether it is added to.
    columns: Vec<(String, &'a Column, bool)>,
}

impl<'a> Given<'a> {
    fn of(table: &'a Table, shape: &'a [(usize, bool)]) -> Self {
        let columns = places(table, shape).map(|(at, is_add)| {
            let column = &table.columns[at];
            (quoted(&column.name), column, is_add)
        });
        Self { table, shape, columns: columns.collect() }
    }

    fn list(&self, item: impl Fn(usize, &(String, &Column, bool)) -> String) -> String {
        let items = self.columns.iter().enumerate().map(|(at, column)| item(at, column));
        items.collect::<Vec<_>>().join(", ")
    }

    fn names(&self) -> String {
        self.list(|_, (name, ..)| name.clone())
    }

    /// The sub-select's columns have the table's names, so that they can't be mixed up.
    fn casts(&self) -> String {
        self.list(|at, (name, column, _)| format!("u.p{at}::{} AS {name}", column.sql_type))
    }

    fn columns(&self, alias: &str) -> String {
        self.list(|_, (name, ..)| format!("{alias}.{name}"))
    }

    fn arrays(&self) -> String {
        self.list(|at, (_, column, _)| match column.kind {
            ColumnKind::Integer(_) => format!("${}::bigint[]", at + 1),
            _ => format!("${}::text[]", at + 1),
        })
    }

    fn unnest(&self) -> String {
        let names = self.list(|at, _| format!("p{at}"));
        format!("unnest({}) AS u({names})", self.arrays())
    }

    /// Two transactions that meet must lock rows in the same order, or they deadlock. Any order
    /// serves, so texts are ordered by their bytes, which is much faster than by a language.
    fn order(&self, alias: &str) -> String {
        let keys = self.table.key.iter().enumerate().map(|(at, key)| {
            let name = if alias == "u" {
                format!("u.p{at}")
            } else {
                format!("{alias}.{}", quoted(&key.name))
            };
            match key.kind {
                KeyKind::Text => format!("{name} COLLATE \"C\""),
                _ if alias == "u" => format!("{}", at + 1),
                _ => name,
            }
        });
        keys.collect::<Vec<_>>().join(", ")
    }

    fn set(&self, alias: &str) -> String {
        let written = &self.columns[self.table.key.len()..];
        let set = written.iter().map(|(name, _, is_add)| match is_add {
            true => format!("{name} = coalesce(t.{name}, 0) + {alias}.{name}"),
            false => format!("{name} = {alias}.{name}"),
        });
        set.collect::<Vec<_>>().join(", ")
    }

    fn on_conflict(&self) -> String {
        let action = if self.shape.is_empty() {
            "NOTHING".to_owned()
        } else {
            format!("UPDATE SET {}", self.set("excluded"))
        };
        format!("ON CONFLICT ({}) DO {action}", key_list(self.table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn table() -> Table {
        let column = |name, kind, sql_type: &str| Column {
            sql_type: sql_type.to_owned(),
            ..Column::plain(name, kind)
        };
        let columns = vec![
            column("id", ColumnKind::Integer(0..=9), "bigint"),
            column("a\"b", ColumnKind::Text, "text"),
            column("n", ColumnKind::Integer(0..=9), "integer"),
        ];
        Table::plain("\"public\".\"Seats\"", KeyKind::Integer(0..=9), columns)
    }

    #[test]
    fn an_upsert_has_this_text() {
        assert_eq!(
            upsert(&table(), &[(1, false), (2, true)]),
            "INSERT INTO \"public\".\"Seats\" AS t (\"id\", \"a\"\"b\", \"n\") \
             SELECT u.p0::bigint AS \"id\", u.p1::text AS \"a\"\"b\", u.p2::integer AS \"n\" \
             FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS u(p0, p1, p2) ORDER BY 1 \
             ON CONFLICT (\"id\") DO UPDATE SET \"a\"\"b\" = excluded.\"a\"\"b\", \
             \"n\" = coalesce(t.\"n\", 0) + excluded.\"n\""
        );
    }

    #[test]
    fn a_row_that_names_no_column_is_only_inserted() {
        assert!(upsert(&table(), &[]).ends_with("ON CONFLICT (\"id\") DO NOTHING"));
        assert!(update_then_insert(&table(), &[]).starts_with("INSERT INTO"));
    }

    #[test]
    fn rows_that_exist_are_updated_and_no_such_row_is_proposed() {
        assert_eq!(
            update_then_insert(&table(), &[(2, true)]),
            "WITH there AS (UPDATE \"public\".\"Seats\" AS t SET \
             \"n\" = coalesce(t.\"n\", 0) + g.\"n\" FROM (SELECT u.p0::bigint AS \"id\", \
             u.p1::integer AS \"n\" FROM unnest($1::bigint[], $2::bigint[]) AS u(p0, p1)) AS g \
             WHERE t.\"id\" = g.\"id\" RETURNING 1) \
             INSERT INTO \"public\".\"Seats\" (\"id\", \"n\") SELECT g.\"id\", g.\"n\" FROM \
             (SELECT u.p0::bigint AS \"id\", u.p1::integer AS \"n\" \
             FROM unnest($1::bigint[], $2::bigint[]) AS u(p0, p1)) AS g WHERE NOT EXISTS \
             (SELECT FROM \"public\".\"Seats\" AS t WHERE t.\"id\" = g.\"id\") \
             AND (SELECT count(*) FROM there) >= 0 ORDER BY g.\"id\""
        );
    }

    #[test]
    fn a_delete_has_this_text() {
        assert_eq!(
            delete(&table()),
            "DELETE FROM \"public\".\"Seats\" AS t USING \
             (SELECT u.p0::bigint AS \"id\" FROM unnest($1::bigint[]) AS u(p0)) AS g \
             WHERE t.\"id\" = g.\"id\""
        );
    }
}
