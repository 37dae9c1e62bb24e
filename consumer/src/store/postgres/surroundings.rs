//! What Postgres' catalogue says of a table's surroundings, and of its partitions'.

use sqlx::postgres::types::Oid;
use sqlx::{PgConnection, Row as _};

use crate::core::table::surroundings::Surrounding;
use crate::store::StoreError;
use crate::store::references::may_change;

/// Enabled triggers of rows, before their event; the partitions' own ones, too. Rules of the table
/// that statements name. A partition's kind and replica identity. References, by what they do.
const SURROUNDINGS: &str = "WITH tree AS (
        SELECT $1::oid AS oid UNION SELECT relid::oid FROM pg_partition_tree($1)),
    leaves AS (SELECT c.oid, c.relname::text AS name, c.relkind AS kind,
            c.relpersistence AS persistence, n.nspname AS schema,
            CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false
                ELSE EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
                    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END)
            END AS identified
        FROM tree JOIN pg_class c ON c.oid = tree.oid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind <> 'p'),
    identity AS (SELECT leaves.oid AS leaf, a.attname FROM leaves
        JOIN pg_class c ON c.oid = leaves.oid
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i
            WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey)
            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END)),
    published AS (SELECT p.pubname::text AS name, leaves.oid AS leaf, r.prrelid AS home,
            to_jsonb(r) ->> 'prattrs' AS listed, to_jsonb(r) ->> 'prqual' AS filter
        FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
        JOIN leaves ON r.prrelid IN ($1, leaves.oid) WHERE p.pubupdate OR p.pubdelete),
    actions AS (SELECT k.conname::text AS name, k.conrelid, k.confrelid,
            k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd') AS acts
        FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0)
    SELECT 'before' AS what, t.tgname::text AS name FROM tree
        JOIN pg_trigger t ON t.tgrelid = tree.oid
        WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 3 = 3
    UNION SELECT 'rule', r.rulename::text FROM pg_rewrite r
        WHERE r.ev_class = $1 AND r.ev_type IN ('2', '3', '4') AND r.ev_enabled IN ('O', 'A')
    UNION SELECT 'unlogged', name FROM leaves WHERE persistence = 'u'
    UNION SELECT 'foreign', name FROM leaves WHERE kind = 'f'
    UNION SELECT 'unidentified', name FROM leaves
        WHERE NOT identified AND CASE WHEN NOT identified THEN EXISTS (
            SELECT FROM pg_publication_tables v JOIN pg_publication p ON p.pubname = v.pubname
            JOIN tree ON true JOIN pg_class c ON c.oid = tree.oid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE (p.pubupdate OR p.pubdelete) AND v.schemaname = n.nspname
                AND v.tablename = c.relname AND c.oid IN ($1, leaves.oid)) END
    UNION SELECT 'half published', u.name FROM published u
        WHERE u.listed IS NOT NULL AND EXISTS (SELECT FROM identity d
            WHERE d.leaf = u.leaf AND NOT EXISTS (SELECT FROM pg_attribute a
                WHERE a.attrelid = u.home AND a.attname = d.attname
                AND a.attnum::text = ANY (regexp_split_to_array(u.listed, '[^0-9]+'))))
        OR EXISTS (SELECT FROM regexp_matches(u.filter, ':varattno ([0-9]+)', 'g') AS m(found)
            JOIN pg_attribute a ON a.attrelid = u.home AND a.attnum::text = m.found[1]
            WHERE NOT EXISTS (SELECT FROM identity d
                WHERE d.leaf = u.leaf AND d.attname = a.attname))
    UNION SELECT 'changes', name FROM actions
        WHERE acts AND confrelid = $1
    UNION SELECT 'changed', name FROM actions
        WHERE acts AND conrelid = $1 AND confrelid <> $1
    ORDER BY what, name";

/// Enabled triggers that run after an INSERT or UPDATE, each with its function. Of C and of the server's
/// own functions there is no text.
const AFTER: &str = "SELECT t.tgname::text AS name, p.prosrc AS body
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
    WHERE t.tgrelid IN (SELECT $1::oid UNION SELECT relid::oid FROM pg_partition_tree($1))
        AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 2 = 0
        AND t.tgtype & 20 <> 0 AND l.lanname NOT IN ('c', 'internal')
    ORDER BY t.tgname";

/// What stands around the table `name`.
pub(super) async fn read(
    connection: &mut PgConnection,
    table: Oid,
    name: &str,
) -> Result<Vec<(Surrounding, String)>, StoreError> {
    let mut found = Vec::new();
    for row in sqlx::query(AFTER).bind(table).fetch_all(&mut *connection).await? {
        if may_change(row.try_get("body")?, name) {
            found.push((Surrounding::TriggerAfter, row.try_get("name")?));
        }
    }
    for row in sqlx::query(SURROUNDINGS).bind(table).fetch_all(connection).await? {
        let what: String = row.try_get("what")?;
        let kind = match &*what {
            "before" => Surrounding::TriggerBefore,
            "rule" => Surrounding::Rule,
            "unlogged" => Surrounding::UnloggedPartition,
            "foreign" => Surrounding::ForeignPartition,
            "unidentified" => Surrounding::NoReplicaIdentity,
            "half published" => Surrounding::HalfPublished,
            "changes" => Surrounding::ChangesOthers,
            _ => Surrounding::ChangedByOthers,
        };
        found.push((kind, row.try_get("name")?));
    }
    Ok(found)
}
