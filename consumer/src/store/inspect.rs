//! Questions to the database that are no part of writing: where a topic stands, whose a table is, what
//! the user may do, how many connections are left.
//!
//! Only [`Inspect::claim`] changes anything.

use sqlx::Row as _;

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::table::Table;
use crate::store::classify::{self, Failure};
use crate::store::mysql::MysqlStore;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::statement::{Statement, Statements, Value, ValueKind, unreadable};
use crate::store::{Known, Store, StoreError, positions};

/// A right that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// The table, as SQL spells it.
    pub table: String,
    /// Such as `INSERT`.
    pub right: String,
}

/// A database that answers questions about itself.
pub trait Inspect: Store {
    /// All partitions of a topic that the database knows, as of one moment.
    fn known(
        &mut self,
        scope: &BookkeepingKey,
    ) -> impl Future<Output = Result<Vec<Known>, StoreError>> + Send;

    /// Makes the table this topic's unless it is another's, and says whose it is.
    fn claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> impl Future<Output = Result<BookkeepingKey, StoreError>> + Send;

    /// Whose the table is; `None`: nobody's yet.
    fn owner(
        &mut self,
        table: &Table,
    ) -> impl Future<Output = Result<Option<BookkeepingKey>, StoreError>> + Send;

    /// The rights that `run` needs on a table and on the bookkeeping and that the user does not have.
    fn missing_rights(
        &mut self,
        table: &Table,
    ) -> impl Future<Output = Result<Vec<MissingRight>, StoreError>> + Send;

    /// How many more connections this user could make; `None`: the database does not say.
    fn free_connections(&mut self) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send;
}

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

impl Inspect for PostgresStore {
    async fn known(&mut self, scope: &BookkeepingKey) -> Result<Vec<Known>, StoreError> {
        positions::known(self, scope).await
    }

    async fn claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> Result<BookkeepingKey, StoreError> {
        claim(self, table, scope).await
    }

    async fn owner(&mut self, table: &Table) -> Result<Option<BookkeepingKey>, StoreError> {
        owner(self, table).await
    }

    async fn missing_rights(&mut self, table: &Table) -> Result<Vec<MissingRight>, StoreError> {
        let query = sqlx::query(MISSING_RIGHTS).bind(&*table.sql_name);
        let rows = self.fetch(query).await.map_err(Failure::of_no_row)?;
        let missing = |row: &sqlx::postgres::PgRow| {
            Ok(MissingRight { table: row.try_get("name")?, right: row.try_get("privilege")? })
        };
        rows.iter().map(missing).collect::<Result<_, _>>().map_err(postgres_failed)
    }

    async fn free_connections(&mut self) -> Result<Option<i64>, StoreError> {
        let rows = self.fetch(sqlx::query(FREE_CONNECTIONS)).await.map_err(Failure::of_no_row)?;
        let free = rows.first().map(|row| row.try_get("free")).transpose();
        free.map(Option::flatten).map_err(postgres_failed)
    }
}

impl Inspect for SqliteStore {
    async fn known(&mut self, scope: &BookkeepingKey) -> Result<Vec<Known>, StoreError> {
        positions::known(self, scope).await
    }

    async fn claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> Result<BookkeepingKey, StoreError> {
        claim(self, table, scope).await
    }

    async fn owner(&mut self, table: &Table) -> Result<Option<BookkeepingKey>, StoreError> {
        owner(self, table).await
    }

    /// Whoever may write the file may write all of it.
    async fn missing_rights(&mut self, _: &Table) -> Result<Vec<MissingRight>, StoreError> {
        Ok(Vec::new())
    }

    async fn free_connections(&mut self) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }
}

impl Inspect for MysqlStore {
    async fn known(&mut self, scope: &BookkeepingKey) -> Result<Vec<Known>, StoreError> {
        positions::known(self, scope).await
    }

    async fn claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> Result<BookkeepingKey, StoreError> {
        claim(self, table, scope).await
    }

    async fn owner(&mut self, table: &Table) -> Result<Option<BookkeepingKey>, StoreError> {
        owner(self, table).await
    }

    /// Not asked: a right may come from a role, a pattern or the server, and the first statement
    /// that lacks one says so.
    async fn missing_rights(&mut self, _: &Table) -> Result<Vec<MissingRight>, StoreError> {
        Ok(Vec::new())
    }

    /// Not asked: who else is connected is shown to few users.
    async fn free_connections(&mut self) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }
}

async fn claim<S: Statements>(
    store: &mut S,
    table: &Table,
    scope: &BookkeepingKey,
) -> Result<BookkeepingKey, StoreError> {
    let dialect = store.dialect();
    let statement = Statement::new(dialect, &[])
        .add(
            "INSERT INTO write_behind_tables (pipeline, cluster, topic, table_name) VALUES (?, ?, ?",
            scope.values(),
        )
        .add(", ?)", [table.sql_name.clone().into()])
        .add(dialect.unless_there, []);
    store.perform(statement).await.map_err(Failure::of_no_row)?;
    owner(store, table).await?.ok_or_else(|| {
        StoreError::Unavailable("another consumer has just given the table up".to_owned())
    })
}

async fn owner<S: Statements>(
    store: &mut S,
    table: &Table,
) -> Result<Option<BookkeepingKey>, StoreError> {
    let statement = Statement::new(store.dialect(), &[ValueKind::Text; 3]).add(
        "SELECT pipeline, cluster, topic FROM write_behind_tables WHERE table_name = ?",
        [table.sql_name.clone().into()],
    );
    let mut lines = store.select(statement).await.map_err(Failure::of_no_row)?;
    let Some(line) = lines.pop() else { return Ok(None) };
    match <[Value; 3]>::try_from(line) {
        Ok([Value::Text(Some(pipeline)), Value::Text(Some(cluster)), Value::Text(Some(topic))]) => {
            Ok(Some(BookkeepingKey { pipeline, cluster, topic }))
        }
        _ => Err(unreadable("write_behind_tables")),
    }
}

fn postgres_failed(error: sqlx::Error) -> StoreError {
    classify::failure(error, classify::postgres).of_no_row()
}
