//! Tests of those who wait for a watermark: each is woken once, when its own write has passed.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use shuttle::{future, thread};

use super::*;
use crate::partitions::sync::in_many_orders;

/// Counts how often it is woken.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_thousand_tasks_that_each_wait_for_a_write_are_woken_a_thousand_times() {
    let (watermark, woken) = (Watermark::new(), Arc::<Counted>::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut tasks: Vec<_> = (1..=1_000).map(|end| Box::pin(watermark.wait(end))).collect();
    for task in &mut tasks {
        assert_eq!(task.as_mut().poll(&mut context), Poll::Pending);
    }
    for below in 1..=1_000 {
        watermark.advance(below);
        assert_eq!(woken.0.load(Ordering::SeqCst) as u64, below);
        let passed = tasks.iter_mut().take(below as usize);
        assert!(passed.into_iter().all(|task| task.as_mut().poll(&mut context).is_ready()));
    }
}

#[test]
fn one_that_goes_away_leaves_nothing_and_one_that_is_polled_again_stands_there_once() {
    let watermark = Watermark::new();
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut task = pin!(watermark.wait(1));
        for _ in 0..3 {
            assert_eq!(task.as_mut().poll(&mut context), Poll::Pending);
        }
        assert_eq!(watermark.lock().tasks.len(), 1);
    }
    assert!(watermark.lock().tasks.is_empty());
}

#[test]
fn what_is_closed_tells_those_that_have_not_passed() {
    let watermark = Watermark::new();
    let mut context = Context::from_waker(Waker::noop());
    let mut task = pin!(watermark.wait(2));
    assert_eq!(task.as_mut().poll(&mut context), Poll::Pending);
    watermark.advance(1);
    watermark.close();
    assert_eq!(task.as_mut().poll(&mut context), Poll::Ready(false));
    assert_eq!(pin!(watermark.wait(1)).as_mut().poll(&mut context), Poll::Ready(true));
}

#[test]
fn nobody_who_waits_sleeps_on_in_whatever_order_the_watermark_moves() {
    in_many_orders(2_000, || {
        let watermark = Arc::new(Watermark::new());
        let waiting: Vec<_> = (1..=3)
            .map(|end| {
                let watermark = Arc::clone(&watermark);
                thread::spawn(move || future::block_on(watermark.wait(end)))
            })
            .collect();
        for below in 1..=3 {
            watermark.advance(below);
        }
        for waited in waiting {
            assert!(waited.join().unwrap());
        }
    });
}
