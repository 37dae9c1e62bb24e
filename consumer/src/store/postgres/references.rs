//! The foreign keys of a Postgres table to itself, and what a delete does to its other rows.

use sqlx::postgres::types::Oid;
use sqlx::{PgConnection, Row as _};

use crate::core::table::OwnReference;
use crate::store::references::{DeleteAction, losing_rows, may_touch, reach_back};

const OWN: &str = "SELECT array(SELECT a.attname::text
            FROM unnest(k.conkey) WITH ORDINALITY AS c(attnum, place)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.attnum
            ORDER BY c.place) AS columns,
        array(SELECT a.attname::text
            FROM unnest(k.confkey) WITH ORDINALITY AS c(attnum, place)
            JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = c.attnum
            ORDER BY c.place) AS referenced
    FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = $1 AND k.confrelid = $1";

const ACTIONS: &str =
    "SELECT k.conrelid::bigint::text AS child, k.confrelid::bigint::text AS parent,
        k.confdeltype = 'c' AS cascades
    FROM pg_constraint k WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd')";

/// The functions of triggers that a delete from one of the tables fires. Bit 8 of `tgtype` is
/// DELETE. Only of these two languages is the source text of a function.
const TRIGGERS: &str =
    "SELECT DISTINCT p.prosrc AS body, l.lanname IN ('plpgsql', 'sql') AS is_text
    FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_language l ON l.oid = p.prolang
    WHERE NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND g.tgtype & 8 <> 0
        AND l.lanname NOT IN ('c', 'internal')
        AND g.tgrelid::bigint::text = ANY($1)";

/// The foreign keys of the table to itself.
pub(super) async fn own(
    connection: &mut PgConnection,
    oid: Oid,
) -> Result<Vec<OwnReference>, sqlx::Error> {
    let rows = sqlx::query(OWN).bind(oid).fetch_all(connection).await?;
    let reference = |row: &sqlx::postgres::PgRow| {
        let (columns, referenced) = (row.try_get("columns")?, row.try_get("referenced")?);
        Ok(OwnReference { columns, referenced })
    };
    rows.iter().map(reference).collect()
}

/// Whether a delete from the table `name` may delete or change other rows of it.
pub(super) async fn deletes_reach_others(
    connection: &mut PgConnection,
    oid: Oid,
    name: &str,
) -> Result<bool, sqlx::Error> {
    let mut actions = Vec::new();
    for row in sqlx::query(ACTIONS).fetch_all(&mut *connection).await? {
        actions.push(DeleteAction {
            child: row.try_get("child")?,
            parent: row.try_get("parent")?,
            cascades: row.try_get("cascades")?,
        });
    }
    let table = oid.0.to_string();
    let losing: Vec<String> = losing_rows(&table, &actions).into_iter().collect();
    let mut touches = false;
    for row in sqlx::query(TRIGGERS).bind(losing).fetch_all(connection).await? {
        let body: String = row.try_get("body")?;
        touches |= !row.try_get::<bool, _>("is_text")? || may_touch(&body, name);
    }
    Ok(touches || reach_back(&table, &actions))
}
