//! SQLite: one connection to a file, with the write lock taken at BEGIN.
//!
//! Write-ahead journal, and every COMMIT reaches the disk: a row and the offset that says it is
//! there are lost together or not at all, and Kafka's offset is committed after both.

mod catalog;
mod snapshot;
mod sql;

use std::time::Duration;

use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Sqlite};
use write_behind_shared::Partition;

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::store::classify::{self, Failure};
use crate::store::fenced::{self, Session, TransactionCommand};
use crate::store::grouping::{Groups, left_out, updates_first};
use crate::store::{
    Outcome, Position, Store, StoreError, Timeouts, Transaction, bookkeeping, positions,
};

/// A connection to an SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: SqliteConnection,
    /// How long to wait for one answer.
    answer: Duration,
    /// A call was not answered in time, so nobody knows what the connection will say next.
    broken: bool,
    /// Rows that the transaction left out for the table has newer ones.
    older: u64,
}

pub(super) type SqliteQuery<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

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
        match tokio::time::timeout(timeouts.connect, options.connect()).await {
            Ok(Ok(connection)) => {
                Ok(Self { connection, answer: timeouts.answer, broken: false, older: 0 })
            }
            Ok(Err(error)) => Err(failed(error).of_no_row()),
            Err(_) => Err(unanswered(timeouts.connect)),
        }
    }

    /// Waits for one answer, but not for ever.
    pub(super) async fn answered<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Failure> {
        if self.broken {
            let broken = "an earlier call was not answered; connect anew".to_owned();
            return Err(Failure::Store(StoreError::Unavailable(broken)));
        }
        // Set while waiting: it stays set as well when the caller itself is cancelled.
        self.broken = true;
        match tokio::time::timeout(self.answer, call(&mut self.connection)).await {
            Ok(answer) => {
                self.broken = false;
                answer.map_err(failed)
            }
            Err(_) => Err(Failure::Store(unanswered(self.answer))),
        }
    }

    pub(super) async fn execute(&mut self, query: SqliteQuery<'_>) -> Result<u64, Failure> {
        let executing = async |connection: &mut SqliteConnection| query.execute(connection).await;
        Ok(self.answered(executing).await?.rows_affected())
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.answered(async |connection| sqlx::raw_sql(sql).execute(connection).await).await?;
        Ok(())
    }

    pub(super) async fn fetch(
        &mut self,
        query: SqliteQuery<'_>,
    ) -> Result<Vec<SqliteRow>, Failure> {
        self.answered(async |connection| query.fetch_all(connection).await).await
    }

    /// Runs one statement for `rows`, all of one shape; says how many it wrote.
    async fn bulk(&mut self, sql: String, rows: &str) -> Result<u64, Failure> {
        self.execute(sqlx::query(AssertSqlSafe(sql)).bind(rows)).await
    }
}

/// Rows as a JSON array of arrays: the key's texts, then the cells' unless only the key is needed.
pub(super) fn json_of(rows: &[&Row<'_>], with_cells: bool) -> Result<String, Failure> {
    let texts = rows.iter().map(|row| {
        let count = if with_cells { usize::MAX } else { row.key.len() };
        row.texts().take(count).collect::<Vec<_>>()
    });
    serde_json::to_string(&texts.collect::<Vec<_>>())
        .map_err(|error| Failure::Store(StoreError::Stop(error.to_string())))
}

/// The three parameters that every statement on the bookkeeping tables begins with.
fn scoped<'q>(sql: &'static str, scope: &'q BookkeepingKey) -> SqliteQuery<'q> {
    sqlx::query(sql).bind(&*scope.pipeline).bind(&*scope.cluster).bind(&*scope.topic)
}

pub(super) fn failed(error: sqlx::Error) -> Failure {
    classify::failure(error, classify::sqlite)
}

fn unanswered(waited: Duration) -> StoreError {
    StoreError::Unavailable(format!("no answer within {waited:?}"))
}

impl Session for SqliteStore {
    async fn command(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        if command == TransactionCommand::Begin {
            self.older = 0;
        }
        let sql = match command {
            // Takes the write lock at once: one taken later could not be waited for.
            TransactionCommand::Begin => "BEGIN IMMEDIATE",
            TransactionCommand::Savepoint => "SAVEPOINT write_behind",
            TransactionCommand::Release => "RELEASE write_behind",
            TransactionCommand::RollBackToSavepoint => {
                "ROLLBACK TO write_behind; RELEASE write_behind"
            }
            TransactionCommand::RollBack => "ROLLBACK",
            TransactionCommand::Commit => "COMMIT",
        };
        self.answered(async |connection| sqlx::raw_sql(sql).execute(connection).await).await?;
        Ok(())
    }

    async fn move_offset(
        &mut self,
        scope: &BookkeepingKey,
        partitions: i32,
        span: &Span,
        last: Option<&LastRecord>,
    ) -> Result<u64, Failure> {
        let query = scoped(bookkeeping::MOVE_OFFSET, scope)
            .bind(span.partition.0)
            .bind(span.start.0)
            .bind(span.end.0)
            .bind(partitions);
        let moved = self.execute(query).await?;
        if let Some(last) = last.filter(|_| moved > 0) {
            let query = scoped(sql::NOTE_LAST_RECORD, scope)
                .bind(last.partition.0)
                .bind(last.offset.0)
                .bind(last.timestamp);
            self.execute(query).await?;
        }
        Ok(moved)
    }

    async fn write(
        &mut self,
        table: &Table,
        rows: &[&Row<'_>],
        rows_per_statement: usize,
    ) -> Result<(), Failure> {
        let groups = Groups::of(rows.iter().copied());
        let size = rows_per_statement.max(1);
        for chunk in groups.deletes.chunks(size) {
            self.bulk(sql::delete(table), &json_of(chunk, false)?).await?;
        }
        for (shape, rows) in &groups.writes {
            for chunk in rows.chunks(size) {
                let rows = json_of(chunk, true)?;
                if updates_first(table, shape) {
                    // Two statements can't be raced: the transaction has the write lock.
                    let mut written = 0;
                    if !shape.is_empty() {
                        written += self.bulk(sql::update(table, shape), &rows).await?;
                    }
                    written += self.bulk(sql::insert(table, shape), &rows).await?;
                    self.older += left_out(table, chunk, written);
                } else {
                    self.bulk(sql::upsert(table, shape), &rows).await?;
                }
            }
        }
        Ok(())
    }

    async fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> Result<(), Failure> {
        for seen in writers {
            let query = scoped(sql::NOTE_WRITER, scope)
                .bind(seen.partition.0)
                .bind(seen.last.writer.to_string())
                .bind(bookkeeping::sequence(seen.last.sequence))
                .bind(seen.at.0);
            self.execute(query).await?;
        }
        Ok(())
    }

    async fn set_aside(
        &mut self,
        scope: &BookkeepingKey,
        letters: &[&DeadLetter],
    ) -> Result<(), Failure> {
        for letter in letters {
            let record = &letter.record;
            let query = scoped(sql::SET_ASIDE, scope)
                .bind(record.partition.0)
                .bind(record.offset.0)
                .bind(record.key.as_deref())
                .bind(record.value.as_deref())
                .bind(bookkeeping::headers(letter))
                .bind(bookkeeping::reason(letter))
                .bind(letter.sqlstate.as_deref());
            self.execute(query).await?;
        }
        Ok(())
    }

    /// SQLite checks deferred foreign keys at COMMIT, and has no way to have it sooner.
    async fn dangling(&mut self) -> Result<u64, Failure> {
        let found = self.fetch(sqlx::query("PRAGMA main.foreign_key_check")).await?;
        Ok(found.len() as u64)
    }
}

impl Store for SqliteStore {
    async fn init(&mut self) -> Result<(), StoreError> {
        let creating = async |connection: &mut SqliteConnection| {
            sqlx::raw_sql(bookkeeping::CREATE_SQLITE).execute(connection).await
        };
        self.answered(creating).await.map_err(Failure::of_no_row)?;
        let lacks = self.fetch(sqlx::query(bookkeeping::LACKS_LAST_OFFSET_SQLITE)).await;
        if !lacks.map_err(Failure::of_no_row)?.is_empty() {
            self.run(bookkeeping::ADD_LAST_OFFSET).await.map_err(Failure::of_no_row)?;
        }
        Ok(())
    }

    async fn describe(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        let describing = async |connection: &mut SqliteConnection| {
            catalog::describe(connection, table, key).await
        };
        self.answered(describing).await.map_err(Failure::of_no_row)?
    }

    async fn positions(
        &mut self,
        scope: &BookkeepingKey,
        partitions: &[Partition],
    ) -> Result<Vec<Position>, StoreError> {
        positions::positions(self, scope, partitions).await
    }

    async fn begin_at(
        &mut self,
        scope: &BookkeepingKey,
        at: &[Position],
    ) -> Result<(), StoreError> {
        positions::begin_at(self, scope, at).await
    }

    fn older(&self) -> u64 {
        self.older
    }

    async fn apply(&mut self, transaction: &Transaction<'_>) -> Result<Outcome, StoreError> {
        fenced::apply(self, transaction).await
    }
}
