//! The setting of a journal, and one that was found; nothing without the feature.

#[cfg(feature = "journal")]
use write_behind_journal::Journal;

use crate::core::journal_label::JournalLabel;
#[cfg(feature = "journal")]
use crate::journal::opening::OpenedDirectory;

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
