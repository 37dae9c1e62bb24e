//! What on a Postgres table sees or changes a row that is proposed as an insert, although the row
//! exists: see [`update_before_insert`](crate::core::table::Table::update_before_insert).

use sqlx::postgres::types::Oid;
use sqlx::{PgConnection, Row as _};

/// The facts, of the table and its partitions. An AFTER trigger for each row fires for rows that
/// were inserted, and a foreign key is checked then. The bits of `tgtype`: 1 is for each row, 2
/// before, 4 on INSERT.
const FACTS: &str = "WITH parts AS (SELECT $1::oid AS oid
        UNION SELECT relid::oid FROM pg_partition_tree($1::oid::regclass)),
    attributes AS (SELECT a.attrelid, a.attname, a.atttypid, a.attnotnull, a.attgenerated,
            a.attidentity FROM pg_attribute a JOIN parts p ON p.oid = a.attrelid
        WHERE a.attnum > 0 AND NOT a.attisdropped),
    triggers AS (SELECT g.tgrelid, g.tgtype FROM pg_trigger g JOIN parts p ON p.oid = g.tgrelid
        WHERE NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND g.tgtype & 4 <> 0)
    SELECT EXISTS (SELECT FROM pg_constraint k JOIN parts p ON p.oid = k.conrelid
            WHERE k.contype = 'c')
        OR EXISTS (SELECT FROM pg_class c WHERE c.oid = $1 AND c.relispartition) AS constraints,
        EXISTS (SELECT FROM attributes a JOIN pg_type t ON t.oid = a.atttypid
            WHERE t.typtype = 'd' OR a.attgenerated <> '' OR a.attidentity = 'a')
        OR EXISTS (SELECT FROM attributes part JOIN attributes a ON a.attname = part.attname
            WHERE a.attrelid = $1 AND part.attnotnull AND NOT a.attnotnull) AS columns,
        EXISTS (SELECT FROM triggers g WHERE g.tgtype & 3 = 3) AS row_triggers,
        EXISTS (SELECT FROM triggers g WHERE g.tgrelid = $1 AND g.tgtype & 1 = 0)
            AS statement_triggers";

/// What sees proposed rows.
pub(super) struct Proposed {
    /// The table as a whole, or one of its partitions.
    pub(super) is_seen: bool,
    /// A trigger that fires once for each INSERT statement.
    pub(super) by_statement: bool,
}

/// Asks the catalogue about the table `oid`.
pub(super) async fn of(connection: &mut PgConnection, oid: Oid) -> Result<Proposed, sqlx::Error> {
    let facts = sqlx::query(FACTS).bind(oid).fetch_one(connection).await?;
    let fact = |name| facts.try_get::<bool, _>(name);
    let by_statement = fact("statement_triggers")?;
    let by_row = fact("constraints")? || fact("columns")? || fact("row_triggers")?;
    Ok(Proposed { is_seen: by_row || by_statement, by_statement })
}
