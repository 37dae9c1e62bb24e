//! A table as the catalogue of MySQL or MariaDB describes it. Tables that a transaction can't roll
//! back or that rows can't be upserted into, and columns that can't be a key, are refused.

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};
use write_behind_shared::key::{KeyColumn, KeyKind};
use write_behind_shared::mysql_type::has_texts;
use write_behind_shared::table_name::quoted;

use crate::core::nearest::{TableSpelling, hint_at_table};
use crate::core::table::identity::Identity;
use crate::core::table::surroundings::judge;
use crate::core::table::{Column, ColumnKind, Name, Table};
use crate::store::StoreError;
use crate::store::defaults::is_plain;
use crate::store::mysql::sql::SHAPE;
use crate::store::mysql::types::CatalogType;
use crate::store::mysql::{references, surroundings};

const TABLE: &str = "SELECT CAST(table_schema AS char) AS found_schema,
        CAST(table_name AS char) AS found_name, CAST(table_type AS char) AS kind,
        CAST(engine AS char) AS found_engine, CAST(coalesce(create_time, '') AS char) AS mark
    FROM information_schema.tables
    WHERE table_schema = coalesce(?, database()) AND table_name = ?";

/// Whether the table was changed in this second, or so shortly before that the clock of its file may
/// say so.
const IS_FRESH: &str =
    "SELECT coalesce(max(create_time) > now(6) - INTERVAL 1100000 MICROSECOND, false)
    FROM information_schema.tables WHERE table_schema = coalesce(?, database()) AND table_name = ?";

/// The tables that there are, each as a route would name it.
const NAMES: &str =
    "SELECT CAST(table_name AS char) AS name, CAST(CASE WHEN table_schema = database()
            THEN table_name ELSE concat(table_schema, '.', table_name) END AS char) AS spelled
    FROM information_schema.tables WHERE table_type = 'BASE TABLE'
        AND table_schema NOT IN ('mysql', 'sys', 'performance_schema') LIMIT 10000";

const COLUMNS: &str = "SELECT CAST(column_name AS char) AS name,
        CAST(data_type AS char) AS type_name, CAST(column_type AS char) AS sql_type,
        CAST(column_default AS char) AS found_default, is_nullable = 'YES' AS nullable,
        extra LIKE '%auto_increment%' AS counted, CAST(collation_name AS char) AS found_collation,
        CAST(numeric_precision AS signed) AS number_precision,
        CAST(coalesce(numeric_scale, datetime_precision) AS signed) AS number_scale,
        CAST(character_maximum_length AS signed) AS length_max,
        CAST(character_set_name AS char) AS letters,
        coalesce(generation_expression, '') <> '' AS generated,
        coalesce(generation_expression, '') = 'ROW END' AS ends_period,
        (extra LIKE '%DEFAULT_GENERATED%' /*M! OR true */) AS evaluated
    FROM information_schema.columns WHERE table_schema = ? AND table_name = ?
    ORDER BY ordinal_position";

/// Unique indexes. An index of an expression or of a column's beginning is unique in another sense.
const KEYS: &str =
    "SELECT CAST(index_name AS char) AS name, CAST(column_name AS char) AS found_column,
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

/// The collations in which two texts are equal when their letters are, trailing spaces included.
const EXACT_COLLATIONS: [&str; 2] = ["utf8mb4_nopad_bin", "utf8mb4_0900_bin"];

/// What the catalogue says of one column.
struct Described {
    column: Column,
    type_name: String,
    collation: Option<String>,
    generated: bool,
    /// Whether it says, in a versioned table, until when a row was there.
    ends_period: bool,
    /// Whether records can write it: it is not generated, and its values have texts.
    is_written: bool,
}

/// A unique index.
struct UniqueKey {
    name: String,
    columns: Vec<String>,
    /// None of its parts is an expression or a column's beginning.
    whole: bool,
}

/// Whether the table `name` was changed a moment ago: its mark, which counts in seconds, may then stay
/// the same at the next change.
pub(super) async fn is_fresh(connection: &mut MySqlConnection, name: &str) -> sqlx::Result<bool> {
    let Ok(parsed) = Name::parse(name) else { return Ok(false) };
    let asked = sqlx::query_scalar(IS_FRESH).bind(&parsed.schema).bind(&parsed.table);
    asked.fetch_one(connection).await
}

/// Reads the table `name` and its `key`, or its primary key.
pub(super) async fn describe(
    connection: &mut MySqlConnection,
    name: &str,
    key: &[String],
) -> Result<Table, StoreError> {
    let parsed = Name::parse(name).map_err(|error| StoreError::Stop(error.to_string()))?;
    let found = sqlx::query(TABLE).bind(&parsed.schema).bind(&parsed.table);
    let Some(found) = found.fetch_optional(&mut *connection).await? else {
        let names = sqlx::query(NAMES).fetch_all(&mut *connection).await?;
        let hint = hint_at_table(&parsed.table, &named(&names)?);
        return Err(StoreError::Stop(format!(
            "there is no table {name}{hint}: create it, or correct the route's `table` (a table of \
             another database than the URL's is written as database.table)"
        )));
    };
    if let Some(why) = unfit(name, &found)? {
        return Err(StoreError::Stop(why));
    }
    let schema: String = found.try_get("found_schema")?;
    let table: String = found.try_get("found_name")?;
    let about = |sql| sqlx::query(sql).bind(&schema).bind(&table);
    // Before all that it is to speak for.
    let shape: String = about(SHAPE).fetch_one(&mut *connection).await?.try_get(0)?;
    let checks = about(CHECKS).fetch_all(&mut *connection).await?;
    let checks = checks.iter().map(|row| row.try_get("clause")).collect::<Result<Vec<_>, _>>()?;
    let columns = about(COLUMNS).fetch_all(&mut *connection).await?;
    let columns =
        columns.iter().map(|row| described(row, &checks)).collect::<Result<Vec<_>, _>>()?;
    let mut keys = unique_keys(&about(KEYS).fetch_all(&mut *connection).await?)?;
    // MariaDB adds a versioned table's end of period to each key, for the rows that were.
    let ends = |name: &String| columns.iter().any(|c| c.ends_period && c.column.name == *name);
    for key in &mut keys {
        key.columns.retain(|name| !ends(name));
    }
    let of_json = |clause: &&String| columns.iter().any(|c| checks_json(clause, &c.column.name));
    let checked = checks.iter().filter(|clause| !of_json(clause)).count() > 0;
    let (own_references, deletes_reach_others) =
        references::of(&mut *connection, &schema, &table).await?;
    let generated = columns.iter().any(|described| described.generated);
    let around = surroundings::read(&mut *connection, &schema, &table).await?;
    let warnings = judge(&around.found).map_err(|why| StoreError::Stop(format!("{name} {why}")))?;
    let (index, key) = key_columns(name, key, &keys, &columns).map_err(StoreError::Stop)?;
    let sql_name = format!("{}.{}", quoted(&schema), quoted(&table));
    let created = AssertSqlSafe(format!("SHOW CREATE TABLE {sql_name}"));
    let created = sqlx::raw_sql(created).fetch_one(&mut *connection).await?;
    if is_of_periods(&created.try_get::<String, _>(1)?, &index) {
        return Err(StoreError::Stop(format!(
            "the key of {name} is WITHOUT OVERLAPS: an upsert by it changes rows of other keys, whose \
             periods overlap; name another unique key in the route's `key`"
        )));
    }
    // What no record can give to a new row may stand in an old one.
    let demands = |c: &Described| !c.is_written && !c.generated && c.column.must_be_named();
    let demanded = columns.iter().any(demands);
    Ok(Table {
        sql_name,
        columns: columns.into_iter().filter(|c| c.is_written).map(|c| c.column).collect(),
        key,
        key_index: Some(index),
        update_before_insert: checked
            || demanded
            || around.sees_inserts
            || generated
            || keys.len() > 1,
        sees_empty_inserts: false,
        may_be_locked: false,
        own_references,
        deletes_reach_others,
        contested: None,
        renamed: None,
        version: None,
        // A rebuild makes a new table of it, too.
        identity: Identity { mark: found.try_get("mark")?, shape, ..Identity::default() },
        warnings,
    })
}

fn named(rows: &[MySqlRow]) -> Result<Vec<TableSpelling>, sqlx::Error> {
    let named = |row: &MySqlRow| {
        Ok(TableSpelling { name: row.try_get("name")?, spelled: row.try_get("spelled")? })
    };
    rows.iter().map(named).collect()
}

/// Why the table can't be written to, and what to do.
fn unfit(name: &str, found: &MySqlRow) -> Result<Option<String>, sqlx::Error> {
    let kind: String = found.try_get("kind")?;
    if !matches!(&*kind, "BASE TABLE" | "SYSTEM VERSIONED") {
        let kind = kind.to_lowercase();
        return Ok(Some(format!("{name} is a {kind}, which can't be upserted into")));
    }
    let engine: Option<String> = found.try_get("found_engine")?;
    let engine = engine.unwrap_or_default();
    Ok((engine != "InnoDB").then(|| {
        format!(
            "{name} uses the engine {engine}, which can't roll back: a failed batch would \
             leave rows behind; run ALTER TABLE … ENGINE = InnoDB"
        )
    }))
}

fn described(row: &MySqlRow, checks: &[String]) -> Result<Described, sqlx::Error> {
    let (name, type_name): (String, String) = (row.try_get("name")?, row.try_get("type_name")?);
    let sql_type: String = row.try_get("sql_type")?;
    let number = |column| {
        let found: Option<i64> = row.try_get(column)?;
        Ok::<_, sqlx::Error>(found.and_then(|number| u32::try_from(number).ok()))
    };
    let size = if type_name == "bit" { "number_precision" } else { "number_scale" };
    let whole_digits = match (&*type_name, number("number_precision")?) {
        ("decimal", Some(all)) => Some(i64::from(all) - i64::from(number(size)?.unwrap_or(0))),
        _ => None,
    };
    let letters: Option<String> = row.try_get("letters")?;
    let kind = if checks.iter().any(|clause| checks_json(clause, &name)) {
        ColumnKind::Json
    } else {
        let length = number("length_max")?.map_or(usize::MAX, |length| length as usize);
        let (size, letters) = (number(size)?.unwrap_or(0), letters.as_deref());
        CatalogType { name: &type_name, sql_type: &sql_type, size, length, letters }.kind()
    };
    let default: Option<String> = row.try_get("found_default")?;
    let counted: bool = row.try_get("counted")?;
    let nullable: bool = row.try_get("nullable")?;
    let optional = nullable || default.is_some() || counted;
    let generated: bool = row.try_get("generated")?;
    let is_written = !generated && has_texts(&type_name);
    // NULL is the current time to one, and the next number to the other.
    let takes_null = !counted && (nullable || type_name != "timestamp");
    let evaluated: bool = row.try_get("evaluated")?;
    let default_acts = counted || evaluated && default.as_deref().is_some_and(|d| !is_plain(d));
    let from_nothing = default.is_none_or(|default| {
        let value = default.trim_matches(['(', ')', '\'']);
        value == "NULL" || (!value.is_empty() && value.trim_matches(['0', '.']).is_empty())
    });
    Ok(Described {
        column: Column {
            name,
            kind,
            sql_type,
            required: !optional,
            takes_null,
            default_acts,
            counts_from_nothing: from_nothing && !counted,
            whole_digits,
        },
        type_name,
        collation: row.try_get("found_collation")?,
        generated,
        ends_period: row.try_get("ends_period")?,
        is_written,
    })
}

/// Whether `clause` is what MariaDB makes of a column of type `json`, which it keeps as a text.
fn checks_json(clause: &str, column: &str) -> bool {
    clause == format!("json_valid(`{column}`)") || clause == format!("json_valid(\"{column}\")")
}

fn unique_keys(rows: &[MySqlRow]) -> Result<Vec<UniqueKey>, sqlx::Error> {
    let mut keys: Vec<UniqueKey> = Vec::new();
    for row in rows {
        let name: String = row.try_get("name")?;
        let column: Option<String> = row.try_get("found_column")?;
        let (column, whole) = (column.unwrap_or_default(), row.try_get("whole")?);
        match keys.last_mut().filter(|key| key.name == name) {
            Some(key) => {
                key.columns.push(column);
                key.whole &= whole;
            }
            None => keys.push(UniqueKey { name, columns: vec![column], whole }),
        }
    }
    Ok(keys)
}

/// Whether the index keeps periods apart, by the statement that creates the table: MariaDB's catalogue
/// shows it like one of whole columns.
fn is_of_periods(created: &str, index: &str) -> bool {
    let begins = match index {
        "PRIMARY" => "PRIMARY KEY (".to_owned(),
        name => format!("UNIQUE KEY {} (", quoted(name)),
    };
    let mut lines = created.lines().map(str::trim_start);
    lines.any(|line| line.starts_with(&begins) && line.contains(" WITHOUT OVERLAPS)"))
}

/// The name of the index to upsert by and its columns; or what to do about its absence.
fn key_columns(
    table: &str,
    wanted: &[String],
    keys: &[UniqueKey],
    columns: &[Described],
) -> Result<(String, Vec<KeyColumn>), String> {
    let same = |key: &&UniqueKey| {
        let have = &key.columns;
        key.whole && have.len() == wanted.len() && wanted.iter().all(|name| have.contains(name))
    };
    let (key, names) = if wanted.is_empty() {
        let primary = keys.iter().find(|key| key.name == "PRIMARY").ok_or_else(|| {
            format!(
                "{table} has no primary key: add one, or name a unique key in the route's `key`"
            )
        })?;
        if !primary.whole {
            return Err(format!("{table}'s primary key is of a column's beginning only"));
        }
        (primary, &*primary.columns)
    } else if let Some(key) = keys.iter().find(same) {
        (key, wanted)
    } else {
        let list = wanted.join(", ");
        return Err(format!(
            "{table} has no unique key of exactly ({list}): add one of the whole columns"
        ));
    };
    let find = |name: &String| columns.iter().find(|described| described.column.name == *name);
    let found = names.iter().filter_map(find).map(|described| key_column(table, described));
    Ok((key.name.clone(), found.collect::<Result<_, _>>()?))
}

fn key_column(table: &str, described: &Described) -> Result<KeyColumn, String> {
    let Described { column, type_name, collation, generated, .. } = described;
    let name = column.name.clone();
    let refuse = |why: &str| {
        Err(format!(
            "the column {name:?} of {table} can't be a key: {why}; name another unique key in the \
             route's `key`, of columns that are integers, varchar, uuid, boolean or date"
        ))
    };
    if *generated {
        return refuse("the database generates its value");
    }
    let kind = match (&column.kind, &**type_name) {
        (ColumnKind::Boolean, "tinyint") => KeyKind::Boolean,
        (ColumnKind::Integer(range), "tinyint" | "smallint" | "mediumint" | "int" | "bigint") => {
            KeyKind::Integer(range.clone())
        }
        (_, "varchar") => {
            let collation = collation.as_deref().unwrap_or_default();
            if !EXACT_COLLATIONS.contains(&collation) {
                let list = EXACT_COLLATIONS.join(" (MariaDB) or ");
                return refuse(&format!(
                    "its collation, {collation}, takes different texts for equal: make it {list} \
                     (MySQL) by ALTER TABLE … MODIFY …"
                ));
            }
            KeyKind::Text
        }
        (_, "uuid") => KeyKind::Uuid,
        (_, "date") => KeyKind::Date,
        (_, other) => {
            return refuse(&format!("its type, {other}, takes different texts for equal"));
        }
    };
    Ok(KeyColumn { name, kind })
}
