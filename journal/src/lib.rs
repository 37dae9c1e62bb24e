//! An append-only journal in a local directory.
//!
//! Entries are bytes; each has a [`Position`]. An entry that is **recorded** is there after a crash
//! (which crash is [`Crash`]), in order, without a gap; one that is **released** is needed no more,
//! and its room on the disk is given back, a file at a time. One thread writes: all that is
//! appended while it writes goes with its next write and one `fdatasync`.
//!
//! ```
//! use write_behind_journal::Journal;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! let mut opened = Journal::at(directory).max_bytes(64 << 20).open()?;
//! let mut unfinished = Vec::new();
//! opened.entries(|position, entry| unfinished.push((position, entry.to_vec())))?;
//!
//! let recorder = opened.start(|_| {})?;
//! let position = recorder.append_when_there_is_room(b"an entry")?;
//! recorder.wait_recorded(position + 1)?;   // on the disk
//! recorder.release(position + 1);          // needed no more
//! recorder.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//! - Recorded entries are there after the crash that [`Crash`] names, whole and in order, until they
//!   are released. A released entry may come back after a crash, for a release is noted with
//!   the next batch.
//! - An entry that was taken has its room on the disk: it never meets a full one.
//! - What was being written when a process or a machine ended is cut, and [`Cut`] says how much.
//!   Entries that had been recorded are never cut: where any is missing, damaged, or foreign,
//!   [`Refused`] says so, and nothing is changed.
//! - After an error of the disk the journal has [`Ended`]: nothing is recorded any more, and nothing
//!   is tried again on the same files.
//!
//! # What is not
//! - The loss of the disk, or a disk that says that it has written what it has not.
//! - That damage to the very last batch is told from a batch that was being written, unless the
//!   journal was closed, or opened since.
//! - Room on file systems that copy on write (btrfs, ZFS): they may refuse a write within a file
//!   that has its size. That ends the journal.
//! - Other systems than Unix. Network file systems are recognised on Linux alone.

mod journal;
mod recorder;
mod appender;
mod progress;
mod store;
mod file_system;
mod error;
mod disk;
mod core;

#[cfg(test)]
mod tests;

pub use core::bytes::Position;
pub use core::recovery::{Cut, Refused};
pub use core::salvage::Salvaged;
pub use core::tail::NoRoom;
pub use error::{AppendError, Ended, OpenError};
pub use journal::{Crash, Journal, OpenedJournal};
pub use progress::Progress;
pub use recorder::Recorder;
