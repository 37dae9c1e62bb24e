//! Limits on writes that are not in the database: permits, given in the order of asking.
//!
//! Permits are taken before a write touches anything and come back when it is persisted, lost, or
//! replaced by a later write of its row. Waiters are served in the order they came, and one that
//! goes away leaves no trace.
//!
//! INV-5: what is not in the database is bounded, and at the bound there is waiting or an error.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::core::usage::{Full, Usage};

/// What a write does when there is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits, and with it the caller.
    Wait,
    /// It returns [`Overloaded`](crate::WriteError::Overloaded).
    Reject,
    /// It is taken, and rows that Kafka has but the database does not are dropped from memory to
    /// make room, the oldest first. Nothing is lost, but until the database has such a row it
    /// cannot be read here as it was written: [`get`](crate::WriteBehind::get) returns
    /// [`ReadError::MayBeBehind`](crate::ReadError) and [`read`](crate::WriteBehind::read) says so
    /// beside the row. What Kafka has not answered is never dropped; if there is no room for more
    /// of that, it waits.
    ForgetRows,
}

/// All limits of a handle.
#[derive(Debug)]
pub(crate) struct Limits {
    /// In the order of [`Full::ALL`]; `None`: no limit. [`Full::PendingBytes`] always has one.
    limits: [Option<Limit>; Full::ALL.len()],
    /// How many writes wait for room.
    pub(crate) waiting: AtomicUsize,
}

impl Limits {
    /// `max`: in the order of [`Full::ALL`].
    pub(crate) fn new(max: [Option<usize>; Full::ALL.len()]) -> Self {
        Self { limits: max.map(|max| max.map(Limit::new)), waiting: AtomicUsize::new(0) }
    }

    /// The limit, if there is one.
    pub(crate) fn of(&self, which: Full) -> Option<&Limit> {
        self.limits.get(which as usize)?.as_ref()
    }

    /// What held permits for `granted` now uses `usage`.
    pub(crate) fn adjust(&self, granted: Usage, usage: Usage) {
        for (place, limit) in self.limits.iter().enumerate() {
            if let Some(limit) = limit {
                limit.adjust(granted.0[place], usage.0[place]);
            }
        }
    }

    /// Nobody gets permits any more; those who wait are turned away.
    pub(crate) fn close(&self) {
        self.limits.iter().flatten().for_each(Limit::close);
    }

    /// Whether they were closed.
    pub(crate) fn are_closed(&self) -> bool {
        self.of(Full::PendingBytes).is_some_and(Limit::is_closed)
    }
}

/// A limit on one thing.
#[derive(Debug)]
pub(crate) struct Limit {
    max: usize,
    free: Semaphore,
    /// What is used beyond the limit: rows that were loaded beneath pending changes are as large as
    /// they are. It is paid back before anyone gets a permit.
    overdraft: AtomicUsize,
}

impl Limit {
    /// Room for `max`.
    pub(crate) fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { max, free: Semaphore::new(max), overdraft: AtomicUsize::new(0) }
    }

    /// Room for `n`, if there is any now.
    pub(crate) fn try_take(&self, n: usize) -> Option<SemaphorePermit<'_>> {
        self.free.try_acquire_many(u32::try_from(n).ok()?).ok()
    }

    /// Room for `n`, which must be within the limit, as soon as there is any; `None`: closed.
    pub(crate) async fn take(&self, n: usize) -> Option<SemaphorePermit<'_>> {
        self.free.acquire_many(u32::try_from(n).ok()?).await.ok()
    }

    /// Nobody gets permits any more; those who wait are turned away.
    pub(crate) fn close(&self) {
        self.free.close();
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.free.is_closed()
    }

    /// What held `granted` permits now uses `usage`.
    pub(crate) fn adjust(&self, granted: usize, usage: usize) {
        if usage > granted {
            let more = usage - granted;
            let got = self.free.forget_permits(more);
            if got < more {
                self.overdraft.fetch_add(more - got, Ordering::AcqRel);
            }
        } else if granted > usage {
            let less = granted - usage;
            let repay = |overdraft: usize| Some(overdraft.saturating_sub(less));
            let overdraft = self.overdraft.fetch_update(Ordering::AcqRel, Ordering::Acquire, repay);
            let free = less - overdraft.unwrap_or(0).min(less);
            if free > 0 {
                self.free.add_permits(free);
            }
        }
    }

    /// The limit.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// What is used beyond the limit.
    pub(crate) fn overdraft(&self) -> usize {
        self.overdraft.load(Ordering::Acquire)
    }

    /// What is free now.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.free.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_beyond_the_limit_is_paid_back_before_anyone_gets_room() {
        let limit = Limit::new(100);
        limit.try_take(80).unwrap().forget();
        limit.adjust(80, 150);
        assert_eq!(limit.free(), 0);
        limit.adjust(150, 90);
        assert_eq!(limit.free(), 10);
        limit.adjust(90, 0);
        assert_eq!(limit.free(), 100);
    }

    #[test]
    fn a_permit_that_is_given_up_is_free_again() {
        let limit = Limit::new(10);
        drop(limit.try_take(10));
        assert!(limit.try_take(11).is_none());
        assert!(limit.try_take(10).is_some());
    }
}
