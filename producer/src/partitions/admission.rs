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
    /// It is taken, and rows that Kafka has but the database does not are dropped from memory to
    /// make room, the oldest first. Nothing is lost, but until the database has such a row it cannot
    /// be read here as it was written:
    /// [`get`](crate::WriteBehind::get) returns [`ReadError::MayBeBehind`](crate::ReadError) and
    /// [`read`](crate::WriteBehind::read) says so beside the row. What Kafka has not answered is
    /// never dropped; if there is no room for more of that, it waits.
    Forget,
}

/// All limits of a handle.
#[derive(Debug)]
pub(crate) struct Gates {
    /// Memory of what is not in the database.
    pub(crate) bytes: Gate,
    /// Rows with something that is not in the database.
    pub(crate) rows: Option<Gate>,
    /// Writes that Kafka has not answered.
    pub(crate) in_flight: Option<Gate>,
    /// Memory of these.
    pub(crate) in_flight_bytes: Option<Gate>,
    /// How many writes wait for room.
    pub(crate) waiting: AtomicUsize,
}

/// What is held of each limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) bytes: usize,
    pub(crate) rows: usize,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_bytes: usize,
}

impl Gates {
    /// What was held under `granted` permits is now `held`.
    pub(crate) fn settle(&self, granted: Held, held: Held) {
        self.bytes.settle(granted.bytes, held.bytes);
        if let Some(rows) = &self.rows {
            rows.settle(granted.rows, held.rows);
        }
        if let Some(in_flight) = &self.in_flight {
            in_flight.settle(granted.in_flight, held.in_flight);
        }
        if let Some(bytes) = &self.in_flight_bytes {
            bytes.settle(granted.in_flight_bytes, held.in_flight_bytes);
        }
    }

    /// Nobody gets room any more, and whoever waits is turned away.
    pub(crate) fn close(&self) {
        self.bytes.close();
        for gate in self.rows.iter().chain(&self.in_flight).chain(&self.in_flight_bytes) {
            gate.close();
        }
    }
}

impl Held {
    /// Both together.
    pub(crate) fn and(self, more: Held) -> Held {
        Held {
            bytes: self.bytes + more.bytes,
            rows: self.rows + more.rows,
            in_flight: self.in_flight + more.in_flight,
            in_flight_bytes: self.in_flight_bytes + more.in_flight_bytes,
        }
    }
}

/// A limit on one thing.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: usize,
    free: Semaphore,
    /// What is held beyond the limit: rows that were loaded beneath pending changes are as large as
    /// they are. It is paid back before anyone gets a permit.
    debt: AtomicUsize,
}

impl Gate {
    /// Room for `limit`.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { limit, free: Semaphore::new(limit), debt: AtomicUsize::new(0) }
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

    /// The limit.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// What is held beyond the limit.
    pub(crate) fn debt(&self) -> usize {
        self.debt.load(Ordering::Acquire)
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
