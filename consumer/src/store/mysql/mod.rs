//! MySQL and MariaDB: the connection, and the statements of a transaction.
//!
//! The consumer sets the session up itself, whatever the server's defaults are: strict, UTC, READ
//! COMMITTED, names in double quotes as in the other databases.
//!
//! MySQL has no limit on a statement that writes (MariaDB has one): a slow one ends when the
//! consumer gives the connection up. Nor has it one on an idle transaction: `wait_timeout` is
//! lowered while a transaction is open.

mod catalog;
mod types;
mod rows;
mod write;
mod references;
mod surroundings;
mod snapshot;
mod sql;

use std::time::Duration;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlQueryResult};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions as _, MySql, Row as _};

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;
use crate::core::table::{Name, Table};
use crate::core::writes::{WriteKind, WriteStatement};
use crate::store::bookkeeping::Spelling;
use crate::store::classify::Failure;
use crate::store::connection::{Connection, Driver, within};
use crate::store::performed::scoped;
use crate::store::session::{Session, TransactionCommand};
use crate::store::statement::Dialect;
use crate::store::unreached::NO_WRITES;
use crate::store::{StoreError, Timeouts, Transaction, bookkeeping};

/// A connection to MySQL or MariaDB.
pub type MysqlStore = Connection<MySql>;

/// What a connection knows about its server.
#[derive(Debug)]
pub struct MysqlServer {
    /// How long it waits for a transaction's next statement.
    idle_in_transaction: Duration,
    /// The largest message that it accepts, in bytes.
    packet_bytes: usize,
}

impl Driver for MySql {
    type Server = MysqlServer;

    const DIALECT: Dialect = Dialect {
        numbered: false,
        unless_there: " ON DUPLICATE KEY UPDATE pipeline = pipeline",
        failed_at: "CAST(floor(unix_timestamp(failed_at)) AS signed)",
        find: "instr",
        headers: "CAST(headers AS char)",
        bookkeeping: "SELECT CAST(table_name AS char) FROM information_schema.tables
            WHERE table_schema = database() AND table_name LIKE 'write!_behind!_%' ESCAPE '!'",
    };

    /// sqlx has the server count the rows that a statement found, not those that it changed. Else
    /// an update that leaves a row equal would count as left out.
    fn rows_affected(result: &MySqlQueryResult) -> u64 {
        result.rows_affected()
    }
}

/// The session's settings. Only MariaDB reads `/*M! … */`.
fn settings(timeouts: &Timeouts) -> String {
    format!(
        "SET sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,STRICT_TRANS_TABLES,NO_ZERO_DATE,\
         NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', \
         NAMES utf8mb4, time_zone = '+00:00', autocommit = 1, foreign_key_checks = 1, \
         unique_checks = 1, sql_safe_updates = 0, sql_big_selects = 1, \
         sql_select_limit = 18446744073709551615, innodb_lock_wait_timeout = {lock}, \
         lock_wait_timeout = {lock} \
         /*M! , max_statement_time = {statement}, check_constraint_checks = 1 */; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        lock = seconds(timeouts.lock),
        statement = timeouts.statement.as_secs_f64(),
    )
}

/// How often, and how long apart, it is looked whether a table's last change lies back.
const SETTLING_LOOKS: u32 = 15;
const SETTLING_LOOK: Duration = Duration::from_millis(100);

/// The parameters by which a statement compares the table with what was described.
fn as_described<'q>(
    query: Query<'q, MySql, MySqlArguments>,
    table: &'q Table,
) -> Result<Query<'q, MySql, MySqlArguments>, StoreError> {
    let name = Name::parse(&table.sql_name);
    let name = name.map_err(|error| StoreError::Stop(error.to_string()))?;
    Ok(query
        .bind(name.schema.clone())
        .bind(name.table.clone())
        .bind(&*table.identity.mark)
        .bind(name.schema)
        .bind(name.table)
        .bind(&*table.identity.shape))
}

/// Whole seconds, rounded up, at least 1: to the server 0 is no limit at all.
fn seconds(limit: Duration) -> u64 {
    limit.as_millis().div_ceil(1_000).max(1) as u64
}

const SERVER: &str = "SELECT CAST(@@max_allowed_packet AS unsigned) AS packet,
    CAST(@@global.read_only AS char) NOT IN ('0', 'OFF') OR @@global.innodb_read_only AS standby";

impl MysqlStore {
    /// Connects to a server that accepts writes.
    pub(super) async fn connect(
        options: &MySqlConnectOptions,
        timeouts: &Timeouts,
    ) -> Result<Self, StoreError> {
        let connecting = async {
            let mut connection = options.clone().disable_statement_logging().connect().await?;
            let settings = AssertSqlSafe(settings(timeouts));
            sqlx::raw_sql(settings).execute(&mut connection).await?;
            let server = sqlx::query(SERVER).fetch_one(&mut connection).await?;
            let packet: u64 = server.try_get("packet")?;
            Ok::<_, sqlx::Error>((connection, packet, server.try_get::<bool, _>("standby")?))
        };
        let (connection, packet, standby) = within(timeouts.connect, connecting).await??;
        if standby {
            return Err(StoreError::Unavailable(format!(
                "the server is a replica or read-only; {NO_WRITES}"
            )));
        }
        let idle_in_transaction = timeouts.idle_in_transaction;
        let server = MysqlServer { idle_in_transaction, packet_bytes: packet as usize };
        Ok(Self::new(connection, server, timeouts.answer))
    }
}

impl Session for MysqlStore {
    /// In MySQL each of these statements commits by itself; two consumers may create a table at
    /// once.
    async fn create_bookkeeping(&mut self) -> Result<(), StoreError> {
        let steps = bookkeeping::STEPS_MYSQL;
        self.create(bookkeeping::CREATE_MYSQL, steps).await.map_err(Failure::of_no_row)
    }

    /// A table's mark counts in whole seconds. One that was just altered is read once its second is
    /// over: the mark then tells it from what a later change makes of it.
    async fn read_catalog(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        for _ in 0..SETTLING_LOOKS {
            let asking = catalog::is_fresh(&mut self.raw, table);
            if !self.answers.wait_for(asking).await.map_err(Failure::of_no_row)? {
                break;
            }
            self.wait(SETTLING_LOOK).await;
        }
        let describing = catalog::describe(&mut self.raw, table, key);
        self.answers.wait_for(describing).await.map_err(Failure::of_no_row)
    }

    async fn is_as_described(&mut self, table: &Table) -> Result<bool, StoreError> {
        let query = sqlx::query(AssertSqlSafe(sql::is_as_described(table)));
        let query = as_described(query, table)?;
        Ok(!self.fetch(query).await.map_err(Failure::of_no_row)?.is_empty())
    }

    async fn command(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        self.run(match command {
            TransactionCommand::Begin => {
                let limit = seconds(self.server.idle_in_transaction);
                let begin = format!("SET wait_timeout = {limit}; START TRANSACTION");
                return self.run(AssertSqlSafe(begin)).await;
            }
            // Each statement has checked its own rows.
            TransactionCommand::CheckDeferred => return Ok(()),
            TransactionCommand::Savepoint => "SAVEPOINT write_behind",
            TransactionCommand::Release => "RELEASE SAVEPOINT write_behind",
            TransactionCommand::RollBackToSavepoint => {
                "ROLLBACK TO SAVEPOINT write_behind; RELEASE SAVEPOINT write_behind"
            }
            TransactionCommand::RollBack => "ROLLBACK; SET wait_timeout = DEFAULT",
            TransactionCommand::Commit => "COMMIT; SET wait_timeout = DEFAULT",
        })
        .await
    }

    async fn move_offset(
        &mut self,
        transaction: &Transaction<'_>,
        span: &Span,
        last: Option<&LastRecord>,
    ) -> Result<u64, StoreError> {
        let Transaction { scope, table, partitions, .. } = *transaction;
        let query = sqlx::query(AssertSqlSafe(sql::move_offset(table)))
            .bind(span.end.0)
            .bind(partitions)
            .bind(&*scope.pipeline)
            .bind(&*scope.cluster)
            .bind(&*scope.topic)
            .bind(span.partition.0)
            .bind(span.start.0);
        let query = as_described(query, table)?;
        let moved = self.execute(query).await.map_err(Failure::of_no_row)?;
        if let Some(last) = last.filter(|_| moved > 0) {
            let (offset, timestamp) = (last.offset.0, last.timestamp);
            let query = scoped(sql::NOTE_LAST_RECORD, scope)
                .bind(last.partition.0)
                .bind(offset)
                .bind(timestamp)
                .bind(offset)
                .bind(timestamp);
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
        let adds = shape.iter().any(|(_, is_add)| *is_add);
        match kind {
            WriteKind::Delete => self.bulk(&sql::delete(table), table, rows, false).await,
            // An upsert that changes nothing in a row that exists counts it nevertheless.
            WriteKind::Upsert if !adds && !shape.is_empty() => {
                self.bulk(&sql::upsert(table, shape), table, rows, true).await
            }
            // INSERT … ON DUPLICATE KEY UPDATE checks the delta as a value first: -1 into an
            // unsigned column would be refused although the sum fits.
            WriteKind::Upsert | WriteKind::UpdateThenInsert => {
                self.update_or_insert(table, shape, rows).await
            }
        }
    }

    async fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> Result<(), StoreError> {
        for seen in writers {
            let sequence = bookkeeping::sequence(seen.last.sequence);
            let query = scoped(sql::NOTE_WRITER, scope)
                .bind(seen.partition.0)
                .bind(seen.last.writer.to_string())
                .bind(sequence)
                .bind(seen.at.0)
                .bind(sequence)
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
            let (record, headers) = (&letter.record, bookkeeping::headers(letter, spelling));
            let bytes = [record.key.as_deref(), record.value.as_deref()].into_iter().flatten();
            self.fits_a_packet(bytes.map(<[u8]>::len).sum::<usize>() + headers.len())?;
            let query = scoped(sql::SET_ASIDE, scope)
                .bind(record.partition.0)
                .bind(record.offset.0)
                .bind(record.key.as_deref())
                .bind(record.value.as_deref())
                .bind(headers)
                .bind(bookkeeping::reason(&letter.reason, spelling))
                .bind(letter.sqlstate.as_deref());
            self.execute(query).await?;
        }
        Ok(())
    }
}
