//! A journal's disk in memory, for tests of what is made of it.

use std::sync::{Arc, Mutex};

use crate::core::journaled::Position;
use crate::partitions::journaling::{JournalStats, NotAppended, Recording};

/// A journal that keeps what its contract says, and no more.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) recorded: Position,
    pub(super) released: Position,
    /// The last release that a crash leaves.
    pub(super) noted: Position,
    pub(super) is_full: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct SharedDisk(pub(super) Arc<Mutex<Disk>>);

impl Recording for SharedDisk {
    fn append(&self, entry: &[u8]) -> Result<Position, NotAppended> {
        let mut disk = self.0.lock().unwrap();
        if disk.is_full {
            return Err(NotAppended::NoRoom);
        }
        disk.entries.push(entry.to_vec());
        Ok(disk.entries.len() as Position - 1)
    }

    fn next(&self) -> Position {
        self.0.lock().unwrap().entries.len() as Position
    }

    fn release(&self, below: Position) {
        let mut disk = self.0.lock().unwrap();
        disk.released = disk.released.max(below.min(disk.recorded));
    }

    fn stats(&self) -> JournalStats {
        JournalStats::default()
    }
}
