//! State of the tail that reads ask for: how well the log is followed.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use write_behind_shared::{NextOffset, Partition};

/// How well the log is followed. Written by the threads that follow it.
#[derive(Debug)]
pub(crate) struct Tail {
    /// By partition.
    behind: Box<[AtomicBool]>,
    /// Where the partitions end, when that was asked last; taken by the reading thread.
    ends: Mutex<Option<Vec<NextOffset>>>,
    /// How often in a row the reading thread has left that answer.
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
            ends: Mutex::default(),
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

    /// Leaves where the partitions end to the reading thread.
    pub(crate) fn put_ends(&self, ends: Vec<NextOffset>) {
        let mut latest = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.replace(ends).is_some() {
            self.untaken.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Where the partitions ended when that was asked last, once.
    pub(crate) fn take_ends(&self) -> Option<Vec<NextOffset>> {
        let taken = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.untaken.store(0, Ordering::Release);
        taken
    }

    /// Nothing is read any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}
