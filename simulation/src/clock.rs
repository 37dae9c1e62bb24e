//! Virtual time: it stands still until the world moves it on.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use write_behind_consumer::clock::Clock;

/// The one clock of a history. Every clone is the same clock.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Arc<Mutex<Timers>>);

#[derive(Debug, Default)]
struct Timers {
    now: Duration,
    /// When each sleeper is to wake, its number, and how it is woken.
    sleeping: Vec<(Duration, u64, Waker)>,
    last: u64,
}

impl VirtualClock {
    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next sleeper is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Duration> {
        self.lock().sleeping.iter().map(|(due, ..)| *due).min()
    }

    /// Moves the time on, and wakes who is due.
    pub fn advance_to(&self, now: Duration) {
        let mut timers = self.lock();
        timers.now = timers.now.max(now);
        let now = timers.now;
        let due = timers.sleeping.extract_if(.., |(due, ..)| *due <= now);
        let mut due: Vec<_> = due.collect();
        drop(timers);
        due.sort_by_key(|(due, number, _)| (*due, *number));
        for (_, _, waker) in due {
            waker.wake();
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        self.lock().now
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        Sleep { clock: self.clone(), until: self.now() + time, number: None }
    }
}

/// A sleep. Dropping it takes it off the clock.
pub struct Sleep {
    clock: VirtualClock,
    until: Duration,
    number: Option<u64>,
}

impl Sleep {
    #[must_use]
    pub fn until(clock: &VirtualClock, until: Duration) -> Self {
        Self { clock: clock.clone(), until, number: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clone_clock();
        let mut timers = clock.lock();
        if timers.now >= self.until {
            return Poll::Ready(());
        }
        let number = *self.number.get_or_insert_with(|| {
            timers.last += 1;
            timers.last
        });
        timers.sleeping.retain(|(_, other, _)| *other != number);
        timers.sleeping.push((self.until, number, context.waker().clone()));
        Poll::Pending
    }
}

impl Sleep {
    fn clone_clock(&self) -> VirtualClock {
        self.clock.clone()
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.clock.lock().sleeping.retain(|(_, other, _)| *other != number);
        }
    }
}
