//! What a journal tells its user when it can't go on.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::core::bytes::Position;
use crate::core::recovery::Refused;
use crate::core::tail::NoRoom;

/// Why a journal was not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it: try again once that one has ended, or use another directory.
    #[error("{} is in use by {}: one process has a journal at a time", directory.display(), pid.map_or("another process".to_owned(), |pid| format!("the process {pid}")))]
    InUse {
        /// The journal's directory.
        directory: PathBuf,
        /// The process that has it, where it has said so yet.
        pid: Option<u32>,
    },
    /// The directory is on a file system whose syncs and locks are not those of a local disk.
    #[error("{} is on a network file system ({file_system}): use a local disk, or allow it if it keeps what fsync and flock promise", directory.display())]
    NetworkFileSystem {
        /// The journal's directory.
        directory: PathBuf,
        /// The file system's name.
        file_system: &'static str,
    },
    /// What the files hold is not what was recorded. Nothing was changed.
    #[error("the journal is refused: {0}")]
    Refused(#[from] Refused),
    /// A setting makes no sense.
    #[error("the journal's {setting}: {reason}")]
    Setting {
        /// The method that sets it.
        setting: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// The directory or a file could not be read or written.
    #[error("the journal's directory: {0}")]
    Io(#[from] io::Error),
}

/// Why an entry was not taken.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// There is no room for it now.
    #[error("the journal has no room: {}", match .0 {
        NoRoom::Limit => "it has its largest size".to_owned(),
        NoRoom::Disk(kind) => format!("the disk gives no more ({kind})"),
        NoRoom::Busy => "the disk is slower than the writers".to_owned(),
    })]
    NoRoom(NoRoom),
    /// It is larger than any entry may be.
    #[error("an entry of {bytes} bytes: the journal takes {bytes_max} at most")]
    TooLarge {
        /// The entry's size.
        bytes: usize,
        /// The largest size.
        bytes_max: usize,
    },
    /// The journal has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// Why a journal takes nothing more, and records nothing more. It is never tried again on the same
/// files: after an fsync that failed, nobody knows what the disk holds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The disk failed.
    #[error(
        "the journal ended: {step} failed: {message}. Entries below position {recorded} are recorded"
    )]
    Disk {
        /// What was being done.
        step: &'static str,
        /// What the operating system said.
        message: String,
        /// Entries below were recorded.
        recorded: Position,
    },
    /// The thread that writes it has panicked.
    #[error("the journal ended: its thread panicked")]
    Panicked,
    /// It was closed.
    #[error("the journal is closed")]
    Closed,
}
