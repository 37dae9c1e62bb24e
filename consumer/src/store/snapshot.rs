//! The database as of one moment, while others write: takes rows as the log has them, gives those that
//! differ, and the keys that there are.
//!
//! Values are compared by the database itself, after it has cast what is expected to the column's type:
//! `1.0` is `1.00`, and the members of a `jsonb` have no order.

use write_behind_shared::{Offset, Partition};

use super::inspect::Inspect;
use super::{AnyStore, Scope, StoreError};
use crate::apply::row::Row;
use crate::apply::table::Table;

/// A row that is not as it is expected to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Its place among the rows that were given.
    pub at: usize,
    /// Whether it is missing.
    pub missing: bool,
    /// The columns that differ, by their place in the shape: what is expected and what is there.
    pub differs: Vec<(usize, Option<String>, Option<String>)>,
}

/// A database that can be looked at as of one moment.
pub trait Snapshot: Inspect {
    /// Begins the moment: whatever is asked until [`Snapshot::thaw`] is answered as of now. Writers are
    /// not held up.
    fn freeze(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The records that were set aside and not replayed since.
    fn set_aside_of(
        &mut self,
        scope: &Scope,
    ) -> impl Future<Output = Result<Vec<(Partition, Offset)>, StoreError>> + Send;

    /// Which of `rows` are missing or hold something else in the columns of `shape`, by their place in
    /// the table. Each row sets these columns; an empty shape asks only whether the row is there.
    fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row],
    ) -> impl Future<Output = Result<Vec<Compared>, StoreError>> + Send;

    /// The next so many keys of the table, after that one, in an order of the database's own.
    fn keys(
        &mut self,
        table: &Table,
        after: Option<&[String]>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Vec<String>>, StoreError>> + Send;

    /// Ends the moment.
    fn thaw(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Calls the store inside.
macro_rules! inside {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            AnyStore::Postgres($inner) => $call.await,
            AnyStore::Sqlite($inner) => $call.await,
            AnyStore::Mysql(_) => Err(StoreError::Stop(
                "MySQL and MariaDB can't be verified yet: only Postgres and SQLite can".to_owned(),
            )),
        }
    };
}

impl Snapshot for AnyStore {
    async fn freeze(&mut self) -> Result<(), StoreError> {
        inside!(self, store => store.freeze())
    }

    async fn set_aside_of(
        &mut self,
        scope: &Scope,
    ) -> Result<Vec<(Partition, Offset)>, StoreError> {
        inside!(self, store => store.set_aside_of(scope))
    }

    async fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row],
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

    async fn thaw(&mut self) -> Result<(), StoreError> {
        inside!(self, store => store.thaw())
    }
}
