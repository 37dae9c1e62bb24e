//! A dedicated connection to a database, with a limit on every wait for an answer.
//!
//! Never a pool: a cancelled `begin` leaves a pooled connection inside a transaction, where the
//! next user's writes vanish. A call that is not answered in time breaks the connection, and a
//! broken connection refuses every further call.

use std::fmt;
use std::time::Duration;

use sqlx::query::Query;
use sqlx::{ColumnIndex, Database, Encode, Executor, IntoArguments, SqlSafeStr, Type};

use crate::store::StoreError;
use crate::store::classify::Failure;
use crate::store::performed::{Readable, bound, values_of};
use crate::store::statement::{Dialect, Statement, Statements, Value};

/// What the drivers of the databases do not have in common.
pub trait Driver: Database {
    /// What a connection remembers of its server.
    type Server: fmt::Debug + Send + Sync + 'static;

    /// How the database spells the statements on the bookkeeping tables.
    const DIALECT: Dialect;

    /// How many rows a statement found, whether or not it changed them.
    fn rows_affected(result: &Self::QueryResult) -> u64;
}

/// A connection to a database.
pub struct Connection<D: Driver> {
    pub(super) raw: D::Connection,
    pub(super) answers: Answers,
    pub(super) server: D::Server,
}

/// The wait for the answer to a call, one at a time.
#[derive(Debug)]
pub(super) struct Answers {
    limit: Duration,
    /// A call was not answered in time, or was cancelled: what comes next on the wire may be the
    /// answer to that call.
    broken: bool,
}

impl Answers {
    /// Waits for the answer to `call`, and no longer than the limit.
    pub(super) async fn wait_for<T, E: Into<Failure>>(
        &mut self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        if self.broken {
            let broken = "an earlier call was not answered; reconnect".to_owned();
            return Err(Failure::Store(StoreError::Unavailable(broken)));
        }
        // Before waiting, not at the timeout: a caller that is cancelled at the await never gets
        // past it, and the next call would read the answer to this one as its own.
        self.broken = true;
        let answer = within(self.limit, call).await?;
        self.broken = false;
        answer.map_err(Into::into)
    }
}

/// What `call` comes to, if that is within `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = T>,
) -> Result<T, StoreError> {
    let waited = |_| StoreError::Unavailable(format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, call).await.map_err(waited)
}

impl<D: Driver> Connection<D> {
    pub(super) fn new(connection: D::Connection, server: D::Server, answer: Duration) -> Self {
        let answers = Answers { limit: answer, broken: false };
        Self { raw: connection, answers, server }
    }
}

impl<D: Driver> Connection<D>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    D::Arguments: IntoArguments<D>,
{
    /// Runs one statement; returns how many rows it found.
    pub(super) async fn execute(
        &mut self,
        query: Query<'_, D, D::Arguments>,
    ) -> Result<u64, Failure> {
        let result = self.answers.wait_for(query.execute(&mut self.raw)).await?;
        Ok(D::rows_affected(&result))
    }

    /// Runs one statement that answers with rows.
    pub(super) async fn fetch(
        &mut self,
        query: Query<'_, D, D::Arguments>,
    ) -> Result<Vec<D::Row>, Failure> {
        self.answers.wait_for(query.fetch_all(&mut self.raw)).await
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&mut self, sql: impl SqlSafeStr) -> Result<(), Failure> {
        let call = sqlx::raw_sql(sql).execute(&mut self.raw);
        self.answers.wait_for(call).await?;
        Ok(())
    }

    /// Creates the missing bookkeeping tables, and brings an earlier consumer's up to date: makes
    /// each step whose question finds a row.
    pub(super) async fn create(
        &mut self,
        create: &'static str,
        steps: &'static [(&'static str, &'static str)],
    ) -> Result<(), Failure> {
        self.run(create).await?;
        for (lacks, step) in steps {
            if !self.fetch(sqlx::query(*lacks)).await?.is_empty() {
                self.run(*step).await?;
            }
        }
        Ok(())
    }
}

impl<D: Driver> Statements for Connection<D>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    D::Arguments: IntoArguments<D>,
    for<'q> i64: Encode<'q, D> + Type<D>,
    for<'q> Option<String>: Encode<'q, D> + Type<D>,
    for<'q> Option<Vec<u8>>: Encode<'q, D> + Type<D>,
    usize: ColumnIndex<D::Row>,
    for<'r> i32: Readable<'r, D>,
    for<'r> i64: Readable<'r, D>,
    for<'r> Option<String>: Readable<'r, D>,
    for<'r> Option<Vec<u8>>: Readable<'r, D>,
{
    fn dialect(&self) -> Dialect {
        D::DIALECT
    }

    async fn perform(&mut self, statement: Statement) -> Result<u64, StoreError> {
        self.execute(bound(statement)).await.map_err(Failure::of_no_row)
    }

    async fn select(&mut self, statement: Statement) -> Result<Vec<Vec<Value>>, StoreError> {
        let columns = statement.columns;
        let rows = self.fetch(bound(statement)).await.map_err(Failure::of_no_row)?;
        Ok(values_of(&rows, columns)?)
    }
}

impl<D: Driver> fmt::Debug for Connection<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(D::NAME).field("answers", &self.answers).finish_non_exhaustive()
    }
}
