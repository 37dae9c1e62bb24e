//! Postgres: one dedicated connection, with a limit on every wait.
//!
//! Never a pool: a cancelled `begin` leaves a pooled connection inside a transaction, where the
//! next user's writes vanish. Here a call that is not answered in time breaks the store, and a
//! broken store refuses everything.

mod catalog;
mod rows;
mod snapshot;
mod sql;

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Postgres};
use write_behind_shared::Partition;

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::store::classify::{self, Failure};
use crate::store::fenced::{self, Session, TransactionCommand};
use crate::store::grouping::{Groups, left_out, updates_first};
use crate::store::postgres::rows::{Array, arrays};
use crate::store::{
    Outcome, Position, Store, StoreError, Timeouts, Transaction, bookkeeping, positions,
};

/// A connection to Postgres.
#[derive(Debug)]
pub struct PostgresStore {
    connection: PgConnection,
    /// How long to wait for one answer.
    answer: Duration,
    /// A call was not answered in time, so nobody knows what the connection will say next.
    broken: bool,
    /// Rows that the transaction left out for the table has newer ones.
    older: u64,
}

pub(super) type PostgresQuery<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

impl PostgresStore {
    /// Connects to a server that takes writes.
    pub(super) async fn connect(
        options: &PgConnectOptions,
        timeouts: &Timeouts,
    ) -> Result<Self, StoreError> {
        let connecting = async {
            let options =
                options.clone().application_name("write-behind").disable_statement_logging();
            let mut connection = options.connect().await?;
            let settings = format!(
                "SET statement_timeout = {}; SET lock_timeout = {}; \
                 SET idle_in_transaction_session_timeout = {}",
                timeouts.statement.as_millis(),
                timeouts.lock.as_millis(),
                timeouts.idle_in_transaction.as_millis(),
            );
            sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await?;
            let standby: bool = sqlx::query_scalar(
                "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean",
            )
            .fetch_one(&mut connection)
            .await?;
            Ok((connection, standby))
        };
        let (connection, standby) = match tokio::time::timeout(timeouts.connect, connecting).await {
            Ok(connected) => connected.map_err(failed).map_err(Failure::of_no_row)?,
            Err(_) => return Err(unanswered(timeouts.connect)),
        };
        if standby {
            return Err(StoreError::Unavailable(
                "the server is a standby or read-only; waiting for one that takes writes"
                    .to_owned(),
            ));
        }
        Ok(Self { connection, answer: timeouts.answer, broken: false, older: 0 })
    }

    /// Waits for one answer, but not for ever.
    pub(super) async fn answered<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
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

    pub(super) async fn execute(&mut self, query: PostgresQuery<'_>) -> Result<u64, Failure> {
        let executing = async |connection: &mut PgConnection| query.execute(connection).await;
        Ok(self.answered(executing).await?.rows_affected())
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.answered(async |connection| sqlx::raw_sql(sql).execute(connection).await).await?;
        Ok(())
    }

    pub(super) async fn fetch(&mut self, query: PostgresQuery<'_>) -> Result<Vec<PgRow>, Failure> {
        self.answered(async |connection| query.fetch_all(connection).await).await
    }

    /// Runs one statement for `rows`, all of one shape: an array a column.
    async fn bulk(
        &mut self,
        sql: String,
        table: &Table,
        shape: &[(usize, bool)],
        rows: &[&Row<'_>],
    ) -> Result<u64, Failure> {
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for array in arrays(table, shape, rows)? {
            query = match array {
                Array::Integers(integers) => query.bind(integers),
                Array::Texts(texts) => query.bind(texts),
            };
        }
        self.execute(query).await
    }
}

/// The three parameters that every statement on the bookkeeping tables begins with.
fn scoped<'q>(sql: &'static str, scope: &'q BookkeepingKey) -> PostgresQuery<'q> {
    sqlx::query(sql).bind(&*scope.pipeline).bind(&*scope.cluster).bind(&*scope.topic)
}

pub(super) fn failed(error: sqlx::Error) -> Failure {
    classify::failure(error, classify::postgres)
}

fn unanswered(waited: Duration) -> StoreError {
    StoreError::Unavailable(format!("no answer within {waited:?}"))
}

impl Session for PostgresStore {
    async fn command(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        if command == TransactionCommand::Begin {
            self.older = 0;
        }
        let sql = match command {
            // A constraint that is checked at COMMIT would refuse a batch when it is too late to
            // find the row.
            TransactionCommand::Begin => "BEGIN; SET CONSTRAINTS ALL IMMEDIATE",
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
        let sql = match last {
            Some(_) => sql::MOVE_OFFSET_AND_NOTE,
            None => bookkeeping::MOVE_OFFSET,
        };
        let query = scoped(sql, scope)
            .bind(span.partition.0)
            .bind(span.start.0)
            .bind(span.end.0)
            .bind(partitions);
        self.execute(match last {
            Some(last) => query.bind(last.offset.0).bind(last.timestamp),
            None => query,
        })
        .await
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
            self.bulk(sql::delete(table), table, &[], chunk).await?;
        }
        for (shape, rows) in &groups.writes {
            for chunk in rows.chunks(size) {
                let sql = if updates_first(table, shape) {
                    sql::update_then_insert(table, shape)
                } else {
                    sql::upsert(table, shape)
                };
                let written = self.bulk(sql, table, shape, chunk).await?;
                self.older += left_out(table, chunk, written);
            }
        }
        Ok(())
    }

    async fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> Result<(), Failure> {
        let query = scoped(sql::NOTE_WRITERS, scope)
            .bind(writers.iter().map(|seen| seen.partition.0).collect::<Vec<_>>())
            .bind(writers.iter().map(|seen| seen.last.writer.to_string()).collect::<Vec<_>>())
            .bind(
                writers
                    .iter()
                    .map(|seen| bookkeeping::sequence(seen.last.sequence))
                    .collect::<Vec<_>>(),
            )
            .bind(writers.iter().map(|seen| seen.at.0).collect::<Vec<_>>());
        self.execute(query).await.map(|_| ())
    }

    async fn set_aside(
        &mut self,
        scope: &BookkeepingKey,
        letters: &[&DeadLetter],
    ) -> Result<(), Failure> {
        // As many as fit one message easily, whatever their size.
        for letters in letters.chunks(500) {
            let records = || letters.iter().map(|letter| &letter.record);
            let query = scoped(sql::SET_ASIDE, scope)
                .bind(records().map(|record| record.partition.0).collect::<Vec<_>>())
                .bind(records().map(|record| record.offset.0).collect::<Vec<_>>())
                .bind(records().map(|record| record.key.as_deref()).collect::<Vec<_>>())
                .bind(records().map(|record| record.value.as_deref()).collect::<Vec<_>>())
                .bind(letters.iter().map(|letter| bookkeeping::headers(letter)).collect::<Vec<_>>())
                .bind(letters.iter().map(|letter| bookkeeping::reason(letter)).collect::<Vec<_>>())
                .bind(letters.iter().map(|letter| letter.sqlstate.as_deref()).collect::<Vec<_>>());
            self.execute(query).await?;
        }
        Ok(())
    }
}

impl Store for PostgresStore {
    async fn init(&mut self) -> Result<(), StoreError> {
        // Two that create a table at once would collide; the lock is given back at COMMIT.
        let sql = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(7310868735955199332); {} COMMIT",
            bookkeeping::CREATE_POSTGRES
        );
        let creating = async |connection: &mut PgConnection| {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await
        };
        self.answered(creating).await.map(|_| ()).map_err(Failure::of_no_row)
    }

    async fn describe(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        let describing =
            async |connection: &mut PgConnection| catalog::describe(connection, table, key).await;
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
