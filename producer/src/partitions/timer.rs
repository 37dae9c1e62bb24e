//! Waiting for a time to be over: by tokio's timers, or where there is no runtime, by those of a thread
//! that the whole process shares.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::Builder;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// When, and which of those.
type Place = (Instant, u64);

/// Who waits, by when.
#[derive(Default)]
struct Alarms {
    waiting: Mutex<BTreeMap<Place, Waker>>,
    /// An earlier one came first.
    sooner: Condvar,
}

/// Is over at an instant; `None` is never.
struct Alarm {
    at: Option<Instant>,
    place: Option<Place>,
}

/// The output of `task`; `None` if it took longer.
pub(crate) async fn timeout<T>(time: Duration, task: impl Future<Output = T>) -> Option<T> {
    if Handle::try_current().is_ok() {
        return tokio::time::timeout(time, task).await.ok();
    }
    let mut task = pin!(task);
    let mut alarm = pin!(Alarm::after(time));
    std::future::poll_fn(|context| match task.as_mut().poll(context) {
        Poll::Ready(given) => Poll::Ready(Some(given)),
        Poll::Pending => alarm.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Waits.
pub(crate) async fn pause(time: Duration) {
    if Handle::try_current().is_ok() {
        tokio::time::sleep(time).await;
    } else {
        Alarm::after(time).await;
    }
}

impl Alarm {
    fn after(time: Duration) -> Self {
        Self { at: Instant::now().checked_add(time), place: None }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        if Instant::now() >= at {
            return Poll::Ready(());
        }
        // Without the thread nothing would wake it; too early is better than never.
        let Some(alarms) = Alarms::of_the_process() else { return Poll::Ready(()) };
        let place = *self.place.get_or_insert_with(|| (at, next_number()));
        alarms.set(place, context.waker());
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let (Some(place), Some(alarms)) = (self.place, Alarms::of_the_process()) {
            let waker = alarms.lock().remove(&place);
            // Outside the lock, as everywhere here: a waker is a stranger's code.
            drop(waker);
        }
    }
}

impl Alarms {
    /// Those of the process; `None`: it can't have another thread.
    fn of_the_process() -> Option<&'static Self> {
        static ALARMS: OnceLock<Alarms> = OnceLock::new();
        static THREAD: OnceLock<bool> = OnceLock::new();
        let alarms = ALARMS.get_or_init(Self::default);
        let runs = THREAD.get_or_init(|| {
            let builder = Builder::new().name("write-behind-alarm".to_owned());
            builder.spawn(|| alarms.run()).is_ok()
        });
        runs.then_some(alarms)
    }

    fn run(&self) {
        let mut waiting = self.lock();
        loop {
            let now = Instant::now();
            let later = waiting.split_off(&(now, u64::MAX));
            let over = std::mem::replace(&mut *waiting, later);
            if over.is_empty() {
                let first = waiting.keys().next().map(|(at, _)| at.saturating_duration_since(now));
                // Nobody waits for so long; and a spurious end only looks again.
                let pause = first.unwrap_or(Duration::from_hours(1));
                let waited = self.sooner.wait_timeout(waiting, pause);
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            drop(waiting);
            over.into_values().for_each(Waker::wake);
            waiting = self.lock();
        }
    }

    fn set(&self, place: Place, waker: &Waker) {
        let waker = waker.clone();
        let mut waiting = self.lock();
        let before = waiting.insert(place, waker);
        if waiting.keys().next() == Some(&place) {
            self.sooner.notify_one();
        }
        drop(waiting);
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
