//! What the cache of clean copies keeps, and for how long.

use std::sync::Arc;
use std::time::Instant;

use super::*;

const KEEPING: Keeping = Keeping {
    capacity: Capacity::Rows(100),
    time_to_live: None,
    time_to_idle: None,
    misses: false,
};
const DEADLINE: Duration = Duration::from_secs(20);

fn key(name: &str) -> Key {
    Key::from(name.as_bytes())
}

fn row(bytes: usize) -> Row {
    Arc::from(vec![b' '; bytes])
}

/// Whether a copy is there, without a read that would keep it from being idle.
fn has(clean: &Clean, name: &str) -> bool {
    clean.copies.contains_key(&key(name))
}

fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_copy_lives_no_longer_than_its_time() {
    let time_to_live = Some(Duration::from_millis(20));
    let clean = Clean::new(Keeping { time_to_live, ..KEEPING });
    clean.keep(key("a"), row(1));
    // Reads do not keep it alive.
    until("the copy is too old", || clean.look_up(&key("a")).is_none());
}

#[test]
fn a_copy_that_nobody_reads_is_forgotten() {
    let time_to_idle = Some(Duration::from_millis(20));
    let clean = Clean::new(Keeping { time_to_idle, ..KEEPING });
    clean.keep(key("a"), row(1));
    until("the copy is idle for too long", || !has(&clean, "a"));
}

#[test]
fn without_a_time_copies_are_kept() {
    let clean = Clean::new(KEEPING);
    let policy = clean.copies.policy();
    assert_eq!((policy.time_to_live(), policy.time_to_idle()), (None, None));
}

#[test]
fn a_capacity_in_bytes_counts_rows_by_their_size() {
    let capacity = Capacity::Bytes(10_000);
    let clean = Clean::new(Keeping { capacity, ..KEEPING });
    for name in 0..100 {
        clean.keep(key(&name.to_string()), row(1_000));
    }
    clean.copies.run_pending_tasks();
    assert!(clean.copies.weighted_size() <= 10_000);
    assert!((1..=7).contains(&clean.copies.entry_count()), "{}", clean.copies.entry_count());
    clean.keep(key("large"), row(20_000));
    clean.copies.run_pending_tasks();
    assert!(!has(&clean, "large"), "a row that is larger than all the room is not kept");
}

#[test]
fn a_capacity_in_rows_does_not_ask_for_their_size() {
    let clean = Clean::new(Keeping { capacity: Capacity::Rows(10), ..KEEPING });
    for name in 0..10 {
        clean.keep(key(&name.to_string()), row(100_000));
    }
    clean.copies.run_pending_tasks();
    assert_eq!(clean.copies.entry_count(), 10);
}

#[test]
fn a_missing_row_is_remembered_on_request_only() {
    let forgetful = Clean::new(KEEPING);
    forgetful.keep(key("a"), row(1));
    forgetful.keep_missing(key("a"));
    assert_eq!(forgetful.look_up(&key("a")), None, "and what was there before is forgotten");

    let clean = Clean::new(Keeping { misses: true, ..KEEPING });
    clean.keep_missing(key("a"));
    assert_eq!(clean.look_up(&key("a")), Some(None));
    clean.keep(key("a"), row(1));
    assert_eq!(clean.look_up(&key("a")), Some(Some(row(1))));
    clean.forget(&key("a"));
    assert_eq!(clean.look_up(&key("a")), None);
}
