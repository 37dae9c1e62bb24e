//! The loader of a Postgres table.
//!
//! Keys are parameters: one array of texts a key column, cast to the column's type inside. Each
//! column comes in the JSON form that a record has it in, whatever the session's settings are.
//!
//! INV-13: identifiers come from the catalogue, values are bound.

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::error::DatabaseError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use write_behind_shared::key::KeyKind;
use write_behind_shared::table_name::{Name, quoted};

use crate::error::LoadError;
use crate::load::table::{
    DeadLetterRow, TableDatabase, TableLoader, failed, loaded, no_connection,
};
use crate::load::table_plan::{KeyTexts, TableCatalog, TableColumn, TablePlan, UniqueKey};
use crate::load::{Loaded, LogRange, Source};

/// Reads rows from a table in Postgres, together with what the consumer has noted of their
/// partitions: one statement is one snapshot, so its answers are exact ([`Loaded::at`]).
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use write_behind_producer::{PostgresLoader, WriteBehind};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Score { points: i64 }
///
/// let pool = sqlx::PgPool::connect("postgres://db/scores").await?;
/// let scores = WriteBehind::<u64, Score>::builder("scores", [("bootstrap.servers", "kafka:9092")])
///     .sink_group("scores")
///     .loader(PostgresLoader::table(pool, "public.scores"))
///     .build()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// The pool must lead to the primary, not to a replica: a replica that lags would bring back what
/// is already replaced. It needs to read the table and the consumer's bookkeeping tables, which
/// must be in the database when the handle is built.
///
/// Values come as records have them: integers, floats and exact decimals as numbers, `bytea` as
/// base64, instants in RFC 3339 and UTC, json as it is, arrays as arrays, everything else as text.
pub type PostgresLoader = TableLoader<PgPool>;

/// Open dead letters. Parameters: scope, then an array a column of the ranges.
const DEAD_LETTERS: &str = "SELECT l.partition, l.record_offset, l.record_key,
        l.headers::text, l.reason
    FROM unnest($4::integer[], $5::bigint[], $6::bigint[]) AS r(part, first, past)
    JOIN write_behind_dead_letters AS l ON l.partition = r.part
        AND l.record_offset >= r.first AND l.record_offset < r.past
    WHERE l.pipeline = $1 AND l.cluster = $2 AND l.topic = $3 AND l.state = 'open'
    ORDER BY l.partition, l.record_offset";

const TABLE: &str = "SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = $2 AND c.relkind IN ('r', 'p')
        AND CASE WHEN $1::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = $1 END";

/// Columns with the base types of their domains.
const COLUMNS: &str = "WITH RECURSIVE base AS (
        SELECT a.attnum, a.atttypid AS type
        FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT b.attnum, t.typbasetype
        FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd')
    SELECT a.attname::text AS name, format_type(b.type, -1) AS sql_type, t.typname::text AS type,
        CASE WHEN t.typcategory = 'A' THEN e.typname::text END AS element,
        a.attgenerated <> '' OR a.attidentity = 'a' AS generated
    FROM base b JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = b.attnum
    JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd'
    LEFT JOIN pg_type e ON e.oid = t.typelem
    ORDER BY a.attnum";

const KEYS: &str = "SELECT i.indisprimary AS is_primary,
        array(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns
    FROM pg_index i
    WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid
        AND i.indpred IS NULL AND i.indexprs IS NULL
    ORDER BY i.indisprimary DESC, i.indexrelid";

/// A type as the catalogue names it.
#[derive(Clone, Debug)]
pub struct PostgresForm {
    type_name: String,
    /// The name of an array's element type.
    element: Option<String>,
}

impl TableDatabase for PgPool {
    type Form = PostgresForm;

    const LOADER: &'static str = "PostgresLoader";

    async fn catalog(&self, table: &str) -> Result<Option<TableCatalog<PostgresForm>>, LoadError> {
        let mut connection = self.acquire().await.map_err(|error| no_connection(&error))?;
        let name = Name::parse(table).map_err(LoadError::new)?;
        catalog(&mut connection, &name).await.map_err(LoadError::new)
    }

    /// Finds rows. Parameters: scope, the partitions, then an array a key column. A row of the answer
    /// is the partition's next offset and the row as a JSON object, or NULL. `r.*` is the row even
    /// where a column is named `r`.
    fn select(plan: &TablePlan<PostgresForm>) -> String {
        let values = plan.columns.iter().map(|column| {
            let name = quoted(&column.name);
            format!("{} AS {name}", json_form(&format!("t.{name}"), &column.form))
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let (mut arrays, mut names, mut same) = (String::new(), String::new(), Vec::new());
        for (at, column) in plan.key.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(arrays, ", ${}::text[]", at + 5);
            let _ = write!(names, ", k{at}");
            same.push(format!("t.{} = a.k{at}::{}", quoted(&column.name), column.sql_type));
        }
        let (table, same) = (&plan.sql_name, same.join(" AND "));
        format!(
            "SELECT o.next_offset, \
             (SELECT row_to_json(r.*)::text FROM (SELECT {values} FROM {table} AS t WHERE {same}) AS r) \
             FROM unnest($4::integer[]{arrays}) WITH ORDINALITY AS a(part{names}, place) \
             LEFT JOIN write_behind_offsets AS o ON o.pipeline = $1 AND o.cluster = $2 \
             AND o.topic = $3 AND o.partition = a.part ORDER BY a.place"
        )
    }

    async fn rows(
        &self,
        plan: &TablePlan<PostgresForm>,
        keys: KeyTexts,
    ) -> Result<Vec<Loaded>, LoadError> {
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&plan.select)))
            .bind(&plan.source.sink_group)
            .bind(&plan.source.cluster)
            .bind(&plan.source.topic)
            .bind(keys.partitions);
        for texts in keys.texts {
            query = query.bind(texts);
        }
        let rows = query.fetch_all(self).await.map_err(failed::<Self>)?;
        let row = |row: &PgRow| {
            let next = row.try_get(0).map_err(LoadError::new)?;
            let object: Option<&str> = row.try_get(1).map_err(LoadError::new)?;
            loaded(next, object.map(str::as_bytes))
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
            .bind(ranges.iter().map(|range| range.partition.0).collect::<Vec<_>>())
            .bind(ranges.iter().map(|range| range.from.0).collect::<Vec<_>>())
            .bind(ranges.iter().map(|range| range.to.0).collect::<Vec<_>>())
            .fetch_all(self)
            .await
    }

    fn has_no_bookkeeping(error: &dyn DatabaseError) -> bool {
        error.code().as_deref() == Some("42P01") && error.message().contains("write_behind_")
    }
}

async fn catalog(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<Option<TableCatalog<PostgresForm>>, sqlx::Error> {
    let found = sqlx::query(TABLE).bind(&name.schema).bind(&name.table);
    let Some(table) = found.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let oid: Oid = table.try_get("oid")?;
    let (schema, name): (String, String) = (table.try_get("schema")?, table.try_get("name")?);
    let sql_name = format!("{}.{}", quoted(&schema), quoted(&name));
    let rows = sqlx::query(COLUMNS).bind(oid).fetch_all(&mut *connection).await?;
    let columns = rows.iter().map(column).collect::<Result<_, _>>()?;
    let rows = sqlx::query(KEYS).bind(oid).fetch_all(&mut *connection).await?;
    let key = |row: &PgRow| {
        let (is_primary, columns) = (row.try_get("is_primary")?, row.try_get("columns")?);
        Ok(UniqueKey { is_primary, columns })
    };
    let keys = rows.iter().map(key).collect::<Result<_, sqlx::Error>>()?;
    Ok(Some(TableCatalog { sql_name, columns, keys }))
}

fn column(row: &PgRow) -> Result<TableColumn<PostgresForm>, sqlx::Error> {
    let type_name: String = row.try_get("type")?;
    Ok(TableColumn {
        name: row.try_get("name")?,
        sql_type: row.try_get("sql_type")?,
        generated: row.try_get("generated")?,
        key_kind: kind_of(&type_name),
        form: PostgresForm { type_name, element: row.try_get("element")? },
    })
}

fn kind_of(type_name: &str) -> Option<KeyKind> {
    Some(match type_name {
        "int2" => KeyKind::Integer(i16::MIN.into()..=i16::MAX.into()),
        "int4" => KeyKind::Integer(i32::MIN.into()..=i32::MAX.into()),
        "int8" => KeyKind::Integer(i64::MIN..=i64::MAX),
        "text" | "varchar" => KeyKind::Text,
        "uuid" => KeyKind::Uuid,
        "bool" => KeyKind::Boolean,
        "date" => KeyKind::Date,
        _ => return None,
    })
}

/// What `row_to_json` gets for a column, so that JSON has it as a record would.
fn json_form(column: &str, form: &PostgresForm) -> String {
    match &form.element {
        None => match &*form.type_name {
            "bytea" => base64(column),
            "timestamptz" => format!(
                "CASE WHEN isfinite({column}) \
                 THEN (to_json({column} AT TIME ZONE 'UTC') #>> '{{}}') || 'Z' \
                 ELSE {column}::text END"
            ),
            "oid" => format!("{column}::bigint"),
            name if is_itself(name) => column.to_owned(),
            _ => format!("{column}::text"),
        },
        Some(element) => match &**element {
            // An array of several dimensions would lose them here.
            "bytea" => format!(
                "CASE WHEN array_ndims({column}) > 1 THEN to_json(('bytea of several dimensions' \
                 || left({column}::text, 0))::bigint) WHEN {column} IS NOT NULL THEN \
                 to_json(array(SELECT {} FROM unnest({column}) WITH ORDINALITY AS e(value, place) \
                 ORDER BY e.place)) END",
                base64("e.value")
            ),
            "oid" => format!("{column}::bigint[]"),
            name if is_itself(name) || name == "timestamptz" => column.to_owned(),
            _ => format!("{column}::text[]"),
        },
    }
}

/// Whether `row_to_json` gives values of the type as a record has them.
fn is_itself(type_name: &str) -> bool {
    const NUMBERS: [&str; 6] = ["int2", "int4", "int8", "numeric", "float4", "float8"];
    const OTHERS: [&str; 6] = ["bool", "json", "jsonb", "text", "date", "timestamp"];
    NUMBERS.contains(&type_name) || OTHERS.contains(&type_name)
}

/// Postgres breaks base64 into lines.
fn base64(value: &str) -> String {
    format!("replace(encode({value}, 'base64'), chr(10), '')")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, sql_type: &str, type_name: &str) -> TableColumn<PostgresForm> {
        let (name, sql_type) = (name.to_owned(), sql_type.to_owned());
        let form = PostgresForm { type_name: type_name.to_owned(), element: None };
        let key_kind = kind_of(type_name);
        TableColumn { name, sql_type, generated: false, key_kind, form }
    }

    #[test]
    fn a_select_has_this_text_for_any_number_of_keys() {
        let columns = vec![column("id", "bigint", "int8"), column("a\"b", "text", "text")];
        let plan = TablePlan::reading("\"public\".\"t\"", columns.clone(), columns);
        assert_eq!(
            PgPool::select(&plan),
            "SELECT o.next_offset, (SELECT row_to_json(r.*)::text FROM (SELECT t.\"id\" AS \"id\", \
             t.\"a\"\"b\" AS \"a\"\"b\" FROM \"public\".\"t\" AS t WHERE t.\"id\" = a.k0::bigint \
             AND t.\"a\"\"b\" = a.k1::text) AS r) FROM unnest($4::integer[], $5::text[], $6::text[]) \
             WITH ORDINALITY AS a(part, k0, k1, place) LEFT JOIN write_behind_offsets AS o \
             ON o.pipeline = $1 AND o.cluster = $2 AND o.topic = $3 AND o.partition = a.part \
             ORDER BY a.place"
        );
    }

    #[test]
    fn a_type_whose_text_depends_on_the_session_is_not_left_to_it() {
        let form = |type_name: &str| json_form("t.c", &column("c", "", type_name).form);
        assert!(form("timestamptz").contains("AT TIME ZONE 'UTC'"));
        assert_eq!(form("date"), "t.c", "`row_to_json` writes it in ISO, a cast by DateStyle");
        assert_eq!(form("interval"), "t.c::text");
    }
}
