//! What Postgres tells about this user: missing rights, free connections.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::core::table::Table;
use crate::store::StoreError;
use crate::store::classify::Failure;
use crate::store::inspect::MissingRight;
use crate::store::postgres::PostgresStore;

/// The rights on `$1` and on the bookkeeping, where it exists, that the user does not have.
const MISSING_RIGHTS: &str = "SELECT t.name AS name, r.privilege AS privilege
    FROM (VALUES ($1, true, true), ('write_behind_offsets', true, false),
        ('write_behind_writers', true, true), ('write_behind_dead_letters', true, true),
        ('write_behind_last_records', true, false), ('write_behind_tables', false, false),
        ('write_behind_dead_letter_copies', true, false)) AS t(name, updates, deletes),
        (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS r(privilege)
    WHERE (t.updates OR r.privilege <> 'UPDATE') AND (t.deletes OR r.privilege <> 'DELETE')
        AND to_regclass(t.name) IS NOT NULL
        AND NOT has_table_privilege(to_regclass(t.name), r.privilege)
    ORDER BY t.name, r.privilege";

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

impl PostgresStore {
    pub(in crate::store) async fn missing_rights(
        &mut self,
        table: &Table,
    ) -> Result<Vec<MissingRight>, StoreError> {
        let query = sqlx::query(MISSING_RIGHTS).bind(&*table.sql_name);
        let rows = self.fetch(query).await.map_err(Failure::of_no_row)?;
        let missing = |row: &PgRow| {
            Ok(MissingRight { table: row.try_get("name")?, right: row.try_get("privilege")? })
        };
        rows.iter().map(missing).collect()
    }

    pub(in crate::store) async fn free_connections(&mut self) -> Result<Option<i64>, StoreError> {
        let rows = self.fetch(sqlx::query(FREE_CONNECTIONS)).await.map_err(Failure::of_no_row)?;
        let free = rows.first().map(|row| row.try_get("free")).transpose()?;
        Ok(free.flatten())
    }
}
