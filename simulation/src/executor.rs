//! Tasks without a runtime: each is polled when the world chooses it, and dropped when it dies.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A task, which runs only when it is polled.
pub struct Task {
    pub name: String,
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ready: Arc<Ready>,
}

/// Whether a task was woken.
#[derive(Debug)]
struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Task {
    /// A task that is ready to be polled first.
    pub fn new(name: &str, future: impl Future<Output = ()> + Send + 'static) -> Self {
        let ready = Arc::new(Ready(AtomicBool::new(true)));
        Self { name: name.to_owned(), future: Box::pin(future), ready }
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.0.load(Ordering::Relaxed)
    }

    /// Polls it once; returns whether it has ended.
    pub fn poll(&mut self) -> bool {
        self.ready.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.ready));
        let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        polled == Poll::Ready(())
    }
}
