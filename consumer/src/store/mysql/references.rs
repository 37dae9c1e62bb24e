//! The foreign keys of a MySQL table to itself, and what a delete does to its other rows. No trigger
//! can change the table that it is on.

use sqlx::{MySqlConnection, Row as _};

use crate::core::table::OwnReference;
use crate::store::references::{DeleteAction, own_references, reach_back};

const OWN: &str = "SELECT CAST(constraint_name AS char) AS name,
        CAST(column_name AS char) AS found_column,
        CAST(referenced_column_name AS char) AS referenced
    FROM information_schema.key_column_usage
    WHERE table_schema = ? AND table_name = ? AND referenced_table_schema = table_schema
        AND referenced_table_name = table_name
    ORDER BY constraint_name, ordinal_position";

const ACTIONS: &str = "SELECT CAST(table_name AS char) AS child,
        CAST(referenced_table_name AS char) AS parent, delete_rule = 'CASCADE' AS cascades
    FROM information_schema.referential_constraints
    WHERE constraint_schema = ? AND unique_constraint_schema = constraint_schema
        AND delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')";

/// The foreign keys of `table` to itself, and whether a delete from it may delete or change other
/// rows of it.
pub(super) async fn of(
    connection: &mut MySqlConnection,
    schema: &str,
    table: &str,
) -> Result<(Vec<OwnReference>, bool), sqlx::Error> {
    let mut own = Vec::new();
    for row in sqlx::query(OWN).bind(schema).bind(table).fetch_all(&mut *connection).await? {
        own.push((row.try_get("name")?, row.try_get("found_column")?, row.try_get("referenced")?));
    }
    let mut actions = Vec::new();
    for row in sqlx::query(ACTIONS).bind(schema).fetch_all(connection).await? {
        actions.push(DeleteAction {
            child: row.try_get("child")?,
            parent: row.try_get("parent")?,
            cascades: row.try_get("cascades")?,
        });
    }
    Ok((own_references(own), reach_back(table, &actions)))
}
