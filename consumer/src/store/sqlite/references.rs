//! The foreign keys of an SQLite table to itself, and what a delete does to its other rows. SQLite
//! compares table names case-insensitively.

use sqlx::{Row as _, SqliteConnection};

use crate::core::table::OwnReference;
use crate::store::references::{DeleteAction, losing_rows, may_touch, own_references, reach_back};
use crate::store::sqlite::surroundings::body;

/// All foreign keys. A missing `to` is the primary key.
const KEYS: &str = "SELECT lower(m.name) AS child, lower(f.\"table\") AS parent,
        CAST(f.id AS text) AS name, f.\"from\" AS found_column, coalesce(f.\"to\", (SELECT p.name
            FROM pragma_table_info(f.\"table\") AS p WHERE p.pk = f.seq + 1), '') AS referenced,
        f.on_delete AS on_delete
    FROM sqlite_schema AS m JOIN pragma_foreign_key_list(m.name) AS f
    WHERE m.type = 'table' ORDER BY m.name, f.id, f.seq";

const TRIGGERS: &str = "SELECT lower(tbl_name) AS found_table, sql AS body FROM sqlite_schema
    WHERE type = 'trigger'";

/// The foreign keys of the table `name` to itself, and whether a delete from it may delete or change
/// other rows of it.
pub(super) async fn of(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<(Vec<OwnReference>, bool), sqlx::Error> {
    let table = name.to_lowercase();
    let (mut own, mut actions) = (Vec::new(), Vec::new());
    for row in sqlx::query(KEYS).fetch_all(&mut *connection).await? {
        let (child, parent): (String, String) = (row.try_get("child")?, row.try_get("parent")?);
        let on_delete: String = row.try_get("on_delete")?;
        if child == table && parent == table {
            own.push((
                row.try_get("name")?,
                row.try_get("found_column")?,
                row.try_get("referenced")?,
            ));
        }
        if matches!(&*on_delete, "CASCADE" | "SET NULL" | "SET DEFAULT") {
            actions.push(DeleteAction { child, parent, cascades: on_delete == "CASCADE" });
        }
    }
    let losing = losing_rows(&table, &actions);
    let mut touches = false;
    for row in sqlx::query(TRIGGERS).fetch_all(connection).await? {
        let (of, text): (String, String) = (row.try_get("found_table")?, row.try_get("body")?);
        let body = body(&text);
        let head = &text[..text.len() - body.len()];
        let on_delete = head.to_ascii_uppercase().contains("DELETE");
        touches |= on_delete && losing.contains(&of) && may_touch(body, &table);
    }
    Ok((own_references(own), touches || reach_back(&table, &actions)))
}
