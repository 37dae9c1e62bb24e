//! The loader of a MySQL or MariaDB table.
//!
//! The keys are one parameter: a JSON array of arrays, each the partition and the key columns'
//! texts, which `JSON_TABLE` reads as a table. Names are in backticks, which every session takes.
//!
//! INV-13: identifiers come from the catalogue, values are bound.

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnection, MySqlPool, MySqlRow};
use sqlx::{AssertSqlSafe, Row as _};
use write_behind_shared::key::KeyKind;
use write_behind_shared::mysql_type::has_texts;
use write_behind_shared::table_name::Name;

use crate::error::LoadError;
use crate::load::as_json;
use crate::load::mysql_row::{MySqlForm, MySqlType, object};
use crate::load::table::{
    DeadLetterRow, TableDatabase, TableLoader, failed, loaded, no_connection,
};
use crate::load::table_plan::{KeyTexts, TableCatalog, TableColumn, TablePlan, UniqueKey};
use crate::load::{Loaded, LogRange, Source};

/// Reads rows from a table in MySQL or MariaDB, together with what the consumer has noted of their
/// partitions: one statement is one snapshot, so its answers are exact ([`Loaded::at`]).
///
/// `MySqlLoader::table(pool, "scores")` is all it takes; see [`Builder::loader`]. A table of another
/// database than the connections' is `"game.scores"`. The consumer's bookkeeping tables must be in
/// the connections' database when the handle is built, and the pool must lead to the primary, not to
/// a replica. The table must be `InnoDB`'s, and the sessions must not read uncommitted rows: neither
/// would have snapshots. MySQL 8.0.16 or MariaDB 10.6, or newer.
///
/// Values come as records have them: integers, floats and exact decimals as numbers, `tinyint(1)` and
/// `bit(1)` as true or false, bytes as base64, `TIMESTAMP` in RFC 3339 and UTC, json as it is,
/// everything else as text.
///
/// [`Builder::loader`]: crate::Builder::loader
pub type MySqlLoader = TableLoader<MySqlPool>;

/// Open dead letters. Parameters: a JSON array of partitions, first offsets and ends; then the scope.
const DEAD_LETTERS: &str = "SELECT l.`partition`, l.record_offset, l.record_key,
        CAST(l.headers AS char CHARACTER SET utf8mb4), l.reason
    FROM JSON_TABLE(?, '$[*]' COLUMNS (part int PATH '$[0]', first bigint PATH '$[1]',
        past bigint PATH '$[2]')) AS r
    JOIN write_behind_dead_letters AS l ON l.`partition` = r.part
        AND l.record_offset >= r.first AND l.record_offset < r.past
    WHERE l.pipeline = ? AND l.cluster = ? AND l.topic = ? AND l.state = 'open'
    ORDER BY l.`partition`, l.record_offset";

const TABLE: &str = "SELECT CAST(table_schema AS char) AS found_schema,
        CAST(table_name AS char) AS found_name, CAST(coalesce(engine, '') AS char) AS found_engine
    FROM information_schema.tables
    WHERE table_schema = coalesce(?, database()) AND table_name = ?
        AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')";

const COLUMNS: &str = "SELECT CAST(column_name AS char) AS name,
        CAST(data_type AS char) AS type_name, CAST(column_type AS char) AS sql_type,
        CAST(coalesce(numeric_precision, 0) AS signed) AS bits,
        coalesce(generation_expression, '') <> '' AS generated
    FROM information_schema.columns WHERE table_schema = ? AND table_name = ?
    ORDER BY ordinal_position";

/// Unique indexes. An index of an expression or of a column's beginning is unique in another sense.
const KEYS: &str = "SELECT CAST(index_name AS char) AS name,
        CAST(column_name AS char) AS found_column,
        sub_part IS NULL AND column_name IS NOT NULL AS whole
    FROM information_schema.statistics
    WHERE table_schema = ? AND table_name = ? AND NOT non_unique
    ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index";

/// MariaDB's names of constraints are unique within a table, MySQL's within a schema.
const CHECKS: &str = "SELECT CAST(c.check_clause AS char) AS clause
    FROM information_schema.table_constraints AS k
    JOIN information_schema.check_constraints AS c
        ON c.constraint_schema = k.constraint_schema AND c.constraint_name = k.constraint_name
        /*M! AND c.table_name = k.table_name */
    WHERE k.table_schema = ? AND k.table_name = ? AND k.constraint_type = 'CHECK'";

impl TableDatabase for MySqlPool {
    type Form = MySqlForm;

    const LOADER: &'static str = "MySqlLoader";

    async fn catalog(&self, table: &str) -> Result<Option<TableCatalog<MySqlForm>>, LoadError> {
        let mut connection = self.acquire().await.map_err(|error| no_connection(&error))?;
        let name = Name::parse(table).map_err(LoadError::new)?;
        catalog(&mut connection, &name).await
    }

    /// Finds rows. Parameters: the keys, then the scope. A row of the answer is the partition's next
    /// offset, whether the row is there, and its columns.
    fn select(plan: &TablePlan<MySqlForm>) -> String {
        let (mut values, mut given, mut same) = (String::new(), String::new(), Vec::new());
        for column in &plan.columns {
            // Writing to a string cannot fail.
            let _ = write!(
                values,
                ", {}",
                column.form.selected(&format!("t.{}", quoted(&column.name)))
            );
        }
        for (at, column) in plan.key.iter().enumerate() {
            let _ = write!(given, ", k{at} longtext CHARACTER SET utf8mb4 PATH '$[{}]'", at + 1);
            let value = match column.key_kind {
                Some(KeyKind::Integer(_)) => format!("CAST(a.k{at} AS signed)"),
                Some(KeyKind::Boolean) => format!("(a.k{at} = 'true')"),
                Some(KeyKind::Date) => format!("CAST(a.k{at} AS date)"),
                Some(KeyKind::Uuid) => format!("CAST(a.k{at} AS uuid)"),
                Some(KeyKind::Text) | None => format!("a.k{at}"),
            };
            same.push(format!("t.{} = {value}", quoted(&column.name)));
        }
        // A key column that equals something is not NULL, so it tells whether the row is there.
        let there = plan.key.first().map(|column| quoted(&column.name)).unwrap_or_default();
        let (table, same) = (&plan.sql_name, same.join(" AND "));
        format!(
            "SELECT CAST(o.next_offset AS signed), CAST(t.{there} IS NOT NULL AS signed){values} \
             FROM JSON_TABLE(?, '$[*]' COLUMNS (place FOR ORDINALITY, part int PATH '$[0]'{given})) \
             AS a LEFT JOIN {table} AS t ON {same} \
             LEFT JOIN write_behind_offsets AS o ON o.pipeline = ? AND o.cluster = ? \
             AND o.topic = ? AND o.`partition` = a.part ORDER BY a.place"
        )
    }

    async fn rows(
        &self,
        plan: &TablePlan<MySqlForm>,
        keys: KeyTexts,
    ) -> Result<Vec<Loaded>, LoadError> {
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&plan.select)))
            .bind(as_json::keys(&keys))
            .bind(&plan.source.sink_group)
            .bind(&plan.source.cluster)
            .bind(&plan.source.topic)
            .fetch_all(self)
            .await
            .map_err(failed::<Self>)?;
        let row = |row: &MySqlRow| {
            let next = row.try_get(0).map_err(LoadError::new)?;
            let is_there: i64 = row.try_get(1).map_err(LoadError::new)?;
            let object = if is_there == 0 { None } else { Some(object(row, &plan.columns)?) };
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
            .bind(as_json::ranges(ranges))
            .bind(&source.sink_group)
            .bind(&source.cluster)
            .bind(&source.topic)
            .fetch_all(self)
            .await
    }

    fn has_no_bookkeeping(error: &dyn DatabaseError) -> bool {
        error.code().as_deref() == Some("42S02") && error.message().contains("write_behind_")
    }
}

async fn catalog(
    connection: &mut MySqlConnection,
    name: &Name,
) -> Result<Option<TableCatalog<MySqlForm>>, LoadError> {
    let found = sqlx::query(TABLE).bind(&name.schema).bind(&name.table);
    let found = found.fetch_optional(&mut *connection).await.map_err(LoadError::new)?;
    let Some(found) = found else { return Ok(None) };
    let (schema, table, engine) = of_table(&found).map_err(LoadError::new)?;
    if engine != "InnoDB" {
        return Err(LoadError::new(format!(
            "{schema}.{table} uses the engine {engine}, which has no snapshots: run ALTER \
             TABLE … ENGINE = InnoDB"
        )));
    }
    columns_and_keys(connection, &schema, &table).await.map(Some).map_err(LoadError::new)
}

fn of_table(row: &MySqlRow) -> Result<(String, String, String), sqlx::Error> {
    Ok((row.try_get("found_schema")?, row.try_get("found_name")?, row.try_get("found_engine")?))
}

async fn columns_and_keys(
    connection: &mut MySqlConnection,
    schema: &str,
    table: &str,
) -> Result<TableCatalog<MySqlForm>, sqlx::Error> {
    let about = |sql| sqlx::query(sql).bind(schema).bind(table);
    let checks = about(CHECKS).fetch_all(&mut *connection).await?;
    let checks = checks.iter().map(|row| row.try_get("clause")).collect::<Result<Vec<_>, _>>()?;
    let columns = about(COLUMNS).fetch_all(&mut *connection).await?;
    let columns = columns.iter().map(|row| column(row, &checks)).collect::<Result<_, _>>()?;
    let keys = unique_keys(&about(KEYS).fetch_all(&mut *connection).await?)?;
    let sql_name = format!("{}.{}", quoted(schema), quoted(table));
    Ok(TableCatalog { sql_name, columns, keys })
}

fn column(row: &MySqlRow, checks: &[String]) -> Result<TableColumn<MySqlForm>, sqlx::Error> {
    let (name, type_name): (String, String) = (row.try_get("name")?, row.try_get("type_name")?);
    let sql_type: String = row.try_get("sql_type")?;
    let bits = u32::try_from(row.try_get::<i64, _>("bits")?).unwrap_or(0);
    // As the session quotes names.
    let json_valid = [format!("json_valid(`{name}`)"), format!("json_valid(\"{name}\")")];
    let is_document = checks.iter().any(|clause| json_valid.contains(clause));
    let described = MySqlType { name: &type_name, sql_type: &sql_type, bits, is_document };
    let (form, key_kind) = (described.form(), described.key_kind());
    let is_generated: bool = row.try_get("generated")?;
    let generated = is_generated || !has_texts(&type_name);
    Ok(TableColumn { name, sql_type, generated, key_kind, form })
}

fn unique_keys(rows: &[MySqlRow]) -> Result<Vec<UniqueKey>, sqlx::Error> {
    let mut keys: Vec<(String, bool, Vec<String>)> = Vec::new();
    for row in rows {
        let (index, whole): (String, bool) = (row.try_get("name")?, row.try_get("whole")?);
        let column = row.try_get::<Option<String>, _>("found_column")?.unwrap_or_default();
        match keys.last_mut().filter(|(name, ..)| *name == index) {
            Some((_, all_whole, columns)) => {
                columns.push(column);
                *all_whole &= whole;
            }
            None => keys.push((index, whole, vec![column])),
        }
    }
    let whole = keys.into_iter().filter(|(_, whole, _)| *whole);
    let key = |(name, _, columns): (String, bool, Vec<String>)| UniqueKey {
        is_primary: name == "PRIMARY",
        columns,
    };
    Ok(whole.map(key).collect())
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_has_this_text_for_any_number_of_keys() {
        let column = |name: &str, type_name: &str| {
            let described =
                MySqlType { name: type_name, sql_type: type_name, bits: 0, is_document: false };
            TableColumn {
                name: name.to_owned(),
                sql_type: type_name.to_owned(),
                generated: false,
                key_kind: described.key_kind(),
                form: described.form(),
            }
        };
        let (id, name) = (column("id", "bigint"), column("a`b", "varchar"));
        let read = vec![id.clone(), column("file", "blob")];
        let plan = TablePlan::reading("`game`.`t`", read, vec![id, name]);
        assert_eq!(
            MySqlPool::select(&plan),
            "SELECT CAST(o.next_offset AS signed), CAST(t.`id` IS NOT NULL AS signed), \
             CAST(t.`id` + 0 AS char), t.`file` FROM JSON_TABLE(?, '$[*]' COLUMNS \
             (place FOR ORDINALITY, part int PATH '$[0]', k0 longtext CHARACTER SET utf8mb4 \
             PATH '$[1]', k1 longtext CHARACTER SET utf8mb4 PATH '$[2]')) AS a \
             LEFT JOIN `game`.`t` AS t ON t.`id` = CAST(a.k0 AS signed) AND t.`a``b` = a.k1 \
             LEFT JOIN write_behind_offsets AS o ON o.pipeline = ? AND o.cluster = ? \
             AND o.topic = ? AND o.`partition` = a.part ORDER BY a.place"
        );
    }
}
