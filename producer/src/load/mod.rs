//! Loaders: they find a row that is neither pending nor cached in the database.

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod table;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod table_plan;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
mod as_json;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "mysql")]
mod mysql_row;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(feature = "sqlite")]
mod sqlite_row;
pub(crate) mod late;

use std::pin::Pin;

use serde::Serialize;
use write_behind_shared::key::KeyColumn;
use write_behind_shared::{NextOffset, Offset, Partition, WriteId, json};

use crate::core::delta::Row;
pub use crate::core::loaded::Loaded;
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
    /// Finds the row of `key`. It may be dropped before it has answered.
    fn load(&self, key: &K) -> impl Future<Output = Result<Loaded, LoadError>> + Send;

    /// Finds the rows of all `keys`: one answer for each, in their order. Unless overridden, one
    /// after the other.
    fn load_many(&self, keys: &[K]) -> impl Future<Output = Result<Vec<Loaded>, LoadError>> + Send
    where
        K: Sync,
    {
        async move {
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                found.push(self.load(key).await?);
            }
            Ok(found)
        }
    }

    /// Told once, by [`Builder::build`](crate::Builder::build) and before anything is loaded, whose
    /// rows it will be asked for. An error fails the build.
    fn prepare(&self, source: &Source) -> impl Future<Output = Result<(), LoadError>> + Send {
        let _ = source;
        async { Ok(()) }
    }

    /// What the table takes, if the loader knows it once it is prepared: writes that it can't hold
    /// are then refused at the call, and a row type that it can't hold when the handle is built.
    fn table(&self) -> Option<TableShape> {
        None
    }

    /// Whether [`dead_letters`](Self::dead_letters) is worth asking for.
    fn knows_dead_letters(&self) -> bool {
        false
    }

    /// The dead letters in `ranges` of the log that are still open, by partition and offset. The
    /// ranges do not overlap.
    fn dead_letters(
        &self,
        ranges: &[LogRange],
    ) -> impl Future<Output = Result<Vec<DeadLetter>, LoadError>> + Send {
        let _ = ranges;
        async { Ok(Vec::new()) }
    }
}

/// Whose rows a loader is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// The topic.
    pub topic: String,
    /// The consumer's group, which is its pipeline's name.
    pub sink_group: String,
    /// The Kafka cluster's id.
    pub cluster: String,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The names of the key's columns, as far as
    /// [`Builder::key_columns`](crate::Builder::key_columns) says them.
    pub key_columns: Vec<Box<str>>,
}

impl Source {
    /// For who calls [`Loader::prepare`] without a handle, in a test.
    pub fn new(
        topic: impl Into<String>,
        sink_group: impl Into<String>,
        cluster: impl Into<String>,
        partitions: i32,
    ) -> Self {
        let (topic, sink_group, cluster) = (topic.into(), sink_group.into(), cluster.into());
        Self { topic, sink_group, cluster, partitions, key_columns: Vec::new() }
    }

    /// With the names of the key's columns.
    #[must_use]
    pub fn key_columns(mut self, names: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        self.key_columns = names.into_iter().map(Into::into).collect();
        self
    }
}

/// What a table takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableShape {
    /// The columns that a record may name.
    pub columns: Vec<Box<str>>,
    /// The key's columns and their types.
    pub key: Vec<KeyColumn>,
}

impl TableShape {
    /// Of these columns, and with this key.
    pub fn new(
        columns: impl IntoIterator<Item = impl Into<Box<str>>>,
        key: impl IntoIterator<Item = KeyColumn>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { columns, key: key.into_iter().collect() }
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
    /// Its key, as it stands in the log; empty, if it had none.
    pub key: Vec<u8>,
    /// Which write it carries.
    pub write_id: Option<WriteId>,
    /// Why it was refused.
    pub reason: String,
}

impl Loaded {
    /// There is no such row.
    #[must_use]
    pub fn missing() -> Self {
        Self { row: None, next: None }
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
        Ok(Self { row: Some(Row::from(object)), next: None })
    }

    /// The row as a JSON object, if there is one.
    pub fn as_json(&self) -> Option<&[u8]> {
        self.row.as_deref()
    }

    /// The partition's next offset in the same snapshot, if it was told.
    pub fn next_offset(&self) -> Option<NextOffset> {
        self.next
    }

    /// The same, read in one snapshot with the partition's next offset.
    #[must_use]
    pub fn at(mut self, next: NextOffset) -> Self {
        self.next = Some(next);
        self
    }
}

impl<K, F, Fut, T, E> Loader<K> for F
where
    K: Clone + Sync + 'static,
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

/// A future of a loader of any type.
pub(crate) type LoaderFuture<'l, T> =
    Pin<Box<dyn Future<Output = Result<T, LoadError>> + Send + 'l>>;

/// A loader of any type.
pub(crate) trait AnyLoader<K>: Send + Sync {
    fn prepare_boxed<'l>(&'l self, source: &'l Source) -> LoaderFuture<'l, ()>;
    fn table_shape(&self) -> Option<TableShape>;
    fn load_boxed<'l>(&'l self, key: &'l K) -> LoaderFuture<'l, Loaded>;
    fn load_many_boxed<'l>(&'l self, keys: &'l [K]) -> LoaderFuture<'l, Vec<Loaded>>;
    fn knows_dead_letters(&self) -> bool;
    fn dead_letters_boxed<'l>(
        &'l self,
        ranges: &'l [LogRange],
    ) -> LoaderFuture<'l, Vec<DeadLetter>>;
}

impl<K: Sync + 'static, L: Loader<K>> AnyLoader<K> for L {
    fn prepare_boxed<'l>(&'l self, source: &'l Source) -> LoaderFuture<'l, ()> {
        Box::pin(self.prepare(source))
    }

    fn table_shape(&self) -> Option<TableShape> {
        self.table()
    }

    fn load_boxed<'l>(&'l self, key: &'l K) -> LoaderFuture<'l, Loaded> {
        Box::pin(self.load(key))
    }

    fn load_many_boxed<'l>(&'l self, keys: &'l [K]) -> LoaderFuture<'l, Vec<Loaded>> {
        Box::pin(self.load_many(keys))
    }

    fn knows_dead_letters(&self) -> bool {
        Loader::knows_dead_letters(self)
    }

    fn dead_letters_boxed<'l>(
        &'l self,
        ranges: &'l [LogRange],
    ) -> LoaderFuture<'l, Vec<DeadLetter>> {
        Box::pin(self.dead_letters(ranges))
    }
}
