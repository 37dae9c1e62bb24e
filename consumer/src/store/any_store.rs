//! A store of any of the databases.

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::writes::WriteStatement;
use crate::store::bookkeeping::Spelling;
use crate::store::classify::Failure;
use crate::store::inspect::MissingRight;
use crate::store::mysql::MysqlStore;
use crate::store::postgres::PostgresStore;
use crate::store::session::{Session, TransactionCommand};
use crate::store::snapshot::{Compared, Snapshot};
use crate::store::sqlite::SqliteStore;
use crate::store::statement::{Dialect, Statement, Statements, Value};
use crate::store::{StoreError, Transaction};

/// A store of any of the databases.
#[derive(Debug)]
pub enum AnyStore {
    /// Postgres.
    Postgres(PostgresStore),
    /// SQLite.
    Sqlite(SqliteStore),
    /// MySQL or MariaDB.
    Mysql(MysqlStore),
}

/// Awaits the same call on the store inside.
macro_rules! inside {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            AnyStore::Postgres($inner) => $call.await,
            AnyStore::Sqlite($inner) => $call.await,
            AnyStore::Mysql($inner) => $call.await,
        }
    };
}

impl Statements for AnyStore {
    fn dialect(&self) -> Dialect {
        match self {
            AnyStore::Postgres(store) => store.dialect(),
            AnyStore::Mysql(store) => store.dialect(),
            AnyStore::Sqlite(store) => store.dialect(),
        }
    }

    async fn perform(&mut self, statement: Statement) -> Result<u64, StoreError> {
        inside!(self, store => store.perform(statement))
    }

    async fn select(&mut self, statement: Statement) -> Result<Vec<Vec<Value>>, StoreError> {
        inside!(self, store => store.select(statement))
    }
}

impl Session for AnyStore {
    async fn create_bookkeeping(&mut self) -> Result<(), StoreError> {
        inside!(self, store => store.create_bookkeeping())
    }

    async fn read_catalog(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        inside!(self, store => store.read_catalog(table, key))
    }

    async fn begin(&mut self, table: &Table) -> Result<(), Failure> {
        inside!(self, store => store.begin(table))
    }

    async fn is_as_described(&mut self, table: &Table) -> Result<bool, StoreError> {
        inside!(self, store => store.is_as_described(table))
    }

    async fn command(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        inside!(self, store => store.command(command))
    }

    async fn move_offset(
        &mut self,
        transaction: &Transaction<'_>,
        span: &Span,
        last: Option<&LastRecord>,
    ) -> Result<u64, StoreError> {
        inside!(self, store => store.move_offset(transaction, span, last))
    }

    async fn write(
        &mut self,
        table: &Table,
        statement: &WriteStatement<'_>,
    ) -> Result<u64, Failure> {
        inside!(self, store => store.write(table, statement))
    }

    async fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> Result<(), StoreError> {
        inside!(self, store => store.note_writers(scope, writers))
    }

    async fn set_aside(
        &mut self,
        scope: &BookkeepingKey,
        letters: &[&DeadLetter],
        spelling: Spelling,
    ) -> Result<(), Failure> {
        inside!(self, store => store.set_aside(scope, letters, spelling))
    }

    async fn dangling(&mut self) -> Result<u64, StoreError> {
        inside!(self, store => store.dangling())
    }
}

impl Snapshot for AnyStore {
    async fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        inside!(self, store => store.begin_snapshot())
    }

    async fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row<'_>],
    ) -> Result<Vec<Compared>, StoreError> {
        inside!(self, store => store.compare(table, shape, rows))
    }

    async fn keys(
        &mut self,
        table: &Table,
        after: Option<&[String]>,
        limit: usize,
    ) -> Result<Vec<Vec<String>>, StoreError> {
        inside!(self, store => store.keys(table, after, limit))
    }

    async fn end_snapshot(&mut self) -> Result<(), StoreError> {
        inside!(self, store => store.end_snapshot())
    }
}

impl AnyStore {
    /// The rights that `run` needs on a table and on the bookkeeping and that the user does not
    /// have.
    ///
    /// Only Postgres is asked. In MySQL a right may come from a role, a pattern or the server, and
    /// the first statement that lacks one says so; who may write an SQLite file may write all of
    /// it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn missing_rights(&mut self, table: &Table) -> Result<Vec<MissingRight>, StoreError> {
        match self {
            AnyStore::Postgres(store) => store.missing_rights(table).await,
            AnyStore::Sqlite(_) | AnyStore::Mysql(_) => Ok(Vec::new()),
        }
    }

    /// The statements that grant what is missing on the tables and the bookkeeping; `None`: nothing
    /// is, or the database is not asked (see [`AnyStore::missing_rights`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn missing_grants(
        &mut self,
        tables: &[&Table],
    ) -> Result<Option<String>, StoreError> {
        match self {
            AnyStore::Postgres(store) => store.missing_grants(tables).await,
            AnyStore::Sqlite(_) | AnyStore::Mysql(_) => Ok(None),
        }
    }

    /// How many more connections this user could make; `None`: the database does not say. MySQL
    /// shows few users who else is connected.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn free_connections(&mut self) -> Result<Option<i64>, StoreError> {
        match self {
            AnyStore::Postgres(store) => store.free_connections().await,
            AnyStore::Sqlite(_) | AnyStore::Mysql(_) => Ok(None),
        }
    }
}
