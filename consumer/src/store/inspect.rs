//! The claim on a target table: only one topic's records go to a table.

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::table::Table;
use crate::store::StoreError;
use crate::store::statement::{Statement, Statements, Value, ValueKind, unreadable};

/// A right that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// The table, as SQL spells it.
    pub table: String,
    /// Such as `INSERT`.
    pub right: String,
}

/// Makes the table this topic's unless it is another's, and says whose it is.
pub(super) async fn claim<S: Statements>(
    store: &mut S,
    table: &Table,
    scope: &BookkeepingKey,
) -> Result<BookkeepingKey, StoreError> {
    let dialect = store.dialect();
    let statement = Statement::new(dialect, &[])
        .add(
            "INSERT INTO write_behind_tables (pipeline, cluster, topic, table_name) VALUES (?, ?, ?",
            scope.values(),
        )
        .add(", ?)", [table.sql_name.clone().into()])
        .add(dialect.unless_there, []);
    store.perform(statement).await?;
    // Read back, because two consumers may insert at once and the key lets one of them win.
    owner(store, table).await?.ok_or_else(|| {
        StoreError::Unavailable("another consumer has just given the table up".to_owned())
    })
}

/// Whose the table is; `None`: nobody's yet.
pub(super) async fn owner<S: Statements>(
    store: &mut S,
    table: &Table,
) -> Result<Option<BookkeepingKey>, StoreError> {
    let statement = Statement::new(store.dialect(), &[ValueKind::Text; 3]).add(
        "SELECT pipeline, cluster, topic FROM write_behind_tables WHERE table_name = ?",
        [table.sql_name.clone().into()],
    );
    let mut lines = store.select(statement).await?;
    let Some(line) = lines.pop() else { return Ok(None) };
    match <[Value; 3]>::try_from(line) {
        Ok([Value::Text(Some(pipeline)), Value::Text(Some(cluster)), Value::Text(Some(topic))]) => {
            Ok(Some(BookkeepingKey { pipeline, cluster, topic }))
        }
        _ => Err(unreadable("write_behind_tables")),
    }
}
