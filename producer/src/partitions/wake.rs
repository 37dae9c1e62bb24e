//! Wakes the thread that asks for committed offsets, when Kafka has a write after a time with
//! nothing pending.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

/// A thread that sleeps while nothing is pending.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    thread: OnceLock<Thread>,
    sleeps: AtomicBool,
}

impl Wake {
    /// `thread` is the one that sleeps.
    pub(crate) fn set_thread(&self, thread: Thread) {
        // A handle has one such thread.
        let _ = self.thread.set(thread);
    }

    /// The thread is about to look whether anything is pending. It says so before it looks: a write
    /// that Kafka takes after the look would find it awake otherwise, and wait for its next turn.
    pub(crate) fn falls_asleep(&self) {
        self.sleeps.store(true, Ordering::SeqCst);
    }

    /// The thread goes on. Says whether it was woken.
    pub(crate) fn goes_on(&self) -> bool {
        !self.sleeps.swap(false, Ordering::SeqCst)
    }

    /// Whether the thread sleeps until it is woken.
    #[cfg(test)]
    pub(crate) fn is_asleep(&self) -> bool {
        self.sleeps.load(Ordering::SeqCst)
    }

    /// Kafka has a write.
    pub(crate) fn wake(&self) {
        if self.sleeps.load(Ordering::Relaxed)
            && self.sleeps.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}
