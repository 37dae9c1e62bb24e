//! The handle: what a service calls.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{Instrument as _, info_span};
use write_behind_shared::{Change, Number};

use crate::core::ledger::Key;
use crate::core::loaded::Reading;
use crate::error::{DeliveryError, Halt, PutThroughError, ReadError, Undelivered, WriteError};
use crate::event::EventStream;
use crate::metrics::Metrics;
use crate::owner::Owner;
use crate::partitions::partition::Stage;
use crate::partitions::sync;
use crate::writes::write::Write;

/// A handle on the rows of one topic; clones share everything.
///
/// `K` is the key: an integer, a text, a uuid, a date, a boolean, or for a composite key a struct
/// or a map of these; or a tuple, with [`Builder::key_columns`](crate::Builder::key_columns). A
/// newtype is what it holds. `V` is the row: a struct whose fields are the table's columns.
pub struct WriteBehind<K, V> {
    owner: Arc<Owner<K>>,
    row: PhantomData<fn(V) -> V>,
}

/// What [`WriteBehind::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<V> {
    /// The row, if there is one.
    pub row: Option<V>,
    /// A newer write of the row was forgotten here, or the tail that follows the log is broken: the
    /// row may be older than the log has it.
    pub may_be_behind: bool,
}

impl<K, V> WriteBehind<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    pub(crate) fn new(owner: Owner<K>) -> Self {
        Self { owner: Arc::new(owner), row: PhantomData }
    }

    /// Writes every column of the row. The row is visible to reads when this returns; it is not in
    /// the log yet, which [`Write::replicated`] waits for. This waits only for room, and only with
    /// [`WhenFull::Wait`](crate::WhenFull::Wait) or [`WhenFull::Forget`](crate::WhenFull::Forget);
    /// writes that wait are served in the order they came, without a time limit.
    ///
    /// Cancelled while it waits, it has written nothing.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn put(&self, key: &K, row: &V) -> Result<Write, WriteError> {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.put(key, row);
        self.owner.acceptor.write(start, prepared).await
    }

    /// Like [`put`](Self::put), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_put(&self, key: &K, row: &V) -> Result<Write, WriteError> {
        let start = Metrics::sampled_start();
        self.owner.acceptor.try_write(start, self.owner.encoder.put(key, row))
    }

    /// Writes the columns that `fields` (a struct or a map) has, and leaves the others. The row is
    /// inserted if it is missing.
    ///
    /// A field that is `None` is written as null: the column becomes SQL's NULL. To leave a column
    /// alone, leave its field out, which is what `skip_serializing_if` is for:
    ///
    /// ```
    /// #[derive(serde::Serialize, Default)]
    /// struct Fields {
    ///     #[serde(skip_serializing_if = "Option::is_none")]
    ///     name: Option<String>,                            // None: the column keeps its value
    ///     #[serde(skip_serializing_if = "Option::is_none")]
    ///     left_at: Option<Option<String>>,                 // Some(None): the column becomes NULL
    /// }
    /// let fields = Fields { left_at: Some(None), ..Fields::default() };
    /// assert_eq!(serde_json::to_string(&fields).unwrap(), r#"{"left_at":null}"#);
    /// ```
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn update<F>(&self, key: &K, fields: &F) -> Result<Write, WriteError>
    where
        F: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.update(key, fields);
        self.owner.acceptor.write(start, prepared).await
    }

    /// Like [`update`](Self::update), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_update<F>(&self, key: &K, fields: &F) -> Result<Write, WriteError>
    where
        F: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        self.owner.acceptor.try_write(start, self.owner.encoder.update(key, fields))
    }

    /// Adds `delta` to one column, exactly once. A missing row is inserted with the delta.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn add(
        &self,
        key: &K,
        column: &str,
        delta: impl Into<Number>,
    ) -> Result<Write, WriteError> {
        self.change(key, Change::new().add(column, delta)).await
    }

    /// Like [`add`](Self::add), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_add(
        &self,
        key: &K,
        column: &str,
        delta: impl Into<Number>,
    ) -> Result<Write, WriteError> {
        self.try_change(key, Change::new().add(column, delta))
    }

    /// Sets some columns and adds to others, in one write.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn change(&self, key: &K, change: Change) -> Result<Write, WriteError> {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.change(key, change);
        self.owner.acceptor.write(start, prepared).await
    }

    /// Like [`change`](Self::change), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_change(&self, key: &K, change: Change) -> Result<Write, WriteError> {
        let start = Metrics::sampled_start();
        self.owner.acceptor.try_write(start, self.owner.encoder.change(key, change))
    }

    /// Writes every column of the row and waits until the database has it, but no longer than
    /// `timeout`: write-through, for the write that others must find there.
    ///
    /// # Errors
    /// [`PutThroughError`]: the write was not accepted, or is not known to be in the database. With
    /// [`DeliveryError::TimedOut`] it was accepted and goes on, as it does when this is cancelled
    /// after that.
    pub async fn put_through(
        &self,
        key: &K,
        row: &V,
        timeout: Duration,
    ) -> Result<(), PutThroughError> {
        let mut accepted = false;
        let written = async {
            let write = self.put(key, row).await?;
            accepted = true;
            Ok(write.persisted().await?)
        };
        match sync::timeout(timeout, written).await {
            Some(outcome) => outcome,
            None if accepted => Err(DeliveryError::TimedOut.into()),
            None => Err(WriteError::NoRoomInTime.into()),
        }
    }

    /// Deletes the row.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn delete(&self, key: &K) -> Result<Write, WriteError> {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.delete(key);
        self.owner.acceptor.write(start, prepared).await
    }

    /// Like [`delete`](Self::delete), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_delete(&self, key: &K) -> Result<Write, WriteError> {
        let start = Metrics::sampled_start();
        self.owner.acceptor.try_write(start, self.owner.encoder.delete(key))
    }

    /// The row as of this process's last accepted write: from what is pending, else from the
    /// cache, else from the loader. `None` if there is none, or none is known and there is no
    /// loader.
    ///
    /// A load takes no longer than [`load_timeout`](crate::Builder::load_timeout). Cancelled, this
    /// leaves a load under way to the others that wait for it.
    ///
    /// # Errors
    /// [`ReadError`]: the loader failed or took too long, the row does not fit `V`, or it cannot be
    /// promised to be that new ([`ReadError::MayBeBehind`]).
    pub async fn get(&self, key: &K) -> Result<Option<V>, ReadError> {
        let canonical = self.owner.encoder.key(key)?;
        Read::of(self.owner.reader.read(key, canonical).await?)?.promised()
    }

    /// The row as [`get`](Self::get) finds it, or as new as is known, and whether that may be
    /// behind.
    ///
    /// # Errors
    /// [`ReadError`]: the loader failed, or the row does not fit `V`.
    pub async fn read(&self, key: &K) -> Result<Read<V>, ReadError> {
        let canonical = self.owner.encoder.key(key)?;
        let found = Read::of(self.owner.reader.read(key, Key::clone(&canonical)).await?)?;
        // Asked afterwards: a tail that broke meanwhile counts too.
        let may_be_behind = found.may_be_behind || self.owner.reader.tail_may_be_behind(&canonical);
        Ok(Read { may_be_behind, ..found })
    }

    /// The rows of all `keys`, in their order, each as [`get`](Self::get) has it. The loader is
    /// asked once for all rows that have to be loaded.
    ///
    /// # Errors
    /// [`ReadError`], when one of the rows cannot be read, or cannot be promised to be that new.
    pub async fn get_many(&self, keys: &[K]) -> Result<Vec<Option<V>>, ReadError> {
        let encoded: Result<Vec<_>, ReadError> =
            keys.iter().map(|key| Ok((key, self.owner.encoder.key(key)?))).collect();
        let rows = self.owner.reader.read_many(encoded?).await?;
        rows.into_iter().map(|row| Read::of(row)?.promised()).collect()
    }

    /// Loads the row again, though there may be a cached row, which it replaces. If what is pending
    /// says what the row is, that is the answer and the loader is not asked. Until the answer is
    /// there, and if the loader fails, other reads see the previously cached row.
    ///
    /// # Errors
    /// [`ReadError`]: the loader failed, the row does not fit `V`, it cannot be promised to be as
    /// new as this process's last write of it, or there is no loader.
    pub async fn refresh(&self, key: &K) -> Result<Option<V>, ReadError> {
        let row = self.owner.reader.refresh(key, self.owner.encoder.key(key)?).await?;
        Read::of(row)?.promised()
    }

    /// Removes the row from the cache, because something else changed the database. What a load
    /// under way finds is not kept. Pending writes of the row stay visible, and do not become a
    /// cached row.
    ///
    /// # Errors
    /// The key has no canonical text.
    pub fn invalidate(&self, key: &K) -> Result<(), ReadError> {
        self.owner.reader.invalidate(&self.owner.encoder.key(key)?);
        Ok(())
    }

    /// [`invalidate`](Self::invalidate)s every row.
    pub fn invalidate_all(&self) {
        self.owner.reader.invalidate_all();
    }

    /// What happens to this handle's writes and to its connections from now on. A listener that is
    /// more than 1,024 events behind misses the oldest, and is told how many.
    pub fn events(&self) -> EventStream {
        self.owner.partitions.events.listen()
    }

    /// Whether every record that has been in the log for about two seconds was read here, of any
    /// writer. False without [`Builder::follow`](crate::Builder::follow), while Kafka does not
    /// answer, and while the tail falls behind: reads may then miss what others wrote.
    /// [`get`](Self::get) goes on giving what is known, never older than this process's own writes;
    /// [`read`](Self::read) says that it may be behind.
    pub fn tail_is_current(&self) -> bool {
        self.owner.reader.tail_is_current()
    }

    /// Waits until every write accepted before this call is in the database, without a time limit.
    /// May be cancelled.
    ///
    /// # Errors
    /// [`DeliveryError`]: one of them was lost, or an earlier one that no call has told of yet, or
    /// the handle was closed. It is the first such loss, and all others count as told too; each is
    /// an [`Event`](crate::Event).
    pub async fn flush(&self) -> Result<(), DeliveryError> {
        self.owner.pass(Stage::Persisted).await
    }

    /// Waits until every write accepted before this call is replicated, without a time limit. May
    /// be cancelled.
    ///
    /// # Errors
    /// As of [`flush`](Self::flush).
    pub async fn replicated_all(&self) -> Result<(), DeliveryError> {
        self.owner.pass(Stage::Replicated).await
    }

    /// Why this handle accepts no more writes, if that is so; only a new handle does. Reads go on.
    pub fn halted(&self) -> Option<Halt> {
        self.owner.partitions.halt.get().cloned()
    }

    /// Accepts no more writes, waits until all are replicated, but no longer than `deadline`, and
    /// ends the handle's threads. What is replicated will be in the database; to wait for that too,
    /// [`flush`](Self::flush) first. Cancelled, it can be called again; no write is accepted in
    /// between.
    ///
    /// # Errors
    /// [`Undelivered`]: the rows whose writes Kafka had not answered by then, and the first loss
    /// that no call has told of yet.
    pub async fn close(&self, deadline: Duration) -> Result<(), Undelivered> {
        let span = info_span!("close", topic = self.owner.topic());
        self.owner.close(deadline).instrument(span).await
    }
}

impl<V: DeserializeOwned> Read<V> {
    fn of(reading: Reading) -> Result<Self, ReadError> {
        let row = reading.row.map(|row| serde_json::from_slice(&row)).transpose();
        let row = row.map_err(|error| ReadError::Type(Arc::new(error)))?;
        Ok(Self { row, may_be_behind: reading.may_be_behind })
    }

    /// The row, if it is as new as is promised.
    fn promised(self) -> Result<Option<V>, ReadError> {
        if self.may_be_behind { Err(ReadError::MayBeBehind) } else { Ok(self.row) }
    }
}

impl<K, V> Clone for WriteBehind<K, V> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), row: PhantomData }
    }
}

impl<K, V> std::fmt::Debug for WriteBehind<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBehind").field("topic", &self.owner.topic()).finish_non_exhaustive()
    }
}
