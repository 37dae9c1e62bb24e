//! What Postgres tells about this user: missing rights, free connections.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::core::table::Table;
use crate::store::StoreError;
use crate::store::classify::Failure;
use crate::store::inspect::{MissingRight, grants};
use crate::store::postgres::PostgresStore;

/// The rights that the user does not have: on `$1`, of which the columns `$2` are written, on its
/// schema and the sequences of its defaults; on the bookkeeping, where it exists, or to create it.
/// What is granted by columns counts, where it covers them all. The table is found by its name's text:
/// `to_regclass` fails where a right on the schema is missing.
const MISSING_RIGHTS: &str = "WITH target AS (
        SELECT c.oid, n.nspname, n.oid AS schema FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE $1 = concat(chr(34), replace(nspname, chr(34), repeat(chr(34), 2)), chr(34), '.',
            chr(34), replace(relname, chr(34), repeat(chr(34), 2)), chr(34)))
    SELECT 'SCHEMA ' || quote_ident(nspname) AS name, 'USAGE' AS privilege FROM target
        WHERE NOT has_schema_privilege(schema, 'USAGE')
    UNION ALL SELECT 'SEQUENCE ' || d.refobjid::regclass, 'USAGE' FROM target
        JOIN pg_attrdef a ON a.adrelid = target.oid
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
            AND d.refclassid = 'pg_class'::regclass
        JOIN pg_class s ON s.oid = d.refobjid
        WHERE CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') END
    UNION ALL SELECT $1, r.privilege FROM target,
        (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS r(privilege)
        WHERE NOT has_table_privilege(target.oid, r.privilege)
            AND CASE r.privilege WHEN 'DELETE' THEN true ELSE EXISTS (
                SELECT FROM unnest($2::text[]) AS c(name)
                WHERE NOT has_column_privilege(target.oid, c.name, r.privilege)) END
    UNION ALL SELECT 'SCHEMA ' || quote_ident(current_schema()), 'CREATE'
        WHERE to_regclass('write_behind_offsets') IS NULL
            AND NOT has_schema_privilege(current_schema(), 'CREATE')
    UNION ALL SELECT t.name, r.privilege
    FROM (VALUES ('write_behind_offsets', true, false), ('write_behind_writers', true, true),
        ('write_behind_dead_letters', true, true), ('write_behind_last_records', true, false),
        ('write_behind_tables', true, true), ('write_behind_dead_letter_copies', true, false),
        ('write_behind_schema', false, false)) AS t(name, changes, deletes),
        (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS r(privilege)
    WHERE (t.changes OR r.privilege = 'SELECT') AND (t.deletes OR r.privilege <> 'DELETE')
        AND to_regclass(t.name) IS NOT NULL
        AND NOT has_table_privilege(to_regclass(t.name), r.privilege)
    ORDER BY name, privilege";

/// What the server, the database and the role leave, whichever is least.
const FREE_CONNECTIONS: &str = "SELECT least(
        current_setting('max_connections')::bigint
            - current_setting('superuser_reserved_connections')::bigint
            - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        (SELECT nullif(datconnlimit, -1)::bigint - (SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database())
            FROM pg_database WHERE datname = current_database()),
        (SELECT nullif(rolconnlimit, -1)::bigint - (SELECT count(*) FROM pg_stat_activity
            WHERE usename = current_user)
            FROM pg_roles WHERE rolname = current_user)) AS free";

/// Who wants to create tables where.
const WHO: &str = "SELECT quote_ident(current_user) AS who, quote_ident(current_schema()) AS place";

impl PostgresStore {
    /// Why the bookkeeping tables could not be created, with the right that is missing.
    pub(in crate::store) async fn who_may_create(
        &mut self,
        why: String,
    ) -> Result<String, StoreError> {
        let rows = self.fetch(sqlx::query(WHO)).await.map_err(Failure::of_no_row)?;
        let Some(row) = rows.first() else { return Ok(why) };
        let (who, place): (String, Option<String>) = (row.try_get("who")?, row.try_get("place")?);
        let why = why.split("; ").next().unwrap_or(&why).to_owned();
        Ok(match place {
            None => format!("{why}; create a schema of this user's search_path"),
            Some(_) if why.contains("must be owner") => format!("{why}, and this user is {who}"),
            Some(place) if why.contains("42501") => {
                format!("{why}; GRANT CREATE ON SCHEMA {place} TO {who}")
            }
            Some(_) => why,
        })
    }

    pub(in crate::store) async fn missing_rights(
        &mut self,
        table: &Table,
    ) -> Result<Vec<MissingRight>, StoreError> {
        let columns: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
        let query = sqlx::query(MISSING_RIGHTS).bind(&*table.sql_name).bind(columns);
        let rows = self.fetch(query).await.map_err(Failure::of_no_row)?;
        let missing = |row: &PgRow| {
            Ok(MissingRight { table: row.try_get("name")?, right: row.try_get("privilege")? })
        };
        rows.iter().map(missing).collect()
    }

    /// The statements that grant what is missing on the tables; `None`: nothing is.
    pub(in crate::store) async fn missing_grants(
        &mut self,
        tables: &[&Table],
    ) -> Result<Option<String>, StoreError> {
        let mut missing = Vec::new();
        for table in tables {
            missing.append(&mut self.missing_rights(table).await?);
        }
        let rows = self.fetch(sqlx::query(WHO)).await.map_err(Failure::of_no_row)?;
        let user: String =
            rows.first().map(|row| row.try_get("who")).transpose()?.unwrap_or_default();
        Ok((!missing.is_empty()).then(|| grants(&missing, &user)))
    }

    pub(in crate::store) async fn free_connections(&mut self) -> Result<Option<i64>, StoreError> {
        let rows = self.fetch(sqlx::query(FREE_CONNECTIONS)).await.map_err(Failure::of_no_row)?;
        let free = rows.first().map(|row| row.try_get("free")).transpose()?;
        Ok(free.flatten())
    }
}
