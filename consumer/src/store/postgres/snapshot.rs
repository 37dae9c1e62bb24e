//! Postgres' snapshot: a read-only transaction in which every statement sees the same rows.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Row as _};
use write_behind_shared::table_name::quoted;

use crate::core::table::row::Row;
use crate::core::table::{Column, ColumnKind, Table};
use crate::store::StoreError;
use crate::store::classify::Failure;
use crate::store::postgres::PostgresStore;
use crate::store::snapshot::{Compared, Snapshot, compared, keys_of};
use crate::store::sql::{comparison, next_keys};

/// The first query takes the snapshot. The log is read between two questions, and may take longer
/// than a transaction may stand idle.
const FREEZE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL idle_in_transaction_session_timeout = 0; SELECT 1";

/// The columns' types with their modifiers: a value is rounded as the column would round it.
const TYPES: &str = "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type
    FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";

impl Snapshot for PostgresStore {
    async fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        self.run(FREEZE).await.map_err(Failure::of_no_row)
    }

    async fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row<'_>],
    ) -> Result<Vec<Compared>, StoreError> {
        let types = self.fetch(sqlx::query(TYPES).bind(&*table.sql_name)).await;
        let types = types.map_err(Failure::of_no_row)?;
        let typed = |row: &sqlx::postgres::PgRow| Ok((row.try_get("name")?, row.try_get("type")?));
        let types = types.iter().map(typed).collect::<Result<_, sqlx::Error>>()?;
        let sql = compare(table, shape, &types);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for column in 0..table.key.len() + shape.len() {
            let texts = rows.iter().map(|row| row.texts().nth(column).flatten());
            query = query.bind(texts.collect::<Vec<_>>());
        }
        let found = self.fetch(query).await.map_err(Failure::of_no_row)?;
        compared(&found, shape.len())
    }

    async fn keys(
        &mut self,
        table: &Table,
        after: Option<&[String]>,
        limit: usize,
    ) -> Result<Vec<Vec<String>>, StoreError> {
        let names: Vec<String> = table.key.iter().map(|key| quoted(&key.name)).collect();
        let typed = table.key.iter().enumerate().map(|(at, key)| {
            let column = table.column(&key.name).map(|place| &*table.columns[place].sql_type);
            format!("${}::text::{}", at + 1, column.unwrap_or("text"))
        });
        let behind = format!("({}) > ({})", names.join(", "), typed.collect::<Vec<_>>().join(", "));
        let sql = next_keys(table, |_, name| format!("{name}::text"), after.map(|_| behind), limit);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for text in after.unwrap_or_default() {
            query = query.bind(text.clone());
        }
        let rows = self.fetch(query).await.map_err(Failure::of_no_row)?;
        keys_of(&rows)
    }

    async fn end_snapshot(&mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK").await.map_err(Failure::of_no_row)
    }
}

/// Finds the rows that differ. Parameters: an array a key column, then an array a column of the
/// shape.
fn compare(table: &Table, shape: &[usize], types: &BTreeMap<String, String>) -> String {
    let keys = table.key.iter().filter_map(|key| table.column(&key.name));
    let places: Vec<usize> = keys.chain(shape.iter().copied()).collect();
    let given = |at: usize, place: &usize| {
        let column = &table.columns[*place];
        let exact = types.get(&column.name).unwrap_or(&column.sql_type);
        format!("u.p{at}::{exact} AS c{at}")
    };
    let list = |item: &dyn Fn(usize, &usize) -> String| {
        let items = places.iter().enumerate().map(|(at, place)| item(at, place));
        items.collect::<Vec<_>>().join(", ")
    };
    let arrays = list(&|at, _| format!("${}::text[]", at + 1));
    let names = list(&|at, _| format!("p{at}"));
    let same = table.key.iter().enumerate();
    let same = same.map(|(at, key)| format!("t.{} = g.c{at}", quoted(&key.name)));
    let of_shape = shape.iter().zip(table.key.len()..).map(|(place, at)| {
        let column = &table.columns[*place];
        let name = quoted(&column.name);
        let differs = differs(at, &name, column);
        [differs, format!("g.c{at}::text"), format!("t.{name}::text")]
    });
    let (told, wrong) = comparison(table, "g.ord - 1", &of_shape.collect::<Vec<_>>());
    format!(
        "SELECT {told} \
         FROM (SELECT u.ord, {given} FROM unnest({arrays}) WITH ORDINALITY AS u({names}, ord)) AS g \
         LEFT JOIN {table} AS t ON {same} WHERE {wrong} ORDER BY g.ord",
        given = list(&given),
        table = table.sql_name,
        same = same.collect::<Vec<_>>().join(" AND "),
    )
}

/// Whether a column differs. Sums of floats depend on where batches ended, but not by much.
fn differs(at: usize, name: &str, column: &Column) -> String {
    match &column.kind {
        ColumnKind::Numeric(_) | ColumnKind::Integer(_) | ColumnKind::Ordinal(_) => {
            format!("(t.{name} IS DISTINCT FROM g.c{at})")
        }
        // Only `jsonb` has an equality, and not all that is `json` can be `jsonb`.
        ColumnKind::Json if column.sql_type == "jsonb" => {
            format!("(t.{name} IS DISTINCT FROM g.c{at})")
        }
        ColumnKind::Float(float) => format!(
            "coalesce(abs(t.{name} - g.c{at}) > {near} * greatest(abs(t.{name}), abs(g.c{at})), \
             (t.{name} IS NULL) <> (g.c{at} IS NULL))",
            near = if float.single { "1e-5" } else { "1e-9" },
        ),
        _ => format!("(t.{name}::text IS DISTINCT FROM g.c{at}::text)"),
    }
}
