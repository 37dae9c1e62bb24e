//! Postgres: the connection, and the statements of a transaction.

mod catalog;
mod contested;
mod types;
mod inspect;
mod pooling;
mod proposed;
mod rows;
mod references;
mod snapshot;
mod sql;
mod surroundings;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgQueryResult};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Postgres, Row as _};

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::writes::{WriteKind, WriteStatement, old_and_new};
use crate::store::bookkeeping::Spelling;
use crate::store::classify::Failure;
use crate::store::connection::{Connection, Driver, within};
use crate::store::inspect::table_changed;
use crate::store::performed::scoped;
use crate::store::postgres::rows::{Array, arrays};
use crate::store::session::{Session, TransactionCommand};
use crate::store::statement::Dialect;
use crate::store::unreached::NO_WRITES;
use crate::store::{StoreError, Timeouts, Transaction, bookkeeping};

/// A connection to Postgres.
pub type PostgresStore = Connection<Postgres>;

impl Driver for Postgres {
    type Server = ();

    const DIALECT: Dialect = Dialect {
        numbered: true,
        unless_there: " ON CONFLICT DO NOTHING",
        failed_at: "CAST(floor(extract(epoch FROM failed_at)) AS bigint)",
        find: "strpos",
        headers: "headers::text",
        bookkeeping: "SELECT relname::text FROM pg_class WHERE relkind = 'r'
            AND relname LIKE 'write!_behind!_%' ESCAPE '!' AND pg_table_is_visible(oid)",
    };

    fn rows_affected(result: &PgQueryResult) -> u64 {
        result.rows_affected()
    }
}

/// What the texts of values mean, and that no function may tell the log of them by a WARNING, whatever the defaults of the server, the database or the role.
const NOTATION: &str = "SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; \
    SET intervalstyle = 'postgres'; SET array_nulls = on; SET xmloption = content; \
    SET extra_float_digits = 3; SET client_min_messages = error";

impl PostgresStore {
    /// Connects to a server that accepts writes.
    pub(super) async fn connect(
        options: &PgConnectOptions,
        timeouts: &Timeouts,
    ) -> Result<Self, StoreError> {
        let connecting = async {
            // A pooler refuses startup parameters that it does not know, so none is sent that a
            // statement can set as well.
            let options = options
                .clone()
                .application_name(options.get_application_name().unwrap_or("write-behind"))
                .extra_float_digits(None)
                .disable_statement_logging();
            let mut connection = options.connect().await?;
            let settings = format!(
                "SET statement_timeout = {}; SET lock_timeout = {}; \
                 SET idle_in_transaction_session_timeout = {}; {NOTATION}",
                timeouts.statement.as_millis(),
                timeouts.lock.as_millis(),
                timeouts.idle_in_transaction.as_millis(),
            );
            sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await?;
            // Without a prepared statement: behind a pooler that one may be lost, which must be told
            // in other words.
            let server = sqlx::raw_sql(
                "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean,
                    current_setting('session_replication_role') = 'replica'",
            )
            .fetch_one(&mut connection)
            .await?;
            Ok::<_, sqlx::Error>((connection, server.try_get(0)?, server.try_get(1)?))
        };
        let (connection, standby, unchecked): (_, bool, bool) =
            within(timeouts.connect, connecting).await??;
        if unchecked {
            return Err(StoreError::Stop(
                "session_replication_role is replica, so that no trigger runs and no foreign key \
                 counts: ALTER ROLE … (or ALTER DATABASE …) RESET session_replication_role"
                    .to_owned(),
            ));
        }
        if standby {
            return Err(StoreError::Unavailable(format!(
                "the server is a standby or read-only; {NO_WRITES}"
            )));
        }
        Ok(Self::new(connection, (), timeouts.answer))
    }
}

const BEGIN: &str = "BEGIN; SET CONSTRAINTS ALL DEFERRED";

/// A statement with these arrays as its parameters.
fn with_arrays(sql: String, arrays: Vec<Array<'_>>) -> Query<'_, Postgres, PgArguments> {
    let query = sqlx::query(AssertSqlSafe(sql));
    arrays.into_iter().fold(query, |query, array| match array {
        Array::Integers(integers) => query.bind(integers),
        Array::Texts(texts) => query.bind(texts),
    })
}

impl PostgresStore {
    /// Runs `sql` with `rows` as its parameters.
    async fn bulk(
        &mut self,
        sql: String,
        table: &Table,
        shape: &[(usize, bool)],
        rows: &[&Row<'_>],
    ) -> Result<u64, Failure> {
        let query = with_arrays(sql, arrays(table, shape, rows)?);
        self.execute(query).await
    }

    /// Updates the rows that are there, and inserts the others, if there are any: a trigger of the
    /// statement sees no INSERT without rows.
    ///
    /// One locking read says which rows exist, and both statements go by it. Were the INSERT to look
    /// again, a row that another writer inserts between the two would be neither updated nor
    /// inserted. As it is, the INSERT is refused as a duplicate, and the next try finds the row.
    async fn update_or_insert(
        &mut self,
        table: &Table,
        shape: &[(usize, bool)],
        rows: &[&Row<'_>],
    ) -> Result<u64, Failure> {
        let mut there = vec![false; rows.len()];
        let query = with_arrays(sql::lock_present(table), arrays(table, &[], rows)?);
        for row in self.fetch(query).await? {
            let place: i64 = row.try_get(0)?;
            there[place as usize - 1] = true;
        }
        let (old, new) = old_and_new(rows, &there);
        let mut written = 0;
        // A row that exists may come to refer to a new one.
        let insert_first = !table.own_references.is_empty();
        for inserts in [insert_first, !insert_first] {
            written += match inserts {
                true if new.is_empty() => 0,
                true => self.bulk(sql::insert_new(table, shape), table, shape, &new).await?,
                false if old.is_empty() => 0,
                false if shape.is_empty() => old.len() as u64,
                false => self.bulk(sql::update(table, shape), table, shape, &old).await?,
            };
        }
        Ok(written)
    }
}

impl Session for PostgresStore {
    async fn create_bookkeeping(&mut self) -> Result<(), StoreError> {
        // CREATE TABLE IF NOT EXISTS is no fence: two consumers that start together both see no
        // table, and one fails on the catalogue's unique index. The lock, whose number is ours
        // alone, lets one in at a time, until COMMIT.
        let sql = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(7310868735955199332); {} COMMIT",
            bookkeeping::CREATE_POSTGRES
        );
        match self.run(AssertSqlSafe(sql)).await.map_err(Failure::of_no_row) {
            Err(StoreError::Stop(why)) => {
                self.run("ROLLBACK").await.map_err(Failure::of_no_row)?;
                Err(StoreError::Stop(self.who_may_create(why).await?))
            }
            created => created,
        }
    }

    async fn read_catalog(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        let describing = catalog::describe(&mut self.raw, table, key);
        self.answers.wait_for(describing).await.map_err(Failure::of_no_row)
    }

    /// The lock is the one that writing rows takes, only sooner: nobody can add a trigger, an index or
    /// a constraint between the comparison with the catalogue and the first row. It comes without a
    /// round trip of its own.
    async fn begin(&mut self, table: &Table) -> Result<(), Failure> {
        if !table.may_be_locked {
            return self.command(TransactionCommand::Begin).await;
        }
        let lock = format!("{BEGIN}; LOCK TABLE ONLY {} IN ROW EXCLUSIVE MODE", table.sql_name);
        match self.run(AssertSqlSafe(lock)).await {
            // It reads no value, whose fault an unknown name might be: the table is gone.
            Err(Failure::Uncertain(_)) => Err(StoreError::Stop(table_changed(table)).into()),
            begun => begun,
        }
    }

    async fn is_as_described(&mut self, table: &Table) -> Result<bool, StoreError> {
        let query = sqlx::query(AssertSqlSafe(sql::is_as_described(table)))
            .bind(&*table.sql_name)
            .bind(&*table.identity.mark)
            .bind(&*table.identity.shape);
        Ok(!self.fetch(query).await.map_err(Failure::of_no_row)?.is_empty())
    }

    async fn command(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        // COMMIT says that a deferred constraint is violated, but no savepoint is left then to tell
        // which row it was. SET CONSTRAINTS ALL IMMEDIATE checks what has run so far.
        self.run(match command {
            TransactionCommand::Begin => BEGIN,
            TransactionCommand::CheckDeferred => {
                "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"
            }
            other => other.sql(),
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
        let query = scoped(AssertSqlSafe(sql::move_offset(table, last.is_some())), scope)
            .bind(span.partition.0)
            .bind(span.start.0)
            .bind(span.end.0)
            .bind(partitions)
            .bind(&*table.sql_name)
            .bind(&*table.identity.mark)
            .bind(&*table.identity.shape);
        let query = match last {
            Some(last) => query.bind(last.offset.0).bind(last.timestamp),
            None => query,
        };
        self.execute(query).await.map_err(Failure::of_no_row)
    }

    async fn write(
        &mut self,
        table: &Table,
        statement: &WriteStatement<'_>,
    ) -> Result<u64, Failure> {
        let WriteStatement { kind, shape, rows } = *statement;
        let sql = match kind {
            WriteKind::Delete => sql::delete(table),
            WriteKind::Upsert => sql::upsert(table, shape),
            WriteKind::UpdateThenInsert if table.sees_empty_inserts => {
                return self.update_or_insert(table, shape, rows).await;
            }
            WriteKind::UpdateThenInsert => sql::update_then_insert(table, shape),
        };
        self.bulk(sql, table, shape, rows).await
    }

    async fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> Result<(), StoreError> {
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
        self.execute(query).await.map_err(Failure::of_no_row)?;
        Ok(())
    }

    async fn set_aside(
        &mut self,
        scope: &BookkeepingKey,
        letters: &[&DeadLetter],
        spelling: Spelling,
    ) -> Result<(), Failure> {
        for letters in rows::parts(letters) {
            let records = || letters.iter().map(|letter| &letter.record);
            let query = scoped(sql::SET_ASIDE, scope)
                .bind(records().map(|record| record.partition.0).collect::<Vec<_>>())
                .bind(records().map(|record| record.offset.0).collect::<Vec<_>>())
                .bind(records().map(|record| record.key.as_deref()).collect::<Vec<_>>())
                .bind(records().map(|record| record.value.as_deref()).collect::<Vec<_>>())
                .bind(
                    letters
                        .iter()
                        .map(|letter| bookkeeping::headers(letter, spelling))
                        .collect::<Vec<_>>(),
                )
                .bind(
                    letters
                        .iter()
                        .map(|letter| bookkeeping::reason(&letter.reason, spelling))
                        .collect::<Vec<_>>(),
                )
                .bind(letters.iter().map(|letter| letter.sqlstate.as_deref()).collect::<Vec<_>>());
            self.execute(query).await?;
        }
        Ok(())
    }
}
