//! The statements of the SQLite loader: the catalogue's, and one that finds any number of rows.
//!
//! The keys are one parameter: a JSON array of arrays, each the partition and the key columns'
//! texts.
//!
//! INV-13: identifiers come from the catalogue, values are bound.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use write_behind_shared::sqlite_type::SqliteType;
use write_behind_shared::table_name::quoted;

use crate::load::table_plan::{TableCatalog, TableColumn, TablePlan, UniqueKey};

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
const COLUMNS: &str = "SELECT name, type, hidden FROM pragma_table_xinfo($1)
    WHERE hidden IN (0, 2, 3) ORDER BY cid";

const PRIMARY: &str = "SELECT name FROM pragma_table_xinfo($1) WHERE pk > 0 ORDER BY pk";

/// Unique indexes without a condition. An expression has no name.
const KEYS: &str = "SELECT l.name AS index_name, x.name AS column_name
    FROM pragma_index_list($1) AS l JOIN pragma_index_xinfo(l.name) AS x
    WHERE l.\"unique\" AND NOT l.partial AND x.key ORDER BY l.seq, x.seqno";

/// Reads the catalogue. None: there is no such table.
pub(super) async fn catalog(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<Option<TableCatalog<SqliteType>>, sqlx::Error> {
    let found = sqlx::query(TABLE).bind(table).fetch_optional(&mut *connection).await?;
    let Some(found) = found else { return Ok(None) };
    let sql_name = quoted(found.try_get("name")?);
    let rows = sqlx::query(COLUMNS).bind(table).fetch_all(&mut *connection).await?;
    let columns = rows.iter().map(column).collect::<Result<_, _>>()?;
    let primary = sqlx::query_scalar(PRIMARY).bind(table);
    let primary: Vec<String> = primary.fetch_all(&mut *connection).await?;
    let rows = sqlx::query(KEYS).bind(table).fetch_all(&mut *connection).await?;
    let mut keys = unique_keys(&rows)?;
    // The primary key of one integer column is the table itself and has no index.
    if !primary.is_empty() {
        keys.push(UniqueKey { is_primary: true, columns: primary });
    }
    Ok(Some(TableCatalog { sql_name, columns, keys }))
}

fn column(row: &SqliteRow) -> Result<TableColumn<SqliteType>, sqlx::Error> {
    let sql_type = row.try_get::<String, _>("type")?.to_ascii_uppercase();
    let form = SqliteType::of(&sql_type);
    Ok(TableColumn {
        name: row.try_get("name")?,
        sql_type,
        generated: row.try_get::<i64, _>("hidden")? != 0,
        key_kind: form.key_kind(),
        form,
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

/// Finds rows. Parameters: scope, the keys. A row of the answer is the partition's next offset,
/// whether the row is there, and its columns.
pub(super) fn select(plan: &TablePlan<SqliteType>) -> String {
    let values = plan.columns.iter().map(|column| format!("t.{}", quoted(&column.name)));
    let values = values.collect::<Vec<_>>().join(", ");
    let same = plan.key.iter().enumerate().map(|(at, column)| {
        let text = format!("json_extract(a.value, '$[{}]')", at + 1);
        let value = match column.form {
            SqliteType::Integer => format!("CAST({text} AS INTEGER)"),
            SqliteType::Boolean => format!("({text} = 'true')"),
            _ => text,
        };
        format!("t.{} = {value}", quoted(&column.name))
    });
    let same = same.collect::<Vec<_>>().join(" AND ");
    // A key column that equals something is not NULL, so it tells whether the row is there.
    let there = plan.key.first().map(|column| quoted(&column.name)).unwrap_or_default();
    format!(
        "SELECT o.next_offset, t.{there} IS NOT NULL, {values} FROM json_each($4) AS a \
         LEFT JOIN {} AS t ON {same} \
         LEFT JOIN write_behind_offsets AS o ON o.pipeline = $1 AND o.cluster = $2 \
         AND o.topic = $3 AND o.partition = json_extract(a.value, '$[0]') ORDER BY a.key",
        plan.sql_name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_has_this_text_for_any_number_of_keys() {
        let column = |name: &str, form: SqliteType| TableColumn {
            name: name.to_owned(),
            sql_type: String::new(),
            generated: false,
            key_kind: form.key_kind(),
            form,
        };
        let id = column("id", SqliteType::Integer);
        let read = vec![id.clone(), column("n", SqliteType::Numeric)];
        let plan = TablePlan::reading("\"t\"", read, vec![id, column("a\"b", SqliteType::Text)]);
        assert_eq!(
            select(&plan),
            "SELECT o.next_offset, t.\"id\" IS NOT NULL, t.\"id\", t.\"n\" FROM json_each($4) AS a \
             LEFT JOIN \"t\" AS t ON t.\"id\" = CAST(json_extract(a.value, '$[1]') AS INTEGER) \
             AND t.\"a\"\"b\" = json_extract(a.value, '$[2]') \
             LEFT JOIN write_behind_offsets AS o ON o.pipeline = $1 AND o.cluster = $2 \
             AND o.topic = $3 AND o.partition = json_extract(a.value, '$[0]') ORDER BY a.key"
        );
    }
}
