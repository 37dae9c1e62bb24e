//! Watermark of one stage of a partition, and the tasks that wait until it has passed their write.
//!
//! A task is woken once, when its write has passed: with a thousand tasks that each wait for their
//! own, waking all of them for every step would be most of the work.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use crate::core::ledger::Sequence;
use crate::partitions::sync::{Mutex, MutexGuard};

/// How far a stage has come.
#[derive(Debug)]
pub(crate) struct Watermark {
    /// Every write below has passed the stage.
    below: AtomicU64,
    /// It will not move again.
    closed: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// The tasks that wait.
#[derive(Debug, Default)]
struct Waiting {
    /// By the watermark that each waits for, and a number of its own.
    tasks: BTreeMap<(Sequence, u64), Waker>,
    next_number: u64,
}

/// Waits until the watermark has come to `end`. Dropped before that, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Passing<'w> {
    watermark: &'w Watermark,
    end: Sequence,
    /// Its number among those that wait, once it does.
    number: Option<u64>,
}

impl Watermark {
    /// Nothing has passed.
    pub(crate) fn new() -> Self {
        Self {
            below: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            waiting: Mutex::new(Waiting::default()),
        }
    }

    /// Every write below has passed the stage.
    pub(crate) fn below(&self) -> Sequence {
        self.below.load(Ordering::Acquire)
    }

    /// Waits until all writes below `end` have passed. False: it was closed first.
    pub(crate) fn wait(&self, end: Sequence) -> Passing<'_> {
        Passing { watermark: self, end, number: None }
    }

    /// All writes below have passed: those that wait for them learn it.
    pub(crate) fn advance(&self, below: Sequence) {
        if self.below.fetch_max(below, Ordering::AcqRel) >= below {
            return;
        }
        // A task that looked before this and found too little is among them now, or will look again
        // under this lock before it is.
        let mut waiting = self.lock();
        let mut passed = Vec::new();
        while let Some(first) = waiting.tasks.first_entry()
            && first.key().0 <= below
        {
            passed.push(first.remove());
        }
        // Outside the lock, which those that are woken take.
        drop(waiting);
        passed.into_iter().for_each(Waker::wake);
    }

    /// Nothing will pass any more: those that wait learn it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut self.lock().tasks);
        waiting.into_values().for_each(Waker::wake);
    }

    /// What a task that waits until `end` is told; none: it goes on waiting.
    fn outcome(&self, end: Sequence) -> Option<bool> {
        let closed = self.closed.load(Ordering::Acquire);
        let passed = self.below() >= end;
        (passed || closed).then_some(passed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Passing<'_> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let (watermark, end) = (self.watermark, self.end);
        if let Some(passed) = watermark.outcome(end) {
            return Poll::Ready(passed);
        }
        let mut waiting = watermark.lock();
        // Again, under the lock: it may have moved since, and the one that moved it may have looked
        // for this task already.
        if let Some(passed) = watermark.outcome(end) {
            return Poll::Ready(passed);
        }
        let number = *self.number.get_or_insert_with(|| {
            waiting.next_number += 1;
            waiting.next_number
        });
        match waiting.tasks.get_mut(&(end, number)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => drop(waiting.tasks.insert((end, number), context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.watermark.lock().tasks.remove(&(self.end, number));
            // Outside the lock: it may be the last of its task, whose end may be anybody's code.
            drop(waker);
        }
    }
}

#[cfg(test)]
#[path = "tests/watermark.rs"]
mod tests;
