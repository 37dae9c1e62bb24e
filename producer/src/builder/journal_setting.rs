//! The setting of a journal, which is nothing without the feature.

#[cfg(not(feature = "journal"))]
use std::sync::Arc;
#[cfg(not(feature = "journal"))]
use std::time::Instant;

#[cfg(feature = "journal")]
use write_behind_journal::Journal;

#[cfg(not(feature = "journal"))]
use super::{Builder, preflight::Topic};
use crate::core::journal_label::JournalLabel;
#[cfg(not(feature = "journal"))]
use crate::error::BuildError;
#[cfg(feature = "journal")]
use crate::journal::directory::JournalGuard;
#[cfg(feature = "journal")]
use crate::journal::opening::OpenedDirectory;
#[cfg(not(feature = "journal"))]
use crate::partitions::Partitions;

/// The thread of a handle's journal, if it has one.
#[cfg(feature = "journal")]
pub(super) type JournalThread = Option<JournalGuard>;
#[cfg(not(feature = "journal"))]
pub(super) type JournalThread = ();

/// Whether and where writes are recorded.
#[derive(Clone, Debug, Default)]
pub(super) struct JournalSetting {
    #[cfg(feature = "journal")]
    pub(super) journal: Option<Journal>,
    /// Whether a write returns only when it is recorded.
    pub(super) waits_recorded: bool,
}

impl JournalSetting {
    /// Whether there is one.
    pub(super) fn is_set(&self) -> bool {
        #[cfg(feature = "journal")]
        let is_set = self.journal.is_some();
        #[cfg(not(feature = "journal"))]
        let is_set = false;
        is_set
    }
}

/// The journal of a handle in the making, if it has one, with what an earlier life left in it.
#[derive(Debug, Default)]
pub(super) struct FoundJournal {
    #[cfg(feature = "journal")]
    pub(super) opened: Option<OpenedDirectory>,
}

impl FoundJournal {
    /// Whose writes it holds, if that is known.
    pub(super) fn label(&self) -> Option<JournalLabel> {
        #[cfg(feature = "journal")]
        let label = self.opened.as_ref().and_then(|opened| opened.label.clone());
        #[cfg(not(feature = "journal"))]
        let label = None;
        label
    }
}

#[cfg(not(feature = "journal"))]
impl<K, V> Builder<K, V>
where
    K: serde::Serialize + Clone + Send + Sync + 'static,
    V: serde::Serialize + serde::de::DeserializeOwned,
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
        Ok((Arc::new(Partitions::new(self.setup(topic.partitions, None))), ()))
    }
}
