//! A bell that wakes the poll thread: something has come for it to read.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A bell. It stays rung until somebody waits for it.
#[derive(Debug, Default)]
pub struct Bell {
    is_rung: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    /// Wakes the waiting thread, or the next one to wait.
    pub fn ring(&self) {
        *self.is_rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rung.notify_one();
    }

    /// Waits until it rings, and no longer than `at_most`.
    pub fn wait(&self, at_most: Duration) {
        let is_rung = self.is_rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rung.wait_timeout_while(is_rung, at_most, |is_rung| !*is_rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_ring_is_heard_whether_it_came_before_the_wait_or_within_it() {
        let (bell, began) = (Arc::new(Bell::default()), Instant::now());
        bell.ring();
        bell.wait(LONG);
        let other = Arc::clone(&bell);
        let ringing = std::thread::spawn(move || other.ring());
        bell.wait(LONG);
        ringing.join().unwrap();
        // Only to tell a ring from the end of the wait.
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn a_ring_is_heard_once() {
        let bell = Bell::default();
        bell.ring();
        bell.wait(LONG);
        bell.wait(Duration::from_millis(1));
        assert!(!*bell.is_rung.lock().unwrap());
    }
}
