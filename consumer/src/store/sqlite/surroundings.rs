//! What SQLite's schema says of a table's surroundings.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::core::table::surroundings::Surrounding;
use crate::store::StoreError;
use crate::store::references::may_change;

/// The table itself, triggers, and references by what they do.
const SURROUNDINGS: &str = "SELECT type AS what, name, sql FROM sqlite_schema
        WHERE type IN ('table', 'trigger') AND tbl_name = $1 COLLATE NOCASE
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
    let found = rows.iter().map(|row| surrounding(row, table)).collect::<Result<Vec<_>, _>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// `None`: it is harmless.
fn surrounding(row: &SqliteRow, table: &str) -> sqlx::Result<Option<(Surrounding, String)>> {
    let (what, sql): (String, String) = (row.try_get("what")?, row.try_get("sql")?);
    let kind = match &*what {
        "table" => return Ok(conflict_clause(&sql).map(|clause| (Surrounding::Drops, clause))),
        "trigger" if runs_before(&sql) => Surrounding::TriggerBefore,
        "trigger" if may_change(body(&sql), table) => Surrounding::TriggerAfter,
        "trigger" => return Ok(None),
        "changes" => Surrounding::ChangesOthers,
        _ => Surrounding::ChangedByOthers,
    };
    Ok(Some((kind, row.try_get("name")?)))
}

/// What of a trigger's text follows its first BEGIN: what comes before names the trigger's table.
pub(super) fn body(sql: &str) -> &str {
    &sql[sql.to_ascii_uppercase().find("BEGIN").unwrap_or(sql.len())..]
}

/// The clause of a table's text by which a constraint drops rows instead of refusing them. Only the
/// text tells.
fn conflict_clause(sql: &str) -> Option<String> {
    let words = words(sql);
    let mut clauses = words.windows(3).filter(|clause| clause[..2] == ["ON", "CONFLICT"]);
    let clause = clauses.find(|clause| matches!(&*clause[2], "REPLACE" | "IGNORE"))?;
    Some(clause.join(" "))
}

/// The words of a text in SQL in capitals, without what is quoted and without comments.
fn words(sql: &str) -> Vec<String> {
    let (mut words, mut word, mut rest) = (Vec::new(), String::new(), sql);
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '\'' | '"' | '`' => Some(c.to_string()),
            '[' => Some("]".to_owned()),
            _ if rest.starts_with("--") => Some("\n".to_owned()),
            _ if rest.starts_with("/*") => Some("*/".to_owned()),
            _ => None,
        };
        rest = match end {
            // A quote that is doubled ends one quoted text and begins another.
            Some(end) => rest[c.len_utf8()..].split_once(&*end).map_or("", |(_, after)| after),
            None => &rest[c.len_utf8()..],
        };
        if c.is_alphanumeric() || c == '_' {
            word.extend(c.to_uppercase());
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// Whether a trigger's text says that it runs before its event, as it does unless it says AFTER.
fn runs_before(sql: &str) -> bool {
    let words = words(sql);
    let is_event = |at: &usize| {
        matches!(&*words[*at], "INSERT" | "UPDATE" | "DELETE")
            && words.get(at + 1).is_some_and(|next| next == "ON" || next == "OF")
    };
    let event = (1..words.len()).find(is_event);
    event.is_none_or(|at| words[at - 1] != "AFTER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_that_drops_rows_is_found_in_a_tables_text_and_nowhere_else() {
        for (sql, found) in [
            ("CREATE TABLE t (a PRIMARY KEY ON CONFLICT REPLACE)", Some("ON CONFLICT REPLACE")),
            ("CREATE TABLE t (a UNIQUE on\n conflict/**/ignore, b)", Some("ON CONFLICT IGNORE")),
            (
                "CREATE TABLE t (a, UNIQUE (a) ON CONFLICT -- so\n REPLACE)",
                Some("ON CONFLICT REPLACE"),
            ),
            ("CREATE TABLE t (a UNIQUE ON CONFLICT FAIL, b NOT NULL ON CONFLICT ABORT)", None),
            ("CREATE TABLE t (a DEFAULT 'ON CONFLICT REPLACE')", None),
            ("CREATE TABLE t (a DEFAULT 'it''s ON CONFLICT REPLACE')", None),
            ("CREATE TABLE t (\"ON CONFLICT REPLACE\" int, [ON CONFLICT IGNORE] int)", None),
            ("CREATE TABLE t (a /* ON CONFLICT REPLACE */ int -- ON CONFLICT IGNORE\n)", None),
            ("CREATE TABLE t (on_conflict, replace)", None),
        ] {
            assert_eq!(conflict_clause(sql).as_deref(), found, "{sql}");
        }
    }
}
