//! What the catalogue of MySQL or MariaDB says of a table's surroundings.

use sqlx::{MySqlConnection, Row as _};

use crate::core::table::surroundings::Surrounding;

/// Triggers that run before their event, references by what they do, and columns that updates set. A
/// user without the right TRIGGER sees no trigger.
const SURROUNDINGS: &str = "SELECT CASE event_manipulation WHEN 'INSERT' THEN 'before insert'
            ELSE 'before' END AS what, CAST(trigger_name AS char) AS name
    FROM information_schema.triggers WHERE event_object_schema = ? AND event_object_table = ?
        AND action_timing = 'BEFORE'
    UNION ALL SELECT CASE WHEN r.unique_constraint_schema = t.home
            AND r.referenced_table_name = t.name THEN 'changes' ELSE 'changed' END,
        CAST(r.constraint_name AS char)
    FROM (SELECT ? AS home, ? AS name) AS t JOIN information_schema.referential_constraints AS r
        ON r.constraint_schema = t.home AND r.table_name = t.name
            OR r.unique_constraint_schema = t.home AND r.referenced_table_name = t.name
    WHERE r.delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
        OR r.update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
    UNION ALL SELECT 'sets', CAST(column_name AS char) FROM information_schema.columns
        WHERE table_schema = ? AND table_name = ? AND extra LIKE '%on update%'
    ORDER BY 2";

/// What stands around a table.
pub(super) struct Around {
    pub(super) found: Vec<(Surrounding, String)>,
    /// Whether a trigger sees each row that is proposed as an insert.
    pub(super) sees_inserts: bool,
}

/// What stands around `table`.
pub(super) async fn read(
    connection: &mut MySqlConnection,
    schema: &str,
    table: &str,
) -> Result<Around, sqlx::Error> {
    let mut around = Around { found: Vec::new(), sees_inserts: false };
    let mut query = sqlx::query(SURROUNDINGS);
    for _ in 0..3 {
        query = query.bind(schema).bind(table);
    }
    for row in query.fetch_all(connection).await? {
        let what: String = row.try_get("what")?;
        let kind = match &*what {
            "before insert" | "before" => Surrounding::TriggerBefore,
            "sets" => Surrounding::SetsItself,
            "changes" => Surrounding::ChangesOthers,
            _ => Surrounding::ChangedByOthers,
        };
        around.sees_inserts |= what == "before insert";
        around.found.push((kind, row.try_get("name")?));
    }
    Ok(around)
}
