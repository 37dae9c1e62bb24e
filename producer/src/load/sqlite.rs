//! The loader of a SQLite table.
//!
//! The keys are one parameter: a JSON array of arrays, each the partition and the key columns'
//! texts.
//!
//! INV-13: identifiers come from the catalogue, values are bound.

use std::sync::Arc;

use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};
use write_behind_shared::sqlite_type::SqliteType;
use write_behind_shared::table_name::{Name, quoted};

use crate::error::LoadError;
use crate::load::as_json;
use crate::load::sqlite_row::object;
use crate::load::table::{
    DeadLetterRow, TableDatabase, TableLoader, failed, loaded, no_connection,
};
use crate::load::table_plan::{KeyTexts, TableCatalog, TableColumn, TablePlan, UniqueKey};
use crate::load::{Loaded, LogRange, Source};

/// Reads rows from a table in SQLite, together with what the consumer has noted of their
/// partitions: one statement is one snapshot, so its answers are exact ([`Loaded::at`]).
///
/// `SqliteLoader::table(pool, "scores")` is all it takes; see [`Builder::loader`]. The consumer's
/// bookkeeping tables must be in the same database when the handle is built.
///
/// SQLite's types are advice, so a value comes as it is stored, in the JSON form that the declared
/// type has in records: true or false for `BOOLEAN`, documents for `JSON`, base64 for blobs, text
/// for everything else that is no number. Decimals that are no integers are floats in SQLite.
///
/// [`Builder::loader`]: crate::Builder::loader
pub type SqliteLoader = TableLoader<SqlitePool>;

/// Open dead letters. Parameters: scope, then a JSON array of partitions, first offsets and ends.
const DEAD_LETTERS: &str = "SELECT l.partition, l.record_offset, l.record_key,
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

impl TableDatabase for SqlitePool {
    type Form = SqliteType;

    const LOADER: &'static str = "SqliteLoader";

    async fn catalog(&self, table: &str) -> Result<Option<TableCatalog<SqliteType>>, LoadError> {
        let mut connection = self.acquire().await.map_err(|error| no_connection(&error))?;
        let name = Name::parse(table).map_err(LoadError::new)?;
        if name.schema.as_deref().is_some_and(|schema| schema != "main") {
            let error = format!("SQLite has no schema as in {table}: write the table's name alone");
            return Err(LoadError::new(error));
        }
        catalog(&mut connection, &name.table).await.map_err(LoadError::new)
    }

    /// Finds rows. Parameters: scope, the keys. A row of the answer is the partition's next offset,
    /// whether the row is there, and its columns.
    fn select(plan: &TablePlan<SqliteType>) -> String {
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

    async fn rows(
        &self,
        plan: &TablePlan<SqliteType>,
        keys: KeyTexts,
    ) -> Result<Vec<Loaded>, LoadError> {
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&plan.select)))
            .bind(&plan.source.sink_group)
            .bind(&plan.source.cluster)
            .bind(&plan.source.topic)
            .bind(as_json::keys(&keys))
            .fetch_all(self)
            .await
            .map_err(failed::<Self>)?;
        let row = |row: &SqliteRow| {
            let next = row.try_get(0).map_err(LoadError::new)?;
            let is_there: bool = row.try_get(1).map_err(LoadError::new)?;
            let object = if is_there { Some(object(row, &plan.columns)?) } else { None };
            loaded(next, object.as_deref())
        };
        rows.iter().map(row).collect()
    }

    async fn dead_letters(
        &self,
        source: &Source,
        ranges: &[LogRange],
    ) -> Result<Vec<DeadLetterRow>, sqlx::Error> {
        sqlx::query_as(DEAD_LETTERS)
            .bind(&source.sink_group)
            .bind(&source.cluster)
            .bind(&source.topic)
            .bind(as_json::ranges(ranges))
            .fetch_all(self)
            .await
    }

    fn has_no_bookkeeping(error: &dyn DatabaseError) -> bool {
        error.message().starts_with("no such table: write_behind_")
    }
}

async fn catalog(
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
            SqlitePool::select(&plan),
            "SELECT o.next_offset, t.\"id\" IS NOT NULL, t.\"id\", t.\"n\" FROM json_each($4) AS a \
             LEFT JOIN \"t\" AS t ON t.\"id\" = CAST(json_extract(a.value, '$[1]') AS INTEGER) \
             AND t.\"a\"\"b\" = json_extract(a.value, '$[2]') \
             LEFT JOIN write_behind_offsets AS o ON o.pipeline = $1 AND o.cluster = $2 \
             AND o.topic = $3 AND o.partition = json_extract(a.value, '$[0]') ORDER BY a.key"
        );
    }
}
