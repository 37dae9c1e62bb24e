//! The journal of a handle in the making: its settings, and what an earlier life left in it.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use write_behind_journal::Journal;

use super::Builder;
use super::journal_setting::FoundJournal;
use super::preflight::Topic;
use crate::core::journal_label::JournalLabel;
use crate::error::BuildError;
use crate::journal::directory::StartedJournal;
use crate::journal::opening::OpenedDirectory;
use crate::owner::JournalThread;
use crate::partitions::Partitions;

impl<K, V> Builder<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// Records each write in a local directory before any Kafka client is given it; nowhere unless
    /// set. What Kafka has not got when this process ends is found there by the next handle on the
    /// directory, whose [`build`](Self::build) returns when it is pending again: reads see it, and it
    /// is sent under its old `write-id`s, ahead of all that is new, so that the consumer drops what
    /// it has.
    ///
    /// ```no_run
    /// # use write_behind_producer::{Crash, Journal, WriteBehind};
    /// # async fn run(row: std::collections::HashMap<String, i64>) -> Result<(), Box<dyn std::error::Error>> {
    /// let journal = Journal::at("/var/lib/scores/journal").max_bytes(10 << 30).survives(Crash::Host);
    /// let scores = WriteBehind::<u64, _>::builder("scores", [("bootstrap.servers", "kafka:9092")])
    ///     .sink_group("scores")
    ///     .journal(journal)
    ///     .build()
    ///     .await?;
    /// let write = scores.put(&7, &row).await?;           // accepted: visible to reads
    /// write.recorded().await?;                           // on the disk: it will get to Kafka
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - [`Receipt::recorded`](crate::Receipt::recorded) waits for it,
    ///   [`wait_recorded`](Self::wait_recorded) makes each write do so. What is recorded survives the end
    ///   of this process, or of the machine, as [`Journal::survives`] says; not the loss of the disk.
    /// - At [`Journal::max_bytes`], on a full disk, and where the disk is slower than the writers, a
    ///   write waits or is told [`Full::Journal`](crate::Full::Journal), as [`WhenFull`](crate::WhenFull)
    ///   says. What was accepted has its room. `max_pending` holds as well: what Kafka does not have
    ///   is in memory too.
    /// - After an error of the disk the handle takes no more writes ([`Halt::Journal`](crate::Halt)).
    /// - A directory is one handle's, of one topic and cluster. While another process has it, `build`
    ///   waits for [`start_timeout`](Self::start_timeout), then names that process.
    /// - `build` does not need Kafka where the directory says which topic, cluster and partition count
    ///   it is of, unless the handle [`follow`](Self::follow)s: see
    ///   [`start_offline`](Self::start_offline). If another cluster or count answers later, the handle is
    ///   halted and nothing is sent.
    ///
    /// # Limits
    /// - Between two instances' journals there is no order.
    /// - A write that was in the log already counts twice if the consumer has forgotten its writer,
    ///   because more wrote to the partition since than it remembers.
    /// - Increments that were replayed are in the database already or not, which is known when Kafka has
    ///   answered and the consumer has gone on: until then a read with a loader waits for Kafka, or
    ///   may count them twice; it is never cached so.
    pub fn journal(mut self, journal: Journal) -> Self {
        self.journal.journal = Some(journal);
        self
    }

    /// Whether each call that writes returns only when its write is recorded; not unless set. The
    /// `try_` calls never wait. An error then is one of the journal: the write was accepted, and
    /// reads see it, but it is not recorded. Cancelled while it waits for that, it is accepted as
    /// well.
    pub fn wait_recorded(mut self, wait: bool) -> Self {
        self.journal.waits_recorded = wait;
        self
    }

    /// The journal, if there is one, with what an earlier life left in it.
    pub(super) async fn open_journal(&self, deadline: Instant) -> Result<FoundJournal, BuildError> {
        let Some(journal) = self.journal.journal.clone() else {
            return Ok(FoundJournal::default());
        };
        let waits = deadline.saturating_duration_since(Instant::now());
        let version = self.version.clone();
        let opened = OpenedDirectory::open_on_a_thread(journal, waits, version).await?;
        Ok(FoundJournal { opened: Some(opened) })
    }

    /// Begins to record, if there is a journal, and makes what an earlier life left pending again.
    pub(super) fn partitions(
        &self,
        journal: FoundJournal,
        topic: &Topic,
    ) -> Result<(Arc<Partitions>, JournalThread), BuildError> {
        let Some(mut opened) = journal.opened else {
            let partitions = Partitions::new(self.setup(topic.partitions, None));
            return Ok((Arc::new(partitions), JournalThread::default()));
        };
        opened.belongs_to(JournalLabel {
            topic: self.topic.clone(),
            cluster: topic.cluster.clone(),
            partitions: topic.partitions,
        })?;
        let found = opened.found();
        let started = StartedJournal::start(opened.journal, found)?;
        let journaling = Arc::clone(&started.journaling);
        let partitions = Arc::new(Partitions::new(self.setup(topic.partitions, Some(journaling))));
        for (position, write) in opened.unfinished {
            let replayed = partitions.replay(position, write);
            replayed.map_err(|error| BuildError::JournalEntry(error.to_string()))?;
        }
        partitions.replayed();
        let guard = started.work_for(&partitions)?;
        Ok((partitions, JournalThread { guard: Some(guard) }))
    }
}
