//! The opening of a journal: what it holds is read before anything else is decided.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};
use write_behind_journal::{Cut, Journal, OpenedJournal};

use crate::core::journal_label::{Foreign, JournalLabel};
use crate::core::journaled::Position;
use crate::core::replayed::{Replayed, Unreadable};
use crate::error::BuildError;
use crate::journal::directory::Inherited;

/// A journal that is open, and what an earlier life left in it.
#[derive(Debug)]
pub(crate) struct OpenedDirectory {
    pub(crate) journal: OpenedJournal,
    pub(crate) label: Option<JournalLabel>,
    /// What was not known to be in Kafka, in order.
    pub(crate) unfinished: Vec<(Position, Replayed)>,
    cut: Cut,
}

impl OpenedDirectory {
    /// Opens the journal, and waits for so long if another process has it. Blocks.
    fn open(
        journal: Journal,
        waits: Duration,
        version: Option<&Arc<str>>,
    ) -> Result<Self, BuildError> {
        let directory = journal.directory().to_owned();
        let mut journal =
            journal.waits(waits).open().map_err(|error| BuildError::Journal(Arc::new(error)))?;
        let cut = journal.cut();
        if cut != Cut::default() {
            warn!(?directory, ?cut, "cut what was being written when the last process ended");
        }
        let label = JournalLabel::read(journal.label()).map_err(|error| foreign(&error))?;
        let partitions = label.as_ref().map_or(0, |label| label.partitions);
        let mut unfinished = Vec::new();
        let mut unreadable = None;
        let read = journal.entries(|position, entry| {
            if partitions == 0 || unreadable.is_some() {
                unreadable.get_or_insert(BuildError::JournalEntry(Foreign::NoLabel.to_string()));
                return;
            }
            match Replayed::read(entry, partitions, version) {
                Ok(write) => unfinished.push((position, write)),
                Err(error) => unreadable = Some(entry_at(position, &error)),
            }
        });
        read.map_err(not_read)?;
        match unreadable {
            Some(error) => Err(error),
            None => Ok(Self { journal, label, unfinished, cut }),
        }
    }

    /// The same, on a thread that may block.
    pub(crate) async fn open_on_a_thread(
        journal: Journal,
        waits: Duration,
        version: Option<Arc<str>>,
    ) -> Result<Self, BuildError> {
        let open = move || Self::open(journal, waits, version.as_ref());
        let opened = tokio::task::spawn_blocking(open).await;
        opened.map_err(|error| BuildError::from(io::Error::other(error)))?
    }

    /// What it holds.
    pub(crate) fn found(&self) -> Inherited {
        Inherited { writes: self.unfinished.len() as u64, cut_bytes: self.cut.bytes }
    }

    /// The journal is this handle's: notes what is known of the topic now.
    pub(crate) fn belongs_to(&mut self, now: JournalLabel) -> Result<(), BuildError> {
        let is_empty = self.unfinished.is_empty();
        let label = now.after(self.label.clone(), is_empty).map_err(|error| foreign(&error))?;
        if self.label.as_ref() != Some(&label) {
            let written = self.journal.set_label(&label.write());
            written.map_err(|error| BuildError::Journal(Arc::new(error)))?;
        }
        if !is_empty {
            let writes = self.unfinished.len();
            info!(writes, "the journal holds writes that kafka may not have; they are sent again");
        }
        self.label = Some(label);
        Ok(())
    }
}

fn foreign(error: &Foreign) -> BuildError {
    BuildError::JournalEntry(error.to_string())
}

fn entry_at(position: Position, error: &Unreadable) -> BuildError {
    BuildError::JournalEntry(format!("position {position}: {error}"))
}

fn not_read(error: io::Error) -> BuildError {
    BuildError::Journal(Arc::new(error.into()))
}
