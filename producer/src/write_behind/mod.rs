//! The handle: what a service calls.

pub(crate) mod reads;
mod writes;
mod waits;
pub(crate) mod modify;
mod many;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{Instrument as _, info_span};

use crate::error::{Halt, Undelivered};
use crate::event::EventStream;
use crate::metrics::Stats;
use crate::owner::Owner;

/// A handle on the rows of one topic; clones share everything.
///
/// `K` is the key: an integer, a text, a uuid, a date, a boolean, or for a composite key a struct
/// or a map of these; or a tuple, with [`Builder::key_columns`](crate::Builder::key_columns). A
/// newtype is what it holds. `V` is the row: a struct whose fields are the table's columns.
pub struct WriteBehind<K, V> {
    owner: Arc<Owner<K>>,
    row: PhantomData<fn(V) -> V>,
}

impl<K, V> WriteBehind<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    pub(crate) fn new(owner: Owner<K>) -> Self {
        Self { owner: Arc::new(owner), row: PhantomData }
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
