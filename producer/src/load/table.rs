//! The loader of a table: any database, one statement for any number of keys.
//!
//! It knows nothing of SQL: [`TableDatabase`] reads the catalogue, writes the statement and runs it.

use std::sync::OnceLock;

use serde::Serialize;
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::error::LoadError;
use crate::load::table_plan::{KeyTexts, TableCatalog, TableOptions, TablePlan, write_id};
use crate::load::{DeadLetter, Loaded, Loader, LogRange, Source, TableShape};

/// Reads rows from a table, together with what the consumer has noted of their partitions.
///
/// One statement is one snapshot, so its answers are exact ([`Loaded::at`]). The consumer's
/// bookkeeping tables must be in the same database when the handle is built. One loader serves one
/// handle.
pub struct TableLoader<D: TableDatabase> {
    database: D,
    options: TableOptions,
    plan: OnceLock<TablePlan<D::Form>>,
}

/// A database that has the table: a pool of connections.
pub trait TableDatabase: Send + Sync + 'static {
    /// What it must know of a column's type to write its values as records have them.
    type Form: Clone + Send + Sync + std::fmt::Debug + 'static;

    /// The loader's public name.
    const LOADER: &'static str;

    /// Reads the catalogue. None: there is no such table.
    fn catalog(
        &self,
        table: &str,
    ) -> impl Future<Output = Result<Option<TableCatalog<Self::Form>>, LoadError>> + Send;

    /// The statement that finds rows.
    fn select(plan: &TablePlan<Self::Form>) -> String;

    /// Runs it: a row for each key, in their order.
    fn rows(
        &self,
        plan: &TablePlan<Self::Form>,
        keys: KeyTexts,
    ) -> impl Future<Output = Result<Vec<Loaded>, LoadError>> + Send;

    /// The dead letters in these ranges that are still open, by partition and offset.
    fn dead_letters(
        &self,
        source: &Source,
        ranges: &[LogRange],
    ) -> impl Future<Output = Result<Vec<DeadLetterRow>, sqlx::Error>> + Send;

    /// Whether a statement failed because the bookkeeping tables are missing.
    fn has_no_bookkeeping(error: &dyn sqlx::error::DatabaseError) -> bool;
}

/// A dead letter as it is stored: partition, offset, key, headers as JSON, reason.
pub(super) type DeadLetterRow = (i32, i64, Option<Vec<u8>>, String, String);

const NO_BOOKKEEPING: &str = "the consumer's bookkeeping tables are not there: run \
    `write-behind init` on this database, or the consumer once; if they are in another schema, put \
    that into the `search_path` of the loader's connections";
const NOT_PREPARED: &str =
    "the loader was not prepared: give it to `Builder::loader`, whose `build` does that";
const PREPARED_TWICE: &str = "the loader was prepared twice: make one for each handle";

impl<D: TableDatabase> TableLoader<D> {
    /// Reads from `table`, spelled exactly as in the database; nothing is checked before the handle
    /// is built. Postgres: `scores`, `public.scores` or `public."odd.name"`.
    pub fn table(pool: D, table: impl Into<String>) -> Self {
        let options = TableOptions::table(table.into());
        Self { database: pool, options, plan: OnceLock::new() }
    }

    /// Reads these columns; unless set, all but those that the database generates.
    #[must_use]
    pub fn columns(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.columns = names.into_iter().map(Into::into).collect();
        self
    }

    /// Finds rows by these columns, which must be a unique key; the primary key unless set. They
    /// must be the consumer's `key`.
    #[must_use]
    pub fn key(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.key = names.into_iter().map(Into::into).collect();
        self
    }

    async fn rows<K: Serialize>(
        &self,
        plan: &TablePlan<D::Form>,
        keys: &[K],
    ) -> Result<Vec<Loaded>, LoadError> {
        self.database.rows(plan, plan.texts(keys)?).await
    }

    async fn letters(
        &self,
        source: &Source,
        ranges: &[LogRange],
    ) -> Result<Vec<DeadLetter>, LoadError> {
        let rows = self.database.dead_letters(source, ranges).await.map_err(failed::<D>)?;
        let letter = |(partition, offset, key, headers, reason): DeadLetterRow| DeadLetter {
            partition: Partition(partition),
            offset: Offset(offset),
            key: key.unwrap_or_default(),
            write_id: write_id(&headers),
            reason,
        };
        Ok(rows.into_iter().map(letter).collect())
    }

    fn plan(&self) -> Result<&TablePlan<D::Form>, LoadError> {
        self.plan.get().ok_or_else(|| LoadError::new(NOT_PREPARED))
    }
}

impl<D: TableDatabase, K: Serialize + Send + Sync + 'static> Loader<K> for TableLoader<D> {
    async fn prepare(&self, source: &Source) -> Result<(), LoadError> {
        let catalog = self.database.catalog(&self.options.table).await?;
        let catalog = catalog.ok_or_else(|| self.options.no_such_table())?;
        let mut plan = self.options.plan(catalog, source)?;
        plan.select = D::select(&plan).into();
        // Asked for nothing, they show whether all they need is there and may be read.
        self.rows::<K>(&plan, &[]).await?;
        self.letters(source, &[]).await?;
        // Again by a build whose first attempt failed; another handle's rows would be other ones.
        match self.plan.set(plan) {
            Err(plan) if self.plan()?.source != plan.source => Err(LoadError::new(PREPARED_TWICE)),
            _ => Ok(()),
        }
    }

    async fn load(&self, key: &K) -> Result<Loaded, LoadError> {
        let mut found = self.rows(self.plan()?, std::slice::from_ref(key)).await?;
        found.pop().ok_or_else(|| LoadError::new("the database gave no answer to a key"))
    }

    async fn load_many(&self, keys: &[K]) -> Result<Vec<Loaded>, LoadError> {
        self.rows(self.plan()?, keys).await
    }

    fn table(&self) -> Option<TableShape> {
        self.plan.get().map(TablePlan::shape)
    }

    fn knows_dead_letters(&self) -> bool {
        true
    }

    async fn dead_letters(&self, ranges: &[LogRange]) -> Result<Vec<DeadLetter>, LoadError> {
        self.letters(&self.plan()?.source, ranges).await
    }
}

/// What was found of a row, with its partition's next offset in the same snapshot.
pub(super) fn loaded(next: Option<i64>, object: Option<&[u8]>) -> Result<Loaded, LoadError> {
    let loaded = object.map_or_else(|| Ok(Loaded::missing()), Loaded::json)?;
    // A partition without bookkeeping has had nothing applied.
    Ok(loaded.at(next.map_or(NextOffset::ZERO, NextOffset)))
}

/// A statement failed; with the mend, if it is the bookkeeping that is missing.
pub(super) fn failed<D: TableDatabase>(error: sqlx::Error) -> LoadError {
    let is_missing = error.as_database_error().is_some_and(D::has_no_bookkeeping);
    if is_missing { LoadError::new(NO_BOOKKEEPING) } else { LoadError::new(error) }
}

/// The pool gave no connection.
pub(super) fn no_connection(error: &sqlx::Error) -> LoadError {
    LoadError::new(format!("can't connect to the loader's database: {error}"))
}

impl<D: TableDatabase> std::fmt::Debug for TableLoader<D> {
    /// Without the pool, whose options hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(D::LOADER).field("table", &self.options.table).finish_non_exhaustive()
    }
}
