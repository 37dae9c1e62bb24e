//! How well the log is followed, for those who read.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use write_behind_shared::Partition;

/// How well the log is followed. Written by the threads that follow it.
#[derive(Debug)]
pub(crate) struct Tail {
    /// By partition.
    behind: Box<[AtomicBool]>,
    /// How often in a row the reading thread has left the answer where the log ends.
    untaken: AtomicU32,
    ended: AtomicBool,
}

/// The reading thread is stuck when it has left this many answers in a row.
const UNTAKEN_MAX: u32 = 4;

impl Tail {
    /// Behind, until it is known not to be.
    pub(crate) fn new(partitions: i32) -> Self {
        Self {
            behind: (0..partitions).map(|_| AtomicBool::new(true)).collect(),
            untaken: AtomicU32::new(0),
            ended: AtomicBool::new(false),
        }
    }

    /// Whether records may be in the partition for two seconds or longer that were not read here.
    pub(crate) fn may_be_behind(&self, partition: Partition) -> bool {
        let behind = usize::try_from(partition.0).ok().and_then(|place| self.behind.get(place));
        self.ended.load(Ordering::Acquire)
            || self.untaken.load(Ordering::Acquire) >= UNTAKEN_MAX
            || behind.is_none_or(|behind| behind.load(Ordering::Acquire))
    }

    /// Whether no partition may be behind.
    pub(crate) fn is_current(&self) -> bool {
        (0..self.behind.len() as i32).map(Partition).all(|one| !self.may_be_behind(one))
    }

    /// Says of each partition whether it is behind, in their order.
    pub(crate) fn set_behind(&self, behind: impl Iterator<Item = bool>) {
        for (flag, behind) in self.behind.iter().zip(behind) {
            flag.store(behind, Ordering::Release);
        }
    }

    /// The reading thread took the latest answer where the log ends.
    pub(crate) fn end_was_taken(&self) {
        self.untaken.store(0, Ordering::Release);
    }

    /// The reading thread left an answer where the log ends until the next one came.
    pub(crate) fn end_was_left(&self) {
        self.untaken.fetch_add(1, Ordering::AcqRel);
    }

    /// Nothing is read any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}
