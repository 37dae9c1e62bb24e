//! The connections that workers share: a worker has one only while it uses it.
//!
//! There are more workers than connections, so that the next batches are parsed and judged while
//! others are in the database. A connection comes back only after a call that succeeded; who met an
//! error, or was cancelled, drops it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of connections, each made when it is first needed.
pub struct Connections<S> {
    free: Arc<Semaphore>,
    idle: Mutex<Vec<S>>,
}

/// The right to use one connection.
pub(super) struct Lent<S> {
    /// The connection; `None`: it has yet to be made.
    pub(super) store: Option<S>,
    /// `None`: nobody counts any more.
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Connections<S> {
    /// At most `count` connections.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), idle: Mutex::default() }
    }

    /// Waits for the right to use one, in the order of the calls. Dropping the future is safe.
    pub(super) async fn lend(&self) -> Lent<S> {
        let place = Arc::clone(&self.free).acquire_owned().await.ok();
        let store = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lent { store, _place: place }
    }

    /// Takes back a connection that is as it was.
    pub(super) fn take_back(&self, lent: Lent<S>) {
        // Before its place is free: who gets that one finds this connection.
        let Lent { store, _place } = lent;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(store);
    }
}

impl<S> fmt::Debug for Connections<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("free", &self.free).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn a_connection_is_lent_to_one_at_a_time_and_used_again_only_if_it_came_back() {
        let connections = Connections::new(1);
        let mut lent = connections.lend().await;
        assert_eq!(lent.store, None, "none was made yet");
        lent.store = Some("first");
        let mut next = pin!(connections.lend());
        let mut context = Context::from_waker(Waker::noop());
        assert!(next.as_mut().poll(&mut context).is_pending());
        connections.take_back(lent);
        let Poll::Ready(lent) = next.as_mut().poll(&mut context) else { panic!("it is free") };
        assert_eq!(lent.store, Some("first"));
        // It met an error.
        drop(lent);
        assert_eq!(connections.lend().await.store, None);
    }
}
