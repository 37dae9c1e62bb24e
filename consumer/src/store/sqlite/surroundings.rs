//! What SQLite's schema says of a table's surroundings.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::core::table::surroundings::Surrounding;
use crate::store::StoreError;

/// Triggers, and references by what they do.
const SURROUNDINGS: &str = "SELECT 'trigger' AS what, name, sql FROM sqlite_schema
        WHERE type = 'trigger' AND tbl_name = $1 COLLATE NOCASE
    UNION ALL SELECT
        CASE WHEN f.\"table\" = $1 COLLATE NOCASE THEN 'changes' ELSE 'changed' END,
        s.name || '.' || f.\"from\", ''
    FROM sqlite_schema AS s JOIN pragma_foreign_key_list(s.name) AS f
    WHERE s.type = 'table' AND (s.name = $1 COLLATE NOCASE OR f.\"table\" = $1 COLLATE NOCASE)
        AND (f.on_delete IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
            OR f.on_update IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))
    ORDER BY 1, 2";

/// What stands around the table.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<Vec<(Surrounding, String)>, StoreError> {
    let rows = sqlx::query(SURROUNDINGS).bind(table).fetch_all(connection).await?;
    let found = rows.iter().map(surrounding).collect::<Result<Vec<_>, _>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// `None`: a trigger that runs after its event.
fn surrounding(row: &SqliteRow) -> Result<Option<(Surrounding, String)>, sqlx::Error> {
    let (what, sql): (String, String) = (row.try_get("what")?, row.try_get("sql")?);
    let kind = match &*what {
        "trigger" if !runs_before(&sql) => return Ok(None),
        "trigger" => Surrounding::TriggerBefore,
        "changes" => Surrounding::ChangesOthers,
        _ => Surrounding::ChangedByOthers,
    };
    Ok(Some((kind, row.try_get("name")?)))
}

/// Whether a trigger's text says that it runs before its event, as it does unless it says AFTER.
fn runs_before(sql: &str) -> bool {
    let words: Vec<String> = sql.split_whitespace().map(str::to_ascii_uppercase).collect();
    let is_event = |at: &usize| {
        matches!(&*words[*at], "INSERT" | "UPDATE" | "DELETE")
            && words.get(at + 1).is_some_and(|next| next == "ON" || next == "OF")
    };
    let event = (1..words.len()).find(is_event);
    event.is_none_or(|at| words[at - 1] != "AFTER")
}
