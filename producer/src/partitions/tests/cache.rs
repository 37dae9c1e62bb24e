//! Tests of the cache: what it keeps, and for how long.

use std::sync::Arc;
use std::time::Instant;

use super::*;

const CONFIG: CacheConfig = CacheConfig {
    capacity: Capacity::Rows(100),
    time_to_live: None,
    time_to_idle: None,
    misses: false,
    writes: true,
};
/// When the caches are built.
const NOW: KnownSince = KnownSince::at(0);
const DEADLINE: Duration = Duration::from_secs(20);

fn key(name: &str) -> Key {
    Key::from(name.as_bytes())
}

fn row(bytes: usize) -> Row {
    Arc::from(vec![b' '; bytes])
}

/// Whether a row is there, without a read that would keep it from being idle.
fn has(cache: &RowCache, name: &str) -> bool {
    cache.rows.contains_key(&key(name))
}

fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < DEADLINE, "waited too long until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_copy_lives_no_longer_than_its_time() {
    let time_to_live = Some(Duration::from_millis(20));
    let cache = RowCache::new(CacheConfig { time_to_live, ..CONFIG });
    cache.insert(key("a"), row(1), NOW);
    // Reads do not keep it alive.
    until("the copy is too old", || cache.look_up(&key("a")).is_none());
}

/// As a row is that is added to all the time.
#[test]
fn a_copy_that_is_cached_again_and_again_lives_no_longer_than_what_it_rests_on() {
    let time_to_live = Some(Duration::from_millis(50));
    let cache = RowCache::new(CacheConfig { time_to_live, ..CONFIG });
    until("what it rests on is too old", || {
        cache.insert(key("a"), row(1), NOW);
        cache.look_up(&key("a")).is_none() && cache.get(&key("a")).is_none()
    });
    cache.insert(key("a"), row(1), cache.now());
    assert!(cache.look_up(&key("a")).is_some(), "it was read again");
}

#[test]
fn a_copy_that_nobody_reads_is_forgotten() {
    let time_to_idle = Some(Duration::from_millis(20));
    let cache = RowCache::new(CacheConfig { time_to_idle, ..CONFIG });
    cache.insert(key("a"), row(1), NOW);
    until("the copy is idle for too long", || !has(&cache, "a"));
}

#[test]
fn without_a_time_copies_are_kept() {
    let cache = RowCache::new(CONFIG);
    let policy = cache.rows.policy();
    assert_eq!((policy.time_to_live(), policy.time_to_idle()), (None, None));
}

#[test]
fn a_capacity_in_bytes_counts_rows_by_their_size() {
    let capacity = Capacity::Bytes(10_000);
    let cache = RowCache::new(CacheConfig { capacity, ..CONFIG });
    for name in 0..100 {
        cache.insert(key(&name.to_string()), row(1_000), NOW);
    }
    cache.rows.run_pending_tasks();
    assert!(cache.rows.weighted_size() <= 10_000);
    assert!((1..=7).contains(&cache.rows.entry_count()), "{}", cache.rows.entry_count());
    cache.insert(key("large"), row(20_000), NOW);
    cache.rows.run_pending_tasks();
    assert!(!has(&cache, "large"), "a row that is larger than all the room is not kept");
}

#[test]
fn a_capacity_in_rows_does_not_ask_for_their_size() {
    let cache = RowCache::new(CacheConfig { capacity: Capacity::Rows(10), ..CONFIG });
    for name in 0..10 {
        cache.insert(key(&name.to_string()), row(100_000), NOW);
    }
    cache.rows.run_pending_tasks();
    assert_eq!(cache.rows.entry_count(), 10);
}

#[test]
fn a_missing_row_is_remembered_on_request_only() {
    let forgetful = RowCache::new(CONFIG);
    forgetful.insert(key("a"), row(1), NOW);
    forgetful.insert_missing(key("a"), NOW);
    assert_eq!(forgetful.look_up(&key("a")), None, "and what was there before is forgotten");

    let cache = RowCache::new(CacheConfig { misses: true, ..CONFIG });
    cache.insert_missing(key("a"), NOW);
    assert_eq!(cache.look_up(&key("a")), Some(None));
    cache.insert(key("a"), row(1), NOW);
    assert_eq!(cache.look_up(&key("a")), Some(Some(row(1))));
    cache.remove(&key("a"));
    assert_eq!(cache.look_up(&key("a")), None);
}
