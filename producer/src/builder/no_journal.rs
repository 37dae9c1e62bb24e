//! A handle in the making without the feature `journal`: it has none.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Builder;
use super::journal_setting::FoundJournal;
use super::preflight::Topic;
use crate::error::BuildError;
use crate::owner::JournalThread;
use crate::partitions::Partitions;

impl<K, V> Builder<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// No journal.
    #[expect(clippy::unused_async, reason = "a journal is waited for")]
    pub(super) async fn open_journal(&self, _: Instant) -> Result<FoundJournal, BuildError> {
        Ok(FoundJournal::default())
    }

    /// Partitions without a journal.
    #[expect(clippy::unnecessary_wraps, reason = "a journal may be refused")]
    pub(super) fn partitions(
        &self,
        _: FoundJournal,
        topic: &Topic,
    ) -> Result<(Arc<Partitions>, JournalThread), BuildError> {
        let partitions = Partitions::new(self.setup(topic.partitions, None));
        Ok((Arc::new(partitions), JournalThread::default()))
    }
}
