//! The handle: what a service calls.

pub(crate) mod reads;
mod writes;
mod waits;
pub(crate) mod modify;
pub(crate) mod many;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{Instrument as _, info_span};

use crate::core::priority::Priority;
use crate::core::stats::Stats;
use crate::error::{Halt, Undelivered};
use crate::event::EventStream;
use crate::owner::Owner;
use crate::writes::encode::Prepared;

/// A handle on the rows of one topic; clones share everything.
///
/// `K` is the key: an integer, a text, a uuid, a date, a boolean, or for a composite key a struct
/// or a map of these; or a tuple, with [`Builder::key_columns`](crate::Builder::key_columns). A
/// newtype is what it holds. `V` is the row: a struct whose fields are the table's columns.
pub struct WriteBehind<K, V> {
    owner: Arc<Owner<K>>,
    priority: Priority,
    row: PhantomData<fn(V) -> V>,
}

impl<K, V> WriteBehind<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    pub(crate) fn new(owner: Owner<K>) -> Self {
        Self { owner: Arc::new(owner), priority: Priority::Normal, row: PhantomData }
    }

    /// This handle, whose writes have this priority: every call that writes, of this clone alone.
    ///
    #[cfg_attr(feature = "testing", doc = "```")]
    #[cfg_attr(not(feature = "testing"), doc = "```ignore")]
    /// # use write_behind_producer::{Priority, WriteBehind, testing};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = testing::Broker::start()?.topic("orders", 1)?;
    /// let orders = WriteBehind::<u64, serde_json::Value>::builder("orders", kafka.properties())
    ///     .sink_group("order-writer")
    ///     .build()
    ///     .await?;
    /// let urgent = orders.with_priority(Priority::High);      // keep it: it costs a reference count
    /// orders.put(&7, &serde_json::json!({"state": "new"})).await?;
    /// urgent.put(&7, &serde_json::json!({"state": "paid"})).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A write of [`Priority::High`] does not wait for its window of
    /// [`coalesce`](crate::Builder::coalesce), nor for `linger.ms`, and its record has the header
    /// `priority: high`: as soon as the consumer has read it, it schedules the record's partition
    /// as one of a route of high priority, until the record is written.
    ///
    /// The order stays, so everything that is ahead of the write in its partition goes first, and
    /// goes as fast. It gains nothing over those; it passes other partitions only. Where the
    /// consumer is further behind than it holds in memory, it learns of the write when it comes
    /// to it. The other partitions keep a share: of a database that all wait for, those with urgent
    /// writes have four rows for each row of a normal route. `linger.ms` is a setting of the whole
    /// client: whatever it has queued leaves with the write. So keep it for few writes: where all
    /// are urgent, none is, and batches are small.
    #[must_use]
    pub fn with_priority(&self, priority: Priority) -> Self {
        Self { priority, ..self.clone() }
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

    /// What this handle has counted and what it holds, now. It takes each partition's lock once, so
    /// ask a few times a second, not for each request.
    pub fn stats(&self) -> Stats {
        let partitions = &self.owner.partitions;
        self.owner.acceptor.metrics.stats(partitions, (partitions.clock)())
    }

    /// Why this handle accepts no more writes, if that is so; only a new handle does. Reads go on.
    pub fn halted(&self) -> Option<Halt> {
        self.owner.partitions.halt.get().cloned()
    }

    /// Accepts no more writes, waits until all are replicated, but no longer than `deadline`, and
    /// ends the handle's threads. What is replicated will be in the database; to wait for that too,
    /// [`persisted_all`](Self::persisted_all) first. Cancelled, it can be called again; no write is accepted in
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

impl<K, V> WriteBehind<K, V> {
    /// The write, with this clone's priority.
    fn prioritised(&self, mut write: Prepared) -> Prepared {
        write.priority = self.priority;
        write
    }
}

impl<K, V> Clone for WriteBehind<K, V> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), priority: self.priority, row: PhantomData }
    }
}

impl<K, V> std::fmt::Debug for WriteBehind<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBehind").field("topic", &self.owner.topic()).finish_non_exhaustive()
    }
}
