//! Locks and tasks: std's and tokio's, or under test those of a scheduler that tries many orders.

#[cfg(not(test))]
pub(crate) use self::plain::{Mutex, MutexGuard, pause, spawn, timeout};
#[cfg(test)]
pub(crate) use self::scheduled::{Mutex, MutexGuard, in_many_orders, pause, spawn, timeout};

#[cfg(not(test))]
mod plain {
    pub(crate) use std::sync::{Mutex, MutexGuard};

    use tokio::runtime::Handle;

    pub(crate) use crate::partitions::timer::{pause, timeout};

    /// Runs `task` on the runtime; without one, on the caller's.
    pub(crate) fn spawn(runtime: Option<&Handle>, task: impl Future<Output = ()> + Send + 'static) {
        match runtime {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        };
    }
}

#[cfg(test)]
mod scheduled {
    use std::cell::Cell;
    use std::ops::{Deref, DerefMut};
    use std::sync::{LockResult, PoisonError};
    use std::time::Duration;

    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use shuttle::{Config, Runner};
    use tokio::runtime::Handle;

    use crate::partitions::timer;

    thread_local! {
        static SCHEDULED: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `model` in this many random orders, and in as many in which few threads overtake the
    /// others; locks made and tasks begun meanwhile are shuttle's. A failure prints its schedule,
    /// which `shuttle::replay` takes.
    pub(crate) fn in_many_orders(orders: usize, model: impl Fn() + Clone + Send + Sync + 'static) {
        let mut config = Config::new();
        config.stack_size = 1 << 19;
        SCHEDULED.set(true);
        let random = RandomScheduler::new(orders);
        Runner::new(random, config.clone()).run(model.clone());
        let few = PctScheduler::new(4, orders);
        Runner::new(few, config).run(model);
        SCHEDULED.set(false);
    }

    /// Runs `task` on the scheduler, or on the runtime.
    pub(crate) fn spawn(runtime: Option<&Handle>, task: impl Future<Output = ()> + Send + 'static) {
        match (SCHEDULED.get(), runtime) {
            (true, _) => drop(shuttle::future::spawn(task)),
            (false, Some(runtime)) => drop(runtime.spawn(task)),
            (false, None) => drop(tokio::spawn(task)),
        }
    }

    /// Waits; on the scheduler, for another task's step.
    pub(crate) async fn pause(time: Duration) {
        if SCHEDULED.get() {
            shuttle::future::yield_now().await;
        } else {
            timer::pause(time).await;
        }
    }

    /// The output of `task`; `None` if it took longer, which never happens on the scheduler.
    pub(crate) async fn timeout<T>(time: Duration, task: impl Future<Output = T>) -> Option<T> {
        if SCHEDULED.get() { Some(task.await) } else { timer::timeout(time, task).await }
    }

    #[derive(Debug)]
    pub(crate) enum Mutex<T> {
        Plain(std::sync::Mutex<T>),
        Scheduled(shuttle::sync::Mutex<T>),
    }

    #[derive(Debug)]
    pub(crate) enum MutexGuard<'m, T> {
        Plain(std::sync::MutexGuard<'m, T>),
        Scheduled(shuttle::sync::MutexGuard<'m, T>),
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            if SCHEDULED.get() {
                Self::Scheduled(shuttle::sync::Mutex::new(value))
            } else {
                Self::Plain(std::sync::Mutex::new(value))
            }
        }

        pub(crate) fn is_free(&self) -> bool {
            match self {
                Self::Plain(lock) => lock.try_lock().is_ok(),
                Self::Scheduled(lock) => lock.try_lock().is_ok(),
            }
        }

        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            match self {
                Self::Plain(lock) => guarded(lock.lock(), MutexGuard::Plain),
                Self::Scheduled(lock) => guarded(lock.lock(), MutexGuard::Scheduled),
            }
        }
    }

    fn guarded<G, M>(locked: LockResult<G>, guard: impl Fn(G) -> M) -> LockResult<M> {
        match locked {
            Ok(locked) => Ok(guard(locked)),
            Err(poisoned) => Err(PoisonError::new(guard(poisoned.into_inner()))),
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            match self {
                Self::Plain(guard) => guard,
                Self::Scheduled(guard) => guard,
            }
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            match self {
                Self::Plain(guard) => guard,
                Self::Scheduled(guard) => guard,
            }
        }
    }
}
