//! The settings of a journal, and its opening.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::core::bytes::{BootId, Position};
use crate::core::head::LABEL_MAX;
use crate::core::recovery::Cut;
use crate::core::salvage::Salvaged;
use crate::core::tail::Layout;
use crate::error::OpenError;
use crate::file_system::{DirectoryLock, FileSystem, network_file_system};
use crate::progress::Progress;
use crate::recorder::Recorder;
use crate::store::{self, Store};

/// What an entry survives once it is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crash {
    /// The end of this machine: a power cut, a crash of the kernel. Recorded means that
    /// `fdatasync` has returned.
    #[default]
    Host,
    /// The end of this process, `kill -9` included. Recorded means that the kernel has the bytes;
    /// no entry waits for the disk. After a crash of the machine, entries may be missing from the
    /// end.
    Process,
}

/// A journal in a directory. Each setting has a default; the directory is made if it is missing.
#[derive(Clone, Debug)]
pub struct Journal {
    directory: PathBuf,
    bytes_max: u64,
    segment_bytes: Option<u64>,
    crash: Crash,
    network_allowed: bool,
    waits: Duration,
}

/// How often the lock is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
/// Batches begin at multiples of this where they must survive a power cut: the largest sector that
/// a disk may tear.
const SECTOR: usize = 4096;
const SEGMENT_BYTES: u64 = 32 << 20;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// A journal is divided into at least this many segments, so that the disk is given back in parts.
const PARTS: u64 = 8;
const BYTES_MAX: u64 = 1 << 30;
/// Entries wait in memory for the disk up to this size.
const BUFFER_MAX: usize = 8 << 20;
const BATCH_BYTES: usize = 1 << 20;

impl Journal {
    /// A journal in this directory, which holds nothing else.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            bytes_max: BYTES_MAX,
            segment_bytes: None,
            crash: Crash::Host,
            network_allowed: false,
            waits: Duration::ZERO,
        }
    }

    /// The largest size of the journal's files together, in bytes, but for 12 KiB: 1 GiB if it is
    /// not set, and at least 512 KiB.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// What a recorded entry survives: [`Crash::Host`] if it is not set.
    #[must_use]
    pub fn survives(mut self, crash: Crash) -> Self {
        self.crash = crash;
        self
    }

    /// The size of one file, in bytes: an eighth of [`max_bytes`](Self::max_bytes), 32 MiB at most,
    /// if it is not set. An entry must fit into one; the disk is given back a file at a time.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// Allows a network file system. Its `fsync` and `flock` must keep what those of a local disk
    /// promise; most do not.
    #[must_use]
    pub fn allow_network_file_system(mut self, allowed: bool) -> Self {
        self.network_allowed = allowed;
        self
    }

    /// How long [`open`](Self::open) waits while another process has the journal: not at all if it
    /// is not set. A process that takes over from one that is ending needs a while.
    #[must_use]
    pub fn waits(mut self, time: Duration) -> Self {
        self.waits = time;
        self
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What a recorded entry survives.
    pub fn crash(&self) -> Crash {
        self.crash
    }

    /// Opens the journal: finds what earlier processes have recorded, and cuts what a crash has left
    /// unfinished. Blocks while it reads the files.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if another process has it, and [`waits`](Self::waits) is over. After [`OpenError::Refused`] the files are
    /// as they were.
    pub fn open(self) -> Result<OpenedJournal, OpenError> {
        let layout = self.layout()?;
        let mut disk = FileSystem::open(&self.directory)?;
        if !self.network_allowed
            && let Some(file_system) = network_file_system(&self.directory)?
        {
            return Err(OpenError::NetworkFileSystem { directory: self.directory, file_system });
        }
        let lock = self.lock()?;
        let id = Uuid::new_v4().into_bytes();
        let store = Store::open(&mut disk, layout, (id, boot_id()))?;
        Ok(OpenedJournal { store, disk, lock })
    }

    /// Reads what can still be read of a journal that [`open`](Self::open) refuses: calls `visit` for
    /// each intact entry that was not released, in order, and says which are missing between them.
    /// Changes nothing: move the directory away afterwards, and begin with an empty one.
    ///
    /// # Errors
    /// Another process has the journal, or a file can't be read at all.
    pub fn salvage(&self, visit: impl FnMut(Position, &[u8])) -> Result<Salvaged, OpenError> {
        let _lock = self.lock()?;
        Ok(store::salvage(&mut FileSystem::open(&self.directory)?, visit)?)
    }

    /// The lock, as soon as no other process has it.
    fn lock(&self) -> Result<DirectoryLock, OpenError> {
        let start = Instant::now();
        loop {
            match DirectoryLock::take(&self.directory) {
                Err(OpenError::InUse { .. }) if start.elapsed() < self.waits => {
                    // The system tells nobody that a lock is free, but to one that waits without end.
                    thread::park_timeout(LOCK_INTERVAL);
                }
                taken => return taken,
            }
        }
    }

    fn layout(&self) -> Result<Layout, OpenError> {
        let refused = |setting, reason| Err(OpenError::Setting { setting, reason });
        let share = (self.bytes_max / PARTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES);
        let segment_bytes = self.segment_bytes.unwrap_or(share) / SECTOR as u64 * SECTOR as u64;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes) {
            return refused("segment_bytes", "must be from 64 KiB to 1 GiB".to_owned());
        }
        if self.bytes_max / segment_bytes < 4 {
            let needed = segment_bytes.saturating_mul(4).max(PARTS * SEGMENT_BYTES_MIN);
            return refused("max_bytes", format!("must be at least {needed}: four segments"));
        }
        let syncs = self.crash == Crash::Host;
        Ok(Layout {
            segment_bytes,
            align: if syncs { SECTOR } else { crate::core::segment::ALIGN_MIN },
            bytes_max: self.bytes_max,
            buffer_max: BUFFER_MAX,
            batch_bytes: BATCH_BYTES,
            syncs,
        })
    }
}

/// In which boot of the machine this process runs; zeros where the system does not say.
fn boot_id() -> BootId {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Uuid::parse_str(text.trim()).map(Uuid::into_bytes).unwrap_or_default()
}

/// A journal that is open, with what earlier processes left in it. Nothing is appended yet.
#[derive(Debug)]
pub struct OpenedJournal {
    store: Store,
    disk: FileSystem,
    lock: DirectoryLock,
}

impl OpenedJournal {
    /// What its owner has written about it; empty for a new journal.
    pub fn label(&self) -> &[u8] {
        &self.store.label
    }

    /// What was cut from its end.
    pub fn cut(&self) -> Cut {
        self.store.cut
    }

    /// Calls `visit` for each entry that was not released, in order.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn entries(&mut self, visit: impl FnMut(Position, &[u8])) -> std::io::Result<()> {
        self.store.entries(&mut self.disk, visit)
    }

    /// Writes a label of 2,048 bytes at most, which the next process finds. It is on the disk when
    /// this returns.
    ///
    /// # Errors
    /// It is too long, or the disk failed: then open the journal again.
    pub fn set_label(&mut self, label: &[u8]) -> Result<(), OpenError> {
        if label.len() > LABEL_MAX {
            let reason = format!("{} bytes, at most {LABEL_MAX}", label.len());
            return Err(OpenError::Setting { setting: "set_label", reason });
        }
        label.clone_into(&mut self.store.label);
        self.store.write_label(&mut self.disk)?;
        Ok(())
    }

    /// Begins to take entries. The journal's thread calls `on_progress` after each step, without a
    /// lock: it must not block for long, for nothing is recorded meanwhile.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(
        self,
        on_progress: impl Fn(&Progress) + Send + 'static,
    ) -> std::io::Result<Recorder> {
        Recorder::start(self.store, self.disk, self.lock, Box::new(on_progress))
    }
}
