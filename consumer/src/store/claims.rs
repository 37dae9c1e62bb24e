//! The claims on target tables: whose a table is, and which table a topic's offsets speak of.

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::claim::Claim;
use crate::core::table::Table;
use crate::store::StoreError;
use crate::store::line::{Line, select};
use crate::store::statement::{Statement, Statements, Value, ValueKind};

/// The claims on the table, by its name or its identity, and those of the topic.
pub(super) async fn claims<S: Statements>(
    store: &mut S,
    table: &Table,
    scope: &BookkeepingKey,
) -> Result<Vec<Claim>, StoreError> {
    let name = table.sql_name.clone();
    // Only a certain identity finds a table under another name.
    let identity = table.identity.pattern();
    let statement = Statement::new(store.dialect(), &[ValueKind::Text; 5])
        .add(
            "SELECT table_name, pipeline, cluster, topic, identity FROM write_behind_tables
            WHERE table_name = ? OR identity LIKE ?",
            [name.into(), identity.into()],
        )
        .add(
            " OR (pipeline = ? AND cluster = ? AND topic = ?) ORDER BY since DESC",
            scope.values(),
        );
    let claim = |line: &mut Line| {
        let table = line.text()?;
        let (pipeline, cluster, topic) = (line.text()?, line.text()?, line.text()?);
        let scope = BookkeepingKey { pipeline, cluster, topic };
        Some(Claim { table, scope, identity: line.nullable_text()? })
    };
    select(store, statement, "write_behind_tables", claim).await
}

/// Notes that the topic's offsets speak of this table, unless it is another topic's, and of no other
/// one.
pub(super) async fn note_claim<S: Statements>(
    store: &mut S,
    table: &Table,
    scope: &BookkeepingKey,
) -> Result<(), StoreError> {
    let dialect = store.dialect();
    let name = table.sql_name.clone();
    let update = Statement::new(dialect, &[])
        .add("UPDATE write_behind_tables SET identity = ?", [table.identity.text().into()])
        .of_topic(scope)
        .add(" AND table_name = ?", [name.clone().into()]);
    if store.perform(update).await? == 0 {
        insert(store, table, scope).await?;
    }
    let others = Statement::new(dialect, &[])
        .add("DELETE FROM write_behind_tables", [])
        .of_topic(scope)
        .add(" AND table_name <> ?", [name.into()]);
    store.perform(others).await.map(|_| ())
}

async fn insert<S: Statements>(
    store: &mut S,
    table: &Table,
    scope: &BookkeepingKey,
) -> Result<(), StoreError> {
    let dialect = store.dialect();
    let insert = Statement::new(dialect, &[])
        .add(
            "INSERT INTO write_behind_tables (pipeline, cluster, topic, table_name, identity)
            VALUES (?, ?, ?",
            scope.values(),
        )
        .add(", ?, ?)", [table.sql_name.clone().into(), table.identity.text().into()])
        .add(dialect.unless_there, []);
    store.perform(insert).await.map(|_| ())
}

/// Gives the table to `to` alone, whatever owner it had, and drops the claims of `from`.
pub(super) async fn replace<S: Statements>(
    store: &mut S,
    table: &Table,
    from: &BookkeepingKey,
    to: &BookkeepingKey,
) -> Result<(), StoreError> {
    let dialect = store.dialect();
    let delete = || Statement::new(dialect, &[]).add("DELETE FROM write_behind_tables", []);
    store.perform(delete().of_topic(from)).await?;
    store.perform(delete().of_topic(to)).await?;
    let of_the_name = delete().add(" WHERE table_name = ?", [table.sql_name.clone().into()]);
    store.perform(of_the_name).await?;
    insert(store, table, to).await
}

/// Whether the table has no rows.
pub(super) async fn is_empty<S: Statements>(
    store: &mut S,
    table: &Table,
) -> Result<bool, StoreError> {
    let mut statement = Statement::new(store.dialect(), &[ValueKind::Integer]);
    // Not by `add`, which would take a question mark in the name for a value's place.
    statement.text =
        format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT 1) AS first", table.sql_name);
    let lines = store.select(statement).await?;
    Ok(lines.iter().flatten().all(|count| *count == Value::Integer(0)))
}
