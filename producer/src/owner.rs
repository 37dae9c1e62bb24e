//! The owner of a handle's threads: what all clones share, and how it ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use write_behind_shared::metrics::Registration;

use crate::core::ledger::Sequence;
use crate::core::lost_writes::Loss;
use crate::error::{DeliveryError, Undelivered};
#[cfg(feature = "journal")]
use crate::journal::directory::JournalGuard;
use crate::kafka::client::Kafka;
use crate::kafka::committed::CommitPollerGuard;
use crate::kafka::follow::Following;
use crate::kafka::handles::ClientHandle;
use crate::partitions::partition::Stage;
use crate::partitions::{Partitions, sync, text};
use crate::reads::reader::Reader;
use crate::writes::accept::Acceptor;
use crate::writes::encode::Encoder;

/// What all clones of a handle share; when the last one goes, the threads end.
pub(crate) struct Owner<K> {
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) encoder: Encoder,
    pub(crate) acceptor: Acceptor,
    pub(crate) reader: Reader<K>,
    handle: Arc<ClientHandle>,
    threads: Mutex<Option<Threads>>,
    /// Dropping it unregisters the metrics. A handle that was closed still shows its last ones.
    _registration: Registration,
}

/// The threads that work for a handle.
pub(crate) struct Threads {
    pub(crate) kafka: Kafka,
    pub(crate) journal: JournalThread,
    /// Dropping it stops the thread that asks for committed offsets.
    pub(crate) _commit_poller: CommitPollerGuard,
    /// Dropping it stops the threads that follow the log.
    pub(crate) _following: Option<Following>,
    /// Dropping it ends the start of a handle that was built while Kafka was away.
    pub(crate) _offline: Option<OfflineGuard>,
}

/// The rest of a start, as a task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct OfflineGuard(pub(crate) JoinHandle<()>);

/// The thread of a handle's journal, if it has one. Dropping it closes the journal.
#[derive(Debug, Default)]
pub(crate) struct JournalThread {
    #[cfg(feature = "journal")]
    pub(crate) guard: Option<JournalGuard>,
}

impl JournalThread {
    /// Closes the journal, and says how many writes that Kafka has not answered it has.
    fn close(self) -> usize {
        #[cfg(feature = "journal")]
        let journaled = self.guard.map_or(0, JournalGuard::close);
        #[cfg(not(feature = "journal"))]
        let journaled = 0;
        journaled
    }
}

impl Threads {
    /// Ends them, and says how many writes that Kafka has not answered the journal has.
    fn end(self, handle: &ClientHandle) -> usize {
        // Close the journal before the client: the client's last delivery reports are not answers
        // from Kafka.
        let journaled = self.journal.close();
        self.kafka.leave(handle);
        journaled
    }

    /// Ends them without waiting for Kafka.
    fn abandon(self, handle: &ClientHandle) {
        handle.partitions.stop_intake();
        self.journal.close();
        self.kafka.abandon(handle);
    }
}

impl Drop for OfflineGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<K> Owner<K> {
    pub(crate) fn new(
        encoder: Encoder,
        acceptor: Acceptor,
        reader: Reader<K>,
        handle: Arc<ClientHandle>,
        threads: Threads,
        registration: Registration,
    ) -> Self {
        let partitions = Arc::clone(&acceptor.partitions);
        let threads = Mutex::new(Some(threads));
        Self { partitions, encoder, acceptor, reader, handle, threads, _registration: registration }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.handle.topic
    }

    /// Waits until every write accepted before this call has passed the stage. An error is also a
    /// loss from before that nobody was told of.
    pub(crate) async fn pass(&self, stage: Stage) -> Result<(), DeliveryError> {
        let waits: Vec<_> = self
            .partitions
            .iter()
            .map(|(_, pending)| {
                let state = pending.lock();
                let ledger = state.core.ledger();
                let from = match stage {
                    Stage::Replicated => ledger.replicated(),
                    Stage::Persisted => ledger.persisted(),
                };
                (Arc::clone(pending), from..ledger.next())
            })
            .collect();
        let mut all_passed = true;
        for (pending, writes) in &waits {
            all_passed &= writes.is_empty() || pending.wait(stage, writes.end).await;
        }
        // Losses count as told from here on, and nothing is awaited any more: a caller that goes
        // away earlier leaves them to the next call.
        let mut first = None;
        for (pending, writes) in &waits {
            let ledger = &mut pending.lock().core.ledger;
            let untold = ledger.lost.tell_untold_below(writes.end);
            let among = if writes.is_empty() { None } else { ledger.lost.tell_first_in(writes) };
            first = first.or(untold).or(among);
        }
        match first {
            Some(loss) => Err(loss.into()),
            None if all_passed => Ok(()),
            None => Err(DeliveryError::Closed),
        }
    }

    /// Takes no more writes, waits until Kafka has answered all, but no longer than `deadline`, and
    /// ends the threads.
    pub(crate) async fn close(&self, deadline: Duration) -> Result<(), Undelivered> {
        self.partitions.stop_intake();
        let _ = sync::timeout(deadline, self.all_answered()).await;
        let lost = self.tell_untold_loss();
        let undelivered = self.partitions.keys_in_flight();
        let mut journaled = 0;
        if let Some(threads) = self.take_threads() {
            let handle = Arc::clone(&self.handle);
            journaled = end(threads, handle).await.min(undelivered.len());
        }
        // What the client gave up when it ended is told by the keys.
        let _ = self.tell_untold_loss();
        info!(topic = self.topic(), undelivered = undelivered.len(), journaled, "closed");
        if undelivered.is_empty() && lost.is_none() {
            return Ok(());
        }
        let writes = undelivered.len();
        let mut keys: Vec<String> = undelivered.iter().map(|key| text(key)).collect();
        keys.sort_unstable();
        keys.dedup();
        Err(Undelivered { writes, journaled, keys, lost: lost.map(DeliveryError::from) })
    }

    /// Waits until Kafka has answered every write.
    async fn all_answered(&self) {
        for (_, pending) in self.partitions.iter() {
            let end = pending.lock().core.ledger().next();
            pending.wait(Stage::Replicated, end).await;
        }
    }

    /// The first loss that nobody was told of; all count as told.
    fn tell_untold_loss(&self) -> Option<Loss> {
        self.partitions.iter().fold(None, |first, (_, pending)| {
            let loss = pending.lock().core.ledger.lost.tell_untold_below(Sequence::MAX);
            first.or(loss)
        })
    }

    fn take_threads(&self) -> Option<Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Ends a handle's threads, on a thread, for that blocks; and a runtime may be none of tokio's, or at
/// its end. Says how many writes that Kafka has not answered the journal has.
async fn end(threads: Threads, handle: Arc<ClientHandle>) -> usize {
    let (done, ended) = oneshot::channel();
    let thread = Builder::new().name("write-behind-close".to_owned()).spawn(move || {
        // The task that closed it may have gone away.
        let _ = done.send(threads.end(&handle));
    });
    if let Err(error) = thread {
        warn!(%error, "the polling thread is not waited for");
        return 0;
    }
    ended.await.unwrap_or_else(|_| {
        warn!("the handle's end panicked");
        0
    })
}

impl<K> Drop for Owner<K> {
    fn drop(&mut self) {
        if let Some(threads) = self.take_threads() {
            let undelivered = self.partitions.keys_in_flight().len();
            if undelivered > 0 {
                warn!(
                    topic = self.topic(),
                    undelivered, "dropped without close; call `close` to wait for these writes"
                );
            }
            threads.abandon(&self.handle);
        }
    }
}
