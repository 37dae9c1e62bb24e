//! Room for writes that are not in the database: takes sizes, gives permits, in order of asking.
//!
//! Permits are taken before a write touches anything and come back when it is persisted, lost, or
//! replaced by a later write of its row. Waiters are served in the order they came, and one that
//! goes away leaves no trace.
//!
//! INV-5: what is not in the database is bounded, and at the bound there is waiting or an error.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// What a write does when there is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits, and with it the caller.
    Wait,
    /// It returns [`Overloaded`](crate::WriteError::Overloaded).
    Reject,
}

/// A limit on one thing.
#[derive(Debug)]
pub(crate) struct Gate {
    free: Semaphore,
    /// What is held beyond the limit: rows that were loaded beneath pending changes are as large as
    /// they are. It is paid back before anyone gets a permit.
    debt: AtomicUsize,
}

impl Gate {
    /// Room for `limit`.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { free: Semaphore::new(limit), debt: AtomicUsize::new(0) }
    }

    /// Room for `n`, if there is any now.
    pub(crate) fn try_take(&self, n: usize) -> Option<SemaphorePermit<'_>> {
        self.free.try_acquire_many(u32::try_from(n).ok()?).ok()
    }

    /// Room for `n`, which must be within the limit, as soon as there is any; `None`: closed.
    pub(crate) async fn take(&self, n: usize) -> Option<SemaphorePermit<'_>> {
        self.free.acquire_many(u32::try_from(n).ok()?).await.ok()
    }

    /// Nobody gets room any more, and whoever waits is turned away.
    pub(crate) fn close(&self) {
        self.free.close();
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.free.is_closed()
    }

    /// What was held under `granted` permits is now `held`.
    pub(crate) fn settle(&self, granted: usize, held: usize) {
        if held > granted {
            let more = held - granted;
            let got = self.free.forget_permits(more);
            if got < more {
                self.debt.fetch_add(more - got, Ordering::AcqRel);
            }
        } else if granted > held {
            let less = granted - held;
            let repay = |debt: usize| Some(debt.saturating_sub(less));
            let debt = self.debt.fetch_update(Ordering::AcqRel, Ordering::Acquire, repay);
            let free = less - debt.unwrap_or(0).min(less);
            if free > 0 {
                self.free.add_permits(free);
            }
        }
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
        let gate = Gate::new(100);
        gate.try_take(80).unwrap().forget();
        gate.settle(80, 150);
        assert_eq!(gate.free(), 0);
        gate.settle(150, 90);
        assert_eq!(gate.free(), 10);
        gate.settle(90, 0);
        assert_eq!(gate.free(), 100);
    }

    #[test]
    fn a_permit_that_is_given_up_is_free_again() {
        let gate = Gate::new(10);
        drop(gate.try_take(10));
        assert!(gate.try_take(11).is_none());
        assert!(gate.try_take(10).is_some());
    }
}
