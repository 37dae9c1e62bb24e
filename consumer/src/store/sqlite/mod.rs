//! SQLite: the connection to a file, and the statements of a transaction.
//!
//! With a write-ahead journal and full synchronisation every COMMIT reaches the disk before Kafka's
//! offset is committed. With less, a power cut could lose rows that Kafka no longer sends.

mod catalog;
mod references;
mod snapshot;
mod sql;
mod surroundings;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteQueryResult, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Sqlite};

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::writes::{WriteKind, WriteStatement};
use crate::store::bookkeeping::Spelling;
use crate::store::classify::Failure;
use crate::store::connection::{Connection, Driver, within};
use crate::store::performed::scoped;
use crate::store::session::{Session, TransactionCommand};
use crate::store::statement::Dialect;
use crate::store::{StoreError, Timeouts, Transaction, bookkeeping, unreached};

/// A connection to an SQLite file.
pub type SqliteStore = Connection<Sqlite>;

impl Driver for Sqlite {
    type Server = ();

    const DIALECT: Dialect = Dialect {
        numbered: true,
        unless_there: " ON CONFLICT DO NOTHING",
        failed_at: "CAST(strftime('%s', failed_at) AS INTEGER)",
        find: "instr",
        headers: "headers",
        bookkeeping: "SELECT name FROM sqlite_schema
            WHERE type = 'table' AND name LIKE 'write!_behind!_%' ESCAPE '!'",
    };

    fn rows_affected(result: &SqliteQueryResult) -> u64 {
        result.rows_affected()
    }
}

impl SqliteStore {
    /// Opens the file.
    pub(super) async fn connect(
        options: &SqliteConnectOptions,
        timeouts: &Timeouts,
    ) -> Result<Self, StoreError> {
        let options = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(timeouts.lock)
            .disable_statement_logging();
        let connected = within(timeouts.connect, options.connect()).await?;
        let connection =
            connected.map_err(|error| match unreached::of_file(options.get_filename()) {
                Some(why) => StoreError::Stop(why),
                None => error.into(),
            })?;
        Ok(Self::new(connection, (), timeouts.answer))
    }
}

/// Why a transaction is over before we end it. No savepoint outlives it, so the refused row can't be
/// found.
const ENDS_TRANSACTIONS: &str = "a trigger or a constraint of the table refuses a row by ending the \
    whole transaction, so that the row can't be found: make its RAISE(ROLLBACK) or ON CONFLICT \
    ROLLBACK an ABORT";

/// Whether the message is that of a command that finds no transaction to end.
fn has_ended(message: &str) -> bool {
    message.ends_with("no transaction is active") || message.starts_with("no such savepoint")
}

/// Rows as a JSON array of arrays of texts: the key's, and with `with_cells` the cells'.
pub(super) fn json_of(rows: &[&Row<'_>], with_cells: bool) -> Result<String, StoreError> {
    let texts = rows.iter().map(|row| {
        let count = if with_cells { usize::MAX } else { row.key.len() };
        row.texts().take(count).collect::<Vec<_>>()
    });
    serde_json::to_string(&texts.collect::<Vec<_>>())
        .map_err(|error| StoreError::Stop(error.to_string()))
}

impl Session for SqliteStore {
    async fn create_bookkeeping(&mut self) -> Result<(), StoreError> {
        let steps = bookkeeping::STEPS_SQLITE;
        self.create(bookkeeping::CREATE_SQLITE, steps).await.map_err(Failure::of_no_row)
    }

    async fn read_catalog(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        let describing = catalog::describe(&mut self.raw, table, key);
        self.answers.wait_for(describing).await.map_err(Failure::of_no_row)
    }

    async fn is_as_described(&mut self, table: &Table) -> Result<bool, StoreError> {
        let query = sqlx::query(sql::IS_AS_DESCRIBED).bind(&*table.identity.mark);
        Ok(!self.fetch(query).await.map_err(Failure::of_no_row)?.is_empty())
    }

    async fn command(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        match command {
            // Takes the write lock at once: SQLite waits for it here, but not in a transaction that
            // has begun to read. The pragma ends with the transaction.
            TransactionCommand::Begin => {
                self.run("BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON").await
            }
            // SQLite can't: `dangling` counts what COMMIT would find.
            TransactionCommand::CheckDeferred => Ok(()),
            other => match self.run(other.sql()).await {
                Err(Failure::Uncertain(rejection)) if has_ended(&rejection.reason) => {
                    Err(Failure::Store(StoreError::Stop(ENDS_TRANSACTIONS.to_owned())))
                }
                done => done,
            },
        }
    }

    async fn move_offset(
        &mut self,
        transaction: &Transaction<'_>,
        span: &Span,
        last: Option<&LastRecord>,
    ) -> Result<u64, StoreError> {
        let Transaction { scope, table, partitions, .. } = *transaction;
        let query = scoped(sql::MOVE_OFFSET, scope)
            .bind(span.partition.0)
            .bind(span.start.0)
            .bind(span.end.0)
            .bind(partitions)
            .bind(&*table.identity.mark);
        let moved = self.execute(query).await.map_err(Failure::of_no_row)?;
        if let Some(last) = last.filter(|_| moved > 0) {
            let query = scoped(sql::NOTE_LAST_RECORD, scope)
                .bind(last.partition.0)
                .bind(last.offset.0)
                .bind(last.timestamp);
            self.execute(query).await.map_err(Failure::of_no_row)?;
        }
        Ok(moved)
    }

    async fn write(
        &mut self,
        table: &Table,
        statement: &WriteStatement<'_>,
    ) -> Result<u64, Failure> {
        let WriteStatement { kind, shape, rows } = *statement;
        let rows = json_of(rows, kind != WriteKind::Delete)?;
        let mut run =
            async |sql: String| self.execute(sqlx::query(AssertSqlSafe(sql)).bind(&*rows)).await;
        match kind {
            WriteKind::Delete => run(sql::delete(table)).await,
            WriteKind::Upsert => run(sql::upsert(table, shape)).await,
            WriteKind::UpdateThenInsert => {
                // No row can come between the two: the transaction has the write lock.
                let updated = match shape {
                    [] => 0,
                    _ => run(sql::update(table, shape)).await?,
                };
                Ok(updated + run(sql::insert(table, shape)).await?)
            }
        }
    }

    async fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> Result<(), StoreError> {
        for seen in writers {
            let query = scoped(sql::NOTE_WRITER, scope)
                .bind(seen.partition.0)
                .bind(seen.last.writer.to_string())
                .bind(bookkeeping::sequence(seen.last.sequence))
                .bind(seen.at.0);
            self.execute(query).await.map_err(Failure::of_no_row)?;
        }
        Ok(())
    }

    async fn set_aside(
        &mut self,
        scope: &BookkeepingKey,
        letters: &[&DeadLetter],
        spelling: Spelling,
    ) -> Result<(), Failure> {
        for letter in letters {
            let record = &letter.record;
            let query = scoped(sql::SET_ASIDE, scope)
                .bind(record.partition.0)
                .bind(record.offset.0)
                .bind(record.key.as_deref())
                .bind(record.value.as_deref())
                .bind(bookkeeping::headers(letter, spelling))
                .bind(bookkeeping::reason(&letter.reason, spelling))
                .bind(letter.sqlstate.as_deref());
            self.execute(query).await?;
        }
        Ok(())
    }

    /// SQLite checks deferred foreign keys only at COMMIT.
    async fn dangling(&mut self) -> Result<u64, StoreError> {
        let found = self.fetch(sqlx::query("PRAGMA main.foreign_key_check")).await;
        Ok(found.map_err(Failure::of_no_row)?.len() as u64)
    }
}
