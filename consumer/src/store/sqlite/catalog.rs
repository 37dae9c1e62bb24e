//! A table as SQLite's catalogue describes it.
//!
//! SQLite's types are advice: what JSON fits a column follows from the declared type by SQLite's
//! own rules of affinity, and a few common names beyond them (boolean, date, uuid, json). A numeric
//! column holds a binary float where a value is no integer, so a value with more digits than a
//! float keeps is refused. So is a text that the column's affinity would make a number of.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use write_behind_shared::key::{KeyColumn, KeyKind};
use write_behind_shared::sqlite_type::SqliteType;
use write_behind_shared::table_name::quoted;

use crate::core::nearest::{TableSpelling, hint_at_table};
use crate::core::table::column::FLOAT_DIGITS;
use crate::core::table::identity::Identity;
use crate::core::table::surroundings;
use crate::core::table::{Column, ColumnKind, Float, Name, Table};
use crate::store::StoreError;
use crate::store::defaults::is_plain;
use crate::store::sqlite::references;
use crate::store::sqlite::surroundings::read;

const TABLE: &str = "SELECT l.name AS name, l.type AS type, l.strict AS strict, l.wr AS no_rowid,
        (SELECT CAST(schema_version AS text) FROM pragma_schema_version) AS mark,
        coalesce(s.sql LIKE '%check%', 0) OR EXISTS (SELECT 1 FROM sqlite_schema AS g
            WHERE g.type = 'trigger' AND lower(g.tbl_name) = lower(l.name)) AS sees_proposed_rows
    FROM pragma_table_list($1) AS l LEFT JOIN sqlite_schema AS s ON s.name = l.name
    WHERE l.schema = 'main' AND l.type IN ('table', 'view', 'virtual')";

/// The tables that there are.
const NAMES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' LIMIT 10000";

/// Hidden columns of kind 2 and 3 are generated.
const COLUMNS: &str =
    "SELECT name, type, \"notnull\" AS not_null, dflt_value IS NOT NULL AS has_default,
    dflt_value AS found_default,
    coalesce(upper(dflt_value) = 'NULL' OR trim(dflt_value, '()''0.') = '', 1) AS from_nothing, pk, hidden FROM pragma_table_xinfo($1) WHERE hidden IN (0, 2, 3) ORDER BY cid";

/// Unique indexes without a condition, each key column with its collation. An expression has no
/// name.
const KEYS: &str = "SELECT l.name AS index_name, x.name AS column_name, x.coll AS collation
    FROM pragma_index_list($1) AS l JOIN pragma_index_xinfo(l.name) AS x
    WHERE l.\"unique\" AND NOT l.partial AND x.key ORDER BY l.seq, x.seqno";

struct Described {
    column: Column,
    declared: SqliteType,
    /// The place in the primary key, from 1; 0 is outside.
    primary: i64,
    generated: bool,
}

/// A unique key: its columns, each with its collation.
type UniqueKey = Vec<(String, String)>;

/// Reads the table `name` and its `key`, or its primary key.
pub(super) async fn describe(
    connection: &mut SqliteConnection,
    name: &str,
    key: &[String],
) -> Result<Table, StoreError> {
    let parsed = Name::parse(name).map_err(|error| StoreError::Stop(error.to_string()))?;
    if parsed.schema.is_some_and(|schema| schema != "main") {
        let error = format!("SQLite has no schema as in {name}: write the table's name alone");
        return Err(StoreError::Stop(error));
    }
    let found = sqlx::query(TABLE).bind(&parsed.table).fetch_optional(&mut *connection).await?;
    let Some(found) = found else {
        let names = sqlx::query(NAMES).fetch_all(&mut *connection).await?;
        let names = names.iter().map(|row| row.try_get("name")).collect::<Result<Vec<_>, _>>()?;
        let named = |name: String| TableSpelling { spelled: name.clone(), name };
        let hint = hint_at_table(&parsed.table, &names.into_iter().map(named).collect::<Vec<_>>());
        let error =
            format!("there is no table {name}{hint}: create it, or correct the route's `table`");
        return Err(StoreError::Stop(error));
    };
    let kind: String = found.try_get("type")?;
    if kind != "table" {
        let kind = if kind == "virtual" { "virtual table" } else { &kind };
        let error = format!("{name} is a {kind}, which can't be upserted into");
        return Err(StoreError::Stop(error));
    }
    let rows = sqlx::query(COLUMNS).bind(&parsed.table).fetch_all(&mut *connection).await?;
    let strict: bool = found.try_get("strict")?;
    let columns = rows.iter().map(|row| described(row, strict));
    let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
    if !found.try_get::<bool, _>("no_rowid")? {
        number_the_rows(&mut columns);
    }
    let rows = sqlx::query(KEYS).bind(&parsed.table).fetch_all(&mut *connection).await?;
    let keys = unique_keys(&rows)?;
    let warnings = surroundings::judge(&read(&mut *connection, &parsed.table).await?)
        .map_err(|why| StoreError::Stop(format!("{name} {why}")))?;
    let key = key_columns(name, key, &keys, &columns).map_err(StoreError::Stop)?;
    let table_name: String = found.try_get("name")?;
    for column in key.iter().filter(|column| column.kind == KeyKind::Text) {
        let loose = loose(&table_name, &column.name);
        if sqlx::query_scalar(AssertSqlSafe(loose)).fetch_one(&mut *connection).await? {
            return Err(StoreError::Stop(not_a_key(
                name,
                &column.name,
                "its collation takes different texts for equal, whatever that of its index",
            )));
        }
    }
    let (own_references, deletes_reach_others) =
        references::of(&mut *connection, &table_name).await?;
    let sees_proposed_rows: bool = found.try_get("sees_proposed_rows")?;
    let generated = columns.iter().any(|described| described.generated);
    // A primary key beside the route's key takes the next number, once for each proposed row.
    let counts = columns.iter().any(|described| {
        described.primary > 0 && !key.iter().any(|key| key.name == described.column.name)
    });
    Ok(Table {
        sql_name: quoted(&table_name),
        columns: columns.into_iter().filter(|c| !c.generated).map(|c| c.column).collect(),
        key,
        key_index: None,
        update_before_insert: sees_proposed_rows || generated || counts,
        sees_empty_inserts: false,
        may_be_locked: false,
        own_references,
        deletes_reach_others,
        contested: None,
        renamed: None,
        version: None,
        // Any change of the file's schema changes it.
        identity: Identity { mark: found.try_get("mark")?, ..Identity::default() },
        warnings,
    })
}

/// A primary key of one INTEGER column is the row's number: NULL is the next one.
fn number_the_rows(columns: &mut [Described]) {
    let mut primary = columns.iter_mut().filter(|described| described.primary > 0);
    if let (Some(described), None) = (primary.next(), primary.next())
        && described.column.sql_type == "INTEGER"
    {
        described.column.takes_null = false;
    }
}

fn described(row: &SqliteRow, strict: bool) -> Result<Described, sqlx::Error> {
    let sql_type = row.try_get::<String, _>("type")?.to_ascii_uppercase();
    let declared = SqliteType::of(&sql_type);
    let makes_numbers = SqliteType::makes_numbers(&sql_type) && !(strict && sql_type == "ANY");
    let kind = match kind_of(declared) {
        kind @ (ColumnKind::Text | ColumnKind::Notation | ColumnKind::Json) if makes_numbers => {
            ColumnKind::Affine(Box::new(kind))
        }
        kind => kind,
    };
    let default: Option<String> = row.try_get("found_default")?;
    let (not_null, has_default): (bool, bool) =
        (row.try_get("not_null")?, row.try_get("has_default")?);
    Ok(Described {
        column: Column {
            name: row.try_get("name")?,
            kind,
            sql_type,
            required: not_null && !has_default,
            takes_null: true,
            default_acts: default.is_some_and(|default| !is_plain(&default)),
            counts_from_nothing: row.try_get("from_nothing")?,
            whole_digits: None,
        },
        declared,
        primary: row.try_get("pk")?,
        generated: row.try_get::<i64, _>("hidden")? != 0,
    })
}

fn unique_keys(rows: &[SqliteRow]) -> Result<Vec<UniqueKey>, sqlx::Error> {
    let mut keys: Vec<(String, UniqueKey)> = Vec::new();
    for row in rows {
        let index: String = row.try_get("index_name")?;
        let column: Option<String> = row.try_get("column_name")?;
        let part = (column.unwrap_or_default(), row.try_get("collation")?);
        match keys.last_mut().filter(|(name, _)| *name == index) {
            Some((_, parts)) => parts.push(part),
            None => keys.push((index, vec![part])),
        }
    }
    Ok(keys.into_iter().map(|(_, parts)| parts).collect())
}

fn kind_of(declared: SqliteType) -> ColumnKind {
    match declared {
        SqliteType::Integer => ColumnKind::Integer(i64::MIN..=i64::MAX),
        SqliteType::Float => ColumnKind::Float(Float::DOUBLE),
        SqliteType::Numeric => ColumnKind::Significant(FLOAT_DIGITS),
        SqliteType::Boolean => ColumnKind::Boolean,
        SqliteType::Text => ColumnKind::Text,
        SqliteType::Uuid | SqliteType::Date | SqliteType::Notation => ColumnKind::Notation,
        SqliteType::Json => ColumnKind::Json,
        SqliteType::Bytes => ColumnKind::Bytes(None),
    }
}

/// The key to upsert by; or what to do about its absence.
fn key_columns(
    table: &str,
    wanted: &[String],
    keys: &[UniqueKey],
    columns: &[Described],
) -> Result<Vec<KeyColumn>, String> {
    let mut primary: Vec<_> = columns.iter().filter(|column| column.primary > 0).collect();
    primary.sort_by_key(|column| column.primary);
    let primary: Vec<String> =
        primary.into_iter().map(|described| described.column.name.clone()).collect();
    let names = if wanted.is_empty() { &primary[..] } else { wanted };
    if names.is_empty() {
        return Err(format!(
            "{table} has no primary key: add one, or name a unique key in the route's `key`"
        ));
    }
    let same = |have: &[&String]| {
        have.len() == names.len() && names.iter().all(|name| have.contains(&name))
    };
    let index = keys.iter().find(|key| same(&key.iter().map(|(name, _)| name).collect::<Vec<_>>()));
    // The primary key of one integer column is the table itself and has no index.
    if index.is_none() && !same(&primary.iter().collect::<Vec<_>>()) {
        let list = names.join(", ");
        return Err(format!(
            "{table} has no unique key of exactly ({list}): add one, without a condition"
        ));
    }
    let collation_of = |name: &String| {
        let part = index.and_then(|key| key.iter().find(|(column, _)| column == name));
        part.map_or("BINARY", |(_, collation)| collation.as_str())
    };
    let find = |name: &String| columns.iter().find(|described| described.column.name == *name);
    let found = names.iter().filter_map(find);
    found.map(|column| key_column(table, column, collation_of(&column.column.name))).collect()
}

fn not_a_key(table: &str, column: &str, why: &str) -> String {
    format!(
        "the column {column:?} of {table} can't be a key: {why}; name another unique key in the \
         route's `key`, of columns that are integers, text, uuid, boolean or date"
    )
}

/// Asks whether the column's collation makes different texts equal. The catalogue does not show the
/// declared collation, and statements compare by that one, not by the index's.
fn loose(table: &str, column: &str) -> String {
    format!(
        "SELECT count(*) > 0 FROM (SELECT {} AS text FROM {} WHERE false UNION ALL SELECT 'a ') \
         WHERE text IN ('a', 'A ')",
        quoted(column),
        quoted(table),
    )
}

fn key_column(table: &str, described: &Described, collation: &str) -> Result<KeyColumn, String> {
    let name = described.column.name.clone();
    let refuse = |why: &str| Err(not_a_key(table, &name, why));
    if described.generated {
        return refuse("the database generates its value");
    }
    if collation != "BINARY" {
        return refuse(&format!("its collation, {collation}, takes different texts for equal"));
    }
    let is_number = described.declared == SqliteType::Text
        && matches!(described.column.kind, ColumnKind::Affine(_));
    let Some(kind) = described.declared.key_kind().filter(|_| !is_number) else {
        let declared = &described.column.sql_type;
        return refuse(&format!("its type, {declared}, takes different texts for equal"));
    };
    Ok(KeyColumn { name, kind })
}
