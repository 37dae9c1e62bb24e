//! A table as Postgres' catalogue describes it. Tables that rows can't be upserted into and columns
//! that can't be a key are refused.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use write_behind_shared::key::{KeyColumn, KeyKind};
use write_behind_shared::table_name::quoted;

use crate::core::nearest::{TableSpelling, hint_at_table};
use crate::core::table::identity::Identity;
use crate::core::table::{Column, ColumnKind, Name, Table, surroundings};
use crate::store::StoreError;
use crate::store::defaults::is_plain;
use crate::store::postgres::surroundings::read;
use crate::store::postgres::types::Types;
use crate::store::postgres::{contested, proposed, references};

/// The `shape` of an [`Identity`], of the table `c`: how many rows of the catalogue it has, and by which
/// transactions. Maintenance (VACUUM, ANALYZE) changes none of them.
macro_rules! shape {
    () => {
        "concat_ws(' ', c.xmin,
            (SELECT concat(count(*), ':', sum(xmin::text::bigint)) FROM pg_attribute
                WHERE attrelid = c.oid AND attnum > 0),
            (SELECT concat(count(*), ':', sum(xmin::text::bigint)) FROM pg_constraint
                WHERE conrelid = c.oid),
            (SELECT concat(count(*), ':', sum(xmin::text::bigint)) FROM pg_index
                WHERE indrelid = c.oid),
            (SELECT concat(count(*), ':', sum(xmin::text::bigint)) FROM pg_trigger
                WHERE tgrelid = c.oid))"
    };
}
pub(super) use shape;

const TABLE: &str = concat!(
    "SELECT c.oid, ",
    shape!(),
    " AS shape, n.nspname::text AS schema, c.relname::text AS name,
        c.relkind::text AS kind, c.relpersistence = 'u' AS unlogged,
        c.relpersistence = 't' AS temporary, c.oid::text AS mark,
        (SELECT oid::text FROM pg_database WHERE datname = current_database())
            || '.' || coalesce(to_regclass('write_behind_offsets')::oid::text, '') AS beside,
        coalesce((SELECT concat(l.oid, ':', l.relfilenode) FROM pg_class l
            WHERE l.relfilenode <> 0
                AND (l.oid = c.oid OR l.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
            ORDER BY l.oid LIMIT 1), '') AS file,
        row_security_active(c.oid) AS row_security,
        has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE') AS may_be_locked,
        c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)
            AS has_children
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND CASE WHEN $1::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = $1 END"
);

/// The tables that there are, each as a route would name it.
const NAMES: &str = "SELECT c.relname::text AS name, CASE WHEN pg_table_is_visible(c.oid)
            THEN c.relname ELSE n.nspname || '.' || c.relname END::text AS spelled
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$)' LIMIT 10000";

/// Columns with the base types of their domains. A text type's modifier (`varchar(9)`) is left out
/// of the cast, which would cut a long text off; the assignment to the column then refuses it.
const COLUMNS: &str = "WITH RECURSIVE base AS (
        SELECT a.attnum, a.atttypid AS type, a.atttypmod AS modifier, a.attnotnull AS not_null,
            a.atthasdef OR a.attidentity <> '' AS has_default
        FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT b.attnum, t.typbasetype, t.typtypmod, b.not_null OR t.typnotnull,
            b.has_default OR t.typdefault IS NOT NULL
        FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd')
    SELECT a.attname::text AS name, format_type(b.type, -1) AS sql_type, t.typname::text AS type,
        a.atttypid AS own_type, a.atttypmod AS modifier,
        CASE WHEN t.typname = 'numeric' AND b.modifier >= 4 THEN ((b.modifier - 4) >> 16)
            - ((((b.modifier - 4) & 2047) # 1024) - 1024) END AS whole_digits,
        b.not_null AND NOT b.has_default AS required,
        NOT b.has_default OR coalesce(pg_get_expr(d.adbin, d.adrelid)
            ~ '^(NULL|[(]?''?[0.]+''?[)]?)(::.*)?$', false) AS counts_from_nothing,
        a.attgenerated <> '' OR a.attidentity = 'a' AS generated,
        a.attidentity <> '' AS counted, pg_get_expr(d.adbin, d.adrelid) AS found_default
    FROM base b JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = b.attnum
    JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd'
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    ORDER BY a.attnum";

/// Unique keys, each with why ON CONFLICT can't use it, and whether it tells all texts apart: its
/// index by the index's collations, other statements by those of its columns.
const KEYS: &str = "SELECT i.indisprimary AS is_primary,
        array(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns,
        CASE WHEN i.indexprs IS NOT NULL THEN 'is of expressions'
            WHEN i.indpred IS NOT NULL THEN 'has a condition'
            WHEN NOT i.indimmediate THEN 'is deferrable'
            WHEN NOT i.indisvalid THEN 'is not valid: its index was not built to the end'
        END AS unusable,
        NOT EXISTS (SELECT FROM unnest(i.indcollation) AS x(oid)
            JOIN pg_collation l ON l.oid = x.oid WHERE NOT l.collisdeterministic)
        AND NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation
            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                AND NOT l.collisdeterministic) AS deterministic
    FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique
    ORDER BY i.indisprimary DESC, i.indexrelid";

/// A unique key.
struct UniqueKey {
    is_primary: bool,
    columns: Vec<String>,
    unusable: Option<String>,
    deterministic: bool,
}

/// What the catalogue says of one column.
struct Described {
    column: Column,
    type_name: String,
    generated: bool,
    /// Whether records can write it: it is not generated, and something fits its type.
    is_written: bool,
}

/// Reads the table `name` and its `key`, or its primary key.
pub(super) async fn describe(
    connection: &mut PgConnection,
    name: &str,
    key: &[String],
) -> Result<Table, StoreError> {
    let parsed = Name::parse(name).map_err(|error| StoreError::Stop(error.to_string()))?;
    let found = sqlx::query(TABLE).bind(&parsed.schema).bind(&parsed.table);
    let Some(table) = found.fetch_optional(&mut *connection).await? else {
        let names = sqlx::query(NAMES).fetch_all(&mut *connection).await?;
        let hint = hint_at_table(&parsed.table, &named(&names)?);
        return Err(StoreError::Stop(format!(
            "there is no table {name}{hint}: create it, or correct the route's `table` (a name is \
             taken exactly as it is spelled, capital letters included)"
        )));
    };
    if let Some(why) = unfit(&table)? {
        return Err(StoreError::Stop(format!("{name} {why}")));
    }
    let oid: sqlx::postgres::types::Oid = table.try_get("oid")?;
    let rows = sqlx::query(COLUMNS).bind(oid).fetch_all(&mut *connection).await?;
    let types = Types::of(&mut *connection, oid).await?;
    let columns = rows.iter().map(|row| described(row, &types)).collect::<Result<Vec<_>, _>>()?;
    // What no record can give to a new row may stand in an old one.
    let demands = |c: &Described| !c.is_written && !c.generated && c.column.must_be_named();
    let demanded = columns.iter().any(demands);
    let mut keys = Vec::new();
    for row in sqlx::query(KEYS).bind(oid).fetch_all(&mut *connection).await? {
        keys.push(UniqueKey {
            is_primary: row.try_get("is_primary")?,
            columns: row.try_get("columns")?,
            unusable: row.try_get("unusable")?,
            deterministic: row.try_get("deterministic")?,
        });
    }
    let (schema, table_name): (String, String) = (table.try_get("schema")?, table.try_get("name")?);
    let warnings = surroundings::judge(&read(&mut *connection, oid, &table_name).await?)
        .map_err(|why| StoreError::Stop(format!("{name} {why}")))?;
    let proposed = proposed::of(&mut *connection, oid).await?;
    let own_references = references::own(&mut *connection, oid).await?;
    let deletes_reach_others =
        references::deletes_reach_others(&mut *connection, oid, &table_name).await?;
    let key = key_columns(name, key, &keys, &columns).map_err(StoreError::Stop)?;
    let contested = contested::of(&mut *connection, oid, &key).await?;
    Ok(Table {
        sql_name: format!("{}.{}", quoted(&schema), quoted(&table_name)),
        columns: columns.into_iter().filter(|c| c.is_written).map(|c| c.column).collect(),
        key,
        key_index: None,
        update_before_insert: demanded || proposed.is_seen,
        sees_empty_inserts: proposed.by_statement,
        may_be_locked: table.try_get("may_be_locked")?,
        own_references,
        deletes_reach_others,
        contested,
        renamed: None,
        version: None,
        identity: Identity {
            beside: table.try_get("beside")?,
            mark: table.try_get("mark")?,
            file: table.try_get("file")?,
            shape: table.try_get("shape")?,
            is_certain: true,
        },
        warnings,
    })
}

fn named(rows: &[PgRow]) -> Result<Vec<TableSpelling>, sqlx::Error> {
    let named = |row: &PgRow| {
        Ok(TableSpelling { name: row.try_get("name")?, spelled: row.try_get("spelled")? })
    };
    rows.iter().map(named).collect()
}

/// Why rows can't be upserted into the table, or can't be trusted to be there afterwards.
fn unfit(table: &PgRow) -> Result<Option<&'static str>, sqlx::Error> {
    let kind: String = table.try_get("kind")?;
    Ok(if !matches!(&*kind, "r" | "p") {
        Some("is not a table but a view or a foreign table, which can't be upserted into")
    } else if table.try_get("unlogged")? {
        Some(
            "is UNLOGGED: a crash empties it, while the offsets say that its rows are there; run \
             ALTER TABLE … SET LOGGED",
        )
    } else if table.try_get("temporary")? {
        Some("is temporary: its rows are gone with the connection; write to a table that stays")
    } else if table.try_get("row_security")? {
        Some(
            "has row-level security, which hides rows from updates and deletes without a word; \
             give this role BYPASSRLS, or use another one",
        )
    } else if table.try_get("has_children")? {
        Some(
            "has child tables (INHERITS), whose rows its unique keys do not know; write to a \
             partitioned table, or to one without children",
        )
    } else {
        None
    })
}

fn described(row: &PgRow, types: &Types) -> Result<Described, sqlx::Error> {
    let kind = types.kind(row.try_get("own_type")?, row.try_get("modifier")?);
    let generated: bool = row.try_get("generated")?;
    let default: Option<String> = row.try_get("found_default")?;
    let default_acts = default.is_some_and(|default| !is_plain(&default));
    Ok(Described {
        is_written: !generated && kind.is_some(),
        column: Column {
            name: row.try_get("name")?,
            kind: kind.unwrap_or(ColumnKind::Notation),
            sql_type: row.try_get("sql_type")?,
            required: row.try_get("required")?,
            takes_null: true,
            default_acts: default_acts || row.try_get("counted")?,
            counts_from_nothing: row.try_get("counts_from_nothing")?,
            whole_digits: row.try_get::<Option<i32>, _>("whole_digits")?.map(i64::from),
        },
        type_name: row.try_get("type")?,
        generated,
    })
}

/// The key to upsert by; or what to do about its absence.
fn key_columns(
    table: &str,
    wanted: &[String],
    keys: &[UniqueKey],
    columns: &[Described],
) -> Result<Vec<KeyColumn>, String> {
    let is_meant = |key: &&UniqueKey| match wanted {
        [] => key.is_primary,
        names => {
            key.columns.len() == names.len() && names.iter().all(|name| key.columns.contains(name))
        }
    };
    let unusable = |key: &&UniqueKey| key.unusable.is_some();
    let key = keys.iter().filter(is_meant).min_by_key(unusable).ok_or_else(|| match wanted {
        [] => format!(
            "{table} has no primary key: add one, or name a unique key in the route's `key`"
        ),
        names => format!(
            "{table} has no unique key of exactly ({}): add a unique constraint that is not \
             deferrable, or an index without a condition",
            names.join(", ")
        ),
    })?;
    if let Some(why) = &key.unusable {
        let list = key.columns.join(", ");
        return Err(format!(
            "the unique key of {table} on ({list}) {why}, so rows can't be upserted by it: add a \
             unique constraint on whole columns that is not deferrable and has no condition, or \
             name another one in the route's `key`"
        ));
    }
    let names = if wanted.is_empty() { &key.columns[..] } else { wanted };
    let find = |name: &String| columns.iter().find(|described| described.column.name == *name);
    let found = names.iter().filter_map(find);
    found.map(|described| key_column(table, described, key.deterministic)).collect()
}

fn key_column(
    table: &str,
    described: &Described,
    deterministic: bool,
) -> Result<KeyColumn, String> {
    let name = described.column.name.clone();
    let refuse = |why: &str| {
        Err(format!(
            "the column {name:?} of {table} can't be a key: {why}; name another unique key in the \
             route's `key`, of columns that are integers, text, varchar, uuid, boolean or date"
        ))
    };
    if described.generated {
        return refuse("the database generates its value");
    }
    let kind = match (&described.column.kind, &*described.type_name) {
        (ColumnKind::Integer(range), "int2" | "int4" | "int8") => KeyKind::Integer(range.clone()),
        (ColumnKind::Boolean, _) => KeyKind::Boolean,
        (_, "text" | "varchar") if deterministic => KeyKind::Text,
        (_, "text" | "varchar") => return refuse("its collation makes unequal texts equal"),
        (_, "uuid") => KeyKind::Uuid,
        (_, "date") => KeyKind::Date,
        (_, other) => {
            return refuse(&format!("its type, {other}, takes different texts for equal"));
        }
    };
    Ok(KeyColumn { name, kind })
}
