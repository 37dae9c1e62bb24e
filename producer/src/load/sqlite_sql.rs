//! The text of the statements that find rows in SQLite: takes what the catalogue says of a table,
//! gives a constant statement for any number of keys.
//!
//! The keys are one parameter: a JSON array of arrays, each the partition and the key columns'
//! texts.
//!
//! INV-13: identifiers come from the catalogue, values are bound.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use write_behind_shared::key::{KeyColumn, KeyKind};
use write_behind_shared::table_name::{Name, quoted};

use crate::error::LoadError;
use crate::load::Source;
use crate::load::sqlite_row::{Form, SqliteColumn};
use crate::load::table::{TableOptions, TablePlan, UniqueKey};

/// Open dead letters. Parameters: scope, then a JSON array of partitions, first offsets and ends.
pub(super) const DEAD_LETTERS: &str = "SELECT l.partition, l.record_offset, l.record_key,
        l.headers, l.reason
    FROM json_each($4) AS r JOIN write_behind_dead_letters AS l
        ON l.partition = json_extract(r.value, '$[0]')
        AND l.record_offset >= json_extract(r.value, '$[1]')
        AND l.record_offset < json_extract(r.value, '$[2]')
    WHERE l.pipeline = $1 AND l.cluster = $2 AND l.topic = $3 AND l.state = 'open'
    ORDER BY l.partition, l.record_offset";

const TABLE: &str = "SELECT name FROM pragma_table_list($1)
    WHERE schema = 'main' AND type = 'table'";

/// Hidden columns of kind 2 and 3 are generated.
const COLUMNS: &str = "SELECT name, type, pk, hidden FROM pragma_table_xinfo($1)
    WHERE hidden IN (0, 2, 3) ORDER BY cid";

/// Unique indexes without a condition. An expression has no name.
const KEYS: &str = "SELECT l.name AS index_name, x.name AS column_name
    FROM pragma_index_list($1) AS l JOIN pragma_index_xinfo(l.name) AS x
    WHERE l.\"unique\" AND NOT l.partial AND x.key ORDER BY l.seq, x.seqno";

struct Described {
    column: SqliteColumn,
    declared: String,
    /// The place in the primary key, from 1; 0 is outside.
    primary: i64,
    generated: bool,
}

/// Reads the catalogue. With the plan come the columns in the statement's order.
pub(super) async fn plan(
    connection: &mut SqliteConnection,
    wanted: &TableOptions,
    source: &Source,
) -> Result<(TablePlan, Vec<SqliteColumn>), LoadError> {
    let name = Name::parse(&wanted.table).map_err(LoadError::new)?;
    if name.schema.as_deref().is_some_and(|schema| schema != "main") {
        let table = &wanted.table;
        let error = format!("SQLite has no schema as in {table}: write the table's name alone");
        return Err(LoadError::new(error));
    }
    let catalogue = read(connection, &name.table).await.map_err(LoadError::new)?;
    let Some((table, described, keys)) = catalogue else { return Err(wanted.no_such_table()) };
    let read = wanted.columns(&described, |d| &d.column.name, |d| !d.generated)?;
    let find = |name: String| described.iter().find(|d| d.column.name == name);
    let key: Vec<&Described> = wanted.key(&keys)?.into_iter().filter_map(find).collect();
    let key_column = |described: &&Described| {
        let name = described.column.name.clone();
        let kind = kind_of(described);
        let kind = kind.ok_or_else(|| wanted.no_key(&name, &described.declared))?;
        Ok(KeyColumn { name, kind })
    };
    let key = key.iter().map(key_column).collect::<Result<Vec<_>, LoadError>>()?;
    let columns: Vec<SqliteColumn> = read.into_iter().map(|d| d.column.clone()).collect();
    let select = select(&table, &columns, &key);
    Ok((TablePlan { source: source.clone(), key, select: select.into() }, columns))
}

/// A table's name, its columns and its unique keys.
type SqliteCatalog = (String, Vec<Described>, Vec<UniqueKey>);

async fn read(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<Option<SqliteCatalog>, sqlx::Error> {
    let found = sqlx::query(TABLE).bind(table).fetch_optional(&mut *connection).await?;
    let Some(found) = found else { return Ok(None) };
    let rows = sqlx::query(COLUMNS).bind(table).fetch_all(&mut *connection).await?;
    let described = rows.iter().map(described).collect::<Result<Vec<_>, _>>()?;
    let rows = sqlx::query(KEYS).bind(table).fetch_all(&mut *connection).await?;
    let mut primary: Vec<&Described> = described.iter().filter(|d| d.primary > 0).collect();
    primary.sort_by_key(|d| d.primary);
    let columns: Vec<String> = primary.into_iter().map(|d| d.column.name.clone()).collect();
    let mut keys = unique_keys(&rows)?;
    // The primary key of one integer column is the table itself and has no index.
    if !columns.is_empty() {
        keys.push(UniqueKey { is_primary: true, columns });
    }
    Ok(Some((found.try_get("name")?, described, keys)))
}

fn described(row: &SqliteRow) -> Result<Described, sqlx::Error> {
    let declared: String = row.try_get("type")?;
    let declared = declared.to_ascii_uppercase();
    Ok(Described {
        column: SqliteColumn { name: row.try_get("name")?, form: Form::of(&declared) },
        declared,
        primary: row.try_get("pk")?,
        generated: row.try_get::<i64, _>("hidden")? != 0,
    })
}

fn unique_keys(rows: &[SqliteRow]) -> Result<Vec<UniqueKey>, sqlx::Error> {
    let mut keys: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let index: String = row.try_get("index_name")?;
        let column = row.try_get::<Option<String>, _>("column_name")?.unwrap_or_default();
        match keys.last_mut().filter(|(name, _)| *name == index) {
            Some((_, columns)) => columns.push(column),
            None => keys.push((index, vec![column])),
        }
    }
    let unique = keys.into_iter().map(|(_, columns)| UniqueKey { is_primary: false, columns });
    Ok(unique.collect())
}

fn kind_of(described: &Described) -> Option<KeyKind> {
    Some(match (described.column.form, &*described.declared) {
        (Form::Number, declared) if declared.contains("INT") => {
            KeyKind::Integer(i64::MIN..=i64::MAX)
        }
        (Form::Boolean, _) => KeyKind::Boolean,
        (Form::Text, "UUID") => KeyKind::Uuid,
        (Form::Text, "DATE") => KeyKind::Date,
        (Form::Text, declared)
            if !["DATE", "TIME", "UUID"].iter().any(|n| declared.contains(n)) =>
        {
            KeyKind::Text
        }
        _ => return None,
    })
}

/// Finds rows. Parameters: scope, the keys. A row of the answer is the partition's next offset,
/// whether the row is there, and its columns.
fn select(table: &str, columns: &[SqliteColumn], key: &[KeyColumn]) -> String {
    let values = columns.iter().map(|column| format!("t.{}", quoted(&column.name)));
    let values = values.collect::<Vec<_>>().join(", ");
    let same = key.iter().enumerate().map(|(at, column)| {
        let text = format!("json_extract(a.value, '$[{}]')", at + 1);
        let value = match column.kind {
            KeyKind::Integer(_) => format!("CAST({text} AS INTEGER)"),
            KeyKind::Boolean => format!("({text} = 'true')"),
            KeyKind::Text | KeyKind::Uuid | KeyKind::Date => text,
        };
        format!("t.{} = {value}", quoted(&column.name))
    });
    let same = same.collect::<Vec<_>>().join(" AND ");
    // A key column that equals something is not NULL, so it tells whether the row is there.
    let there = key.first().map(|column| quoted(&column.name)).unwrap_or_default();
    format!(
        "SELECT o.next_offset, t.{there} IS NOT NULL, {values} FROM json_each($4) AS a \
         LEFT JOIN {} AS t ON {same} \
         LEFT JOIN write_behind_offsets AS o ON o.pipeline = $1 AND o.cluster = $2 \
         AND o.topic = $3 AND o.partition = json_extract(a.value, '$[0]') ORDER BY a.key",
        quoted(table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_has_this_text_for_any_number_of_keys() {
        let column = |name: &str| SqliteColumn { name: name.to_owned(), form: Form::Number };
        let key = |name: &str, kind| KeyColumn { name: name.to_owned(), kind };
        let key = [key("id", KeyKind::Integer(0..=9)), key("a\"b", KeyKind::Text)];
        assert_eq!(
            select("t", &[column("id"), column("n")], &key),
            "SELECT o.next_offset, t.\"id\" IS NOT NULL, t.\"id\", t.\"n\" FROM json_each($4) AS a \
             LEFT JOIN \"t\" AS t ON t.\"id\" = CAST(json_extract(a.value, '$[1]') AS INTEGER) \
             AND t.\"a\"\"b\" = json_extract(a.value, '$[2]') \
             LEFT JOIN write_behind_offsets AS o ON o.pipeline = $1 AND o.cluster = $2 \
             AND o.topic = $3 AND o.partition = json_extract(a.value, '$[0]') ORDER BY a.key"
        );
    }
}
