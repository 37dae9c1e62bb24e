//! Read-through: how a row that is neither pending nor cached is found in the database.

use std::pin::Pin;

use serde::Serialize;
use write_behind_shared::{NextOffset, Offset, Partition, WriteId, json};

use crate::delta::Row;
use crate::error::LoadError;
use crate::found::Found;

/// Finds rows in the database.
///
/// An async closure from a key to `Result<Option<row>, error>` is a loader. What it cannot tell is
/// which records the row already holds, so an increment that is pending while it reads may be
/// counted twice in the answer; such an answer is given once and never cached. A loader that reads
/// the row and the partition's `next_offset` from `write_behind_offsets` in one snapshot, and says
/// so by [`Loaded::at`], makes every answer exact.
///
/// It must read from the primary: a replica that lags would bring back what is already replaced.
pub trait Loader<K>: Send + Sync + 'static {
    /// Finds the row of `key`.
    fn load(&self, key: &K) -> impl Future<Output = Result<Loaded, LoadError>> + Send;

    /// Whether it can tell which records became dead letters.
    fn knows_dead_letters(&self) -> bool {
        false
    }

    /// The dead letters in `ranges` of the log.
    fn dead_letters(
        &self,
        ranges: &[LogRange],
    ) -> impl Future<Output = Result<Vec<DeadLetter>, LoadError>> + Send {
        let _ = ranges;
        async { Ok(Vec::new()) }
    }
}

/// A part of one partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The partition.
    pub partition: Partition,
    /// The first offset.
    pub from: Offset,
    /// The offset after the last.
    pub to: NextOffset,
}

/// A record that the database refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// Its key, as it stands in the log.
    pub key: Vec<u8>,
    /// Which write it carries.
    pub write_id: Option<WriteId>,
    /// Why it was refused.
    pub reason: String,
}

/// What a loader found.
#[derive(Clone, Debug)]
pub struct Loaded(pub(crate) Found);

impl Loaded {
    /// There is no such row.
    #[must_use]
    pub fn missing() -> Self {
        Self(Found { row: None, next: None })
    }

    /// A row: a struct or a map of columns.
    ///
    /// # Errors
    /// When it cannot be written as a JSON object.
    pub fn row<T: Serialize + ?Sized>(row: &T) -> Result<Self, LoadError> {
        Self::json(&serde_json::to_vec(row).map_err(LoadError::new)?)
    }

    /// A row that is a JSON object already.
    ///
    /// # Errors
    /// When it is not one.
    pub fn json(object: &[u8]) -> Result<Self, LoadError> {
        json::members(object).map_err(LoadError::new)?;
        Ok(Self(Found { row: Some(Row::from(object)), next: None }))
    }

    /// The same, read in one snapshot with the partition's next offset.
    #[must_use]
    pub fn at(mut self, next: NextOffset) -> Self {
        self.0.next = Some(next);
        self
    }
}

impl<K, F, Fut, T, E> Loader<K> for F
where
    K: Clone + Sync,
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<T>, E>> + Send,
    T: Serialize + Send,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    async fn load(&self, key: &K) -> Result<Loaded, LoadError> {
        match self(key.clone()).await.map_err(LoadError::new)? {
            Some(row) => Loaded::row(&row),
            None => Ok(Loaded::missing()),
        }
    }
}

/// A loader of any type.
pub(crate) trait AnyLoader<K>: Send + Sync {
    fn load_boxed<'l>(
        &'l self,
        key: &'l K,
    ) -> Pin<Box<dyn Future<Output = Result<Loaded, LoadError>> + Send + 'l>>;
    fn knows_dead_letters(&self) -> bool;
    fn dead_letters_boxed<'l>(
        &'l self,
        ranges: &'l [LogRange],
    ) -> Pin<Box<dyn Future<Output = Result<Vec<DeadLetter>, LoadError>> + Send + 'l>>;
}

impl<K: Sync + 'static, L: Loader<K>> AnyLoader<K> for L {
    fn load_boxed<'l>(
        &'l self,
        key: &'l K,
    ) -> Pin<Box<dyn Future<Output = Result<Loaded, LoadError>> + Send + 'l>> {
        Box::pin(self.load(key))
    }

    fn knows_dead_letters(&self) -> bool {
        Loader::knows_dead_letters(self)
    }

    fn dead_letters_boxed<'l>(
        &'l self,
        ranges: &'l [LogRange],
    ) -> Pin<Box<dyn Future<Output = Result<Vec<DeadLetter>, LoadError>> + Send + 'l>> {
        Box::pin(self.dead_letters(ranges))
    }
}

/// What the reads of one row that wait for the same load get.
pub(crate) type LoadResult = Result<Reading, LoadError>;

/// What a read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) row: Option<Row>,
    /// A newer write of the row was forgotten, and the database may not have it.
    pub(crate) may_be_behind: bool,
}
