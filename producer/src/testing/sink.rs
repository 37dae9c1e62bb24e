//! The consumer and its database, in memory: it applies the log when the test says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tracing::warn;
use write_behind_shared::{NextOffset, Partition, key, partition};

use super::broker::Broker;
use super::error::TestingError;
use super::log::LogReader;
use super::table::Table;
use crate::error::LoadError;
use crate::load::{DeadLetter, Loaded, Loader, LogRange};

/// The consumer of a group and its database, made of memory; clones are the same one. See
/// [`Broker::sink`].
#[derive(Clone)]
pub struct Sink {
    inner: Arc<Inner>,
}

struct Inner {
    group: String,
    /// Held while records are applied and committed, so that two callers take turns.
    reader: Mutex<LogReader>,
    table: Mutex<Table>,
    partitions: i32,
    down: AtomicBool,
}

/// Reads rows from a [`Sink`]'s table, each with its partition's next offset, so that every answer
/// is exact; and dead letters. See [`Sink::loader`].
#[derive(Clone, Debug)]
pub struct SinkLoader(Sink);

/// Applies the log until it is dropped; a drop waits for the round under way, unless the log is
/// elsewhere. See [`Sink::apply_every`].
#[derive(Debug)]
#[must_use = "it applies until it is dropped"]
pub struct Applying {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// What stands for the consumer of `group` and its database, an empty table. It applies nothing
    /// by itself.
    ///
    /// # Errors
    /// [`TestingError`]: there is no such topic.
    pub fn sink(&self, topic: &str, group: &str) -> Result<Sink, TestingError> {
        Ok(Sink::over(LogReader::new(self, topic, group)?, group))
    }
}

impl Sink {
    /// The same over a topic of any Kafka, to try a service without a database: the table is made
    /// of the whole log, again in each process. No consumer may have the same group.
    ///
    /// # Errors
    /// [`TestingError`]: Kafka does not answer, or there is no such topic.
    pub fn elsewhere(
        properties: &[(String, String)],
        topic: &str,
        group: &str,
    ) -> Result<Self, TestingError> {
        Ok(Self::over(LogReader::elsewhere(properties, topic, group)?, group))
    }

    fn over(reader: LogReader, group: &str) -> Self {
        let partitions = reader.partitions();
        let inner = Inner {
            group: group.to_owned(),
            reader: Mutex::new(reader),
            table: Mutex::new(Table::new(partitions)),
            partitions,
            down: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Applies all that is in the log and commits it; gives how many records that were. What is
    /// accepted and not replicated is not in the log:
    /// [`replicated_all`](crate::WriteBehind::replicated_all) first.
    ///
    /// # Errors
    /// [`TestingError`]: the broker or the database is down.
    pub fn apply_all(&self) -> Result<usize, TestingError> {
        self.is_up()?;
        let mut reader = self.reader();
        let records = reader.read_ahead()?;
        self.take(&mut reader, records)?;
        Ok(records)
    }

    /// Applies exactly the next `records` and commits them: those of partition 0 first, in order.
    ///
    /// # Errors
    /// [`TestingError`]: the log holds fewer, and nothing was applied; or the broker or the
    /// database is down.
    pub fn apply(&self, records: usize) -> Result<(), TestingError> {
        self.is_up()?;
        let mut reader = self.reader();
        let found = reader.read_ahead()?;
        if found < records {
            return Err(TestingError::TooFew { wanted: records, found });
        }
        self.take(&mut reader, records)
    }

    /// Applies all that is in the log again and again, on a thread of its own, as the consumer
    /// does. While the broker or the database is down it waits.
    ///
    /// # Errors
    /// [`TestingError::Thread`].
    pub fn apply_every(&self, interval: Duration) -> Result<Applying, TestingError> {
        let (stop, stopped) = channel();
        let sink = self.clone();
        // A Kafka elsewhere may be away, and take its time to say so.
        let embedded = self.reader().is_embedded();
        let thread = Builder::new().name("write-behind-sink".to_owned()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                match sink.apply_all() {
                    Ok(_) | Err(TestingError::BrokersDown | TestingError::DatabaseDown) => {}
                    Err(error) => warn!(%error, "the log was not applied; tried again"),
                }
            }
        });
        let thread = thread.map_err(|error| TestingError::Thread(error.to_string()))?;
        Ok(Applying { stop: Some(stop), thread: embedded.then_some(thread) })
    }

    /// The row of `key` in the table.
    ///
    /// # Errors
    /// [`TestingError::Key`]: the key has no canonical text.
    pub fn row<K: Serialize + ?Sized>(&self, key: &K) -> Result<Option<Value>, TestingError> {
        let row = self.table().row(&key::encode(key)?);
        Ok(row.as_deref().map(to_json))
    }

    /// All rows of the table, by the canonical text of their keys.
    pub fn rows(&self) -> BTreeMap<String, Value> {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        self.table().rows().map(|(key, row)| (text(key), to_json(&row))).collect()
    }

    /// How far a partition is applied: its records below this are in the table.
    pub fn next_offset(&self, partition: Partition) -> NextOffset {
        self.table().next(partition)
    }

    /// How many records of the log were dealt with, of all partitions.
    pub fn applied(&self) -> u64 {
        self.table().applied()
    }

    /// The records that could not be applied, in the order they were met.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.table().dead_letters.clone()
    }

    /// How many records were dropped because their write was applied before.
    pub fn duplicates(&self) -> u64 {
        self.table().duplicates
    }

    /// How many jumps there were in a writer's sequence: writes that are missing from the log.
    pub fn gaps(&self) -> u64 {
        self.table().gaps
    }

    /// A loader that reads the table, for [`Builder::loader`](crate::Builder::loader).
    pub fn loader(&self) -> SinkLoader {
        SinkLoader(self.clone())
    }

    /// The database goes away: nothing can be applied, and loads fail.
    pub fn database_down(&self) {
        self.inner.down.store(true, Ordering::Release);
    }

    /// The database comes back, with all that it had.
    pub fn database_up(&self) {
        self.inner.down.store(false, Ordering::Release);
    }

    /// Rows first, then the commit: the order that the consumer keeps.
    fn take(&self, reader: &mut LogReader, records: usize) -> Result<(), TestingError> {
        let records = reader.take(records);
        let mut table = self.table();
        for record in &records {
            table.apply(record);
        }
        drop(table);
        reader.commit(|partition| self.next_offset(partition))
    }

    fn is_up(&self) -> Result<(), TestingError> {
        let down = self.inner.down.load(Ordering::Acquire);
        if down { Err(TestingError::DatabaseDown) } else { Ok(()) }
    }

    fn reader(&self) -> MutexGuard<'_, LogReader> {
        self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Serialize + Send + Sync + 'static> Loader<K> for SinkLoader {
    async fn load(&self, key: &K) -> Result<Loaded, LoadError> {
        let Self(sink) = self;
        sink.is_up().map_err(LoadError::new)?;
        let key = key::encode(key).map_err(LoadError::new)?;
        let partition = partition::partition_of(&key, sink.inner.partitions);
        // One lock for both: that is the snapshot.
        let table = sink.table();
        let (row, next) = (table.row(&key), table.next(partition));
        drop(table);
        let loaded = row.map_or_else(|| Ok(Loaded::missing()), |row| Loaded::json(&row))?;
        Ok(loaded.at(next))
    }

    fn knows_dead_letters(&self) -> bool {
        true
    }

    async fn dead_letters(&self, ranges: &[LogRange]) -> Result<Vec<DeadLetter>, LoadError> {
        let Self(sink) = self;
        sink.is_up().map_err(LoadError::new)?;
        let wanted = |letter: &DeadLetter| {
            let holds = |range: &LogRange| {
                let from = range.from <= letter.offset;
                range.partition == letter.partition && from && range.to.is_past(letter.offset)
            };
            ranges.iter().any(holds)
        };
        let table = sink.table();
        Ok(table.dead_letters.iter().filter(|letter| wanted(letter)).cloned().collect())
    }
}

impl Drop for Applying {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that applies the log panicked");
        }
    }
}

/// Rows were parsed when they were applied.
fn to_json(row: &[u8]) -> Value {
    serde_json::from_slice(row).unwrap_or(Value::Null)
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("group", &self.inner.group).finish_non_exhaustive()
    }
}
