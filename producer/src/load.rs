//! Read-through: how a row that is neither pending nor cached is found in the database.

use std::pin::Pin;

use serde::Serialize;
use write_behind_shared::{NextOffset, json};

use crate::delta::Row;
use crate::entry::Found;
use crate::error::LoadError;

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
}

impl<K: Sync, L: Loader<K>> AnyLoader<K> for L {
    fn load_boxed<'l>(
        &'l self,
        key: &'l K,
    ) -> Pin<Box<dyn Future<Output = Result<Loaded, LoadError>> + Send + 'l>> {
        Box::pin(self.load(key))
    }
}

/// What the reads of one row that wait for the same load get.
pub(crate) type LoadResult = Result<Option<Row>, LoadError>;
