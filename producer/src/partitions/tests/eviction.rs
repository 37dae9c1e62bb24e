//! Evictions of the real cache that nobody asked for: it turns new entries away,
//! drops those that are too heavy, and its listeners fail. None of it reaches a pending row.

use std::sync::Arc;

use write_behind_shared::NextOffset;

use super::*;
use crate::core::bounds::Bounds;
use crate::core::delta::Delta;
use crate::core::entry::RowState;
use crate::core::logged::Rules;
use crate::core::pending::Pending;
use crate::core::usage::Full;

const ROWS: u32 = 200;

fn key(n: u32) -> Key {
    Arc::from(format!("{n}").into_bytes())
}

fn row(n: u32) -> Row {
    format!(r#"{{"n":{n}}}"#).into_bytes().into()
}

type MokaCache = moka::sync::Cache<Key, Cached>;
type Builder = moka::sync::CacheBuilder<Key, Cached, MokaCache>;

fn cache(build: impl FnOnce(Builder) -> Builder) -> RowCache {
    let rows = build(MokaCache::builder()).build_with_hasher(RandomState::new());
    RowCache { rows, misses: false, writes: true, time_to_live: None, built: Instant::now() }
}

/// Writes all rows, and has Kafka answer for them.
fn write_all(pending: &mut Pending, cache: &RowCache) {
    for n in 0..ROWS {
        let sequence = pending.accept(&key(n), Delta::Put(row(n)), cache);
        pending.mark_sent(sequence);
        pending.acked(sequence as usize, i64::from(n), cache);
        cache.rows.run_pending_tasks();
    }
}

/// How many rows a read would find, in memory.
fn readable(pending: &mut Pending, cache: &RowCache) -> usize {
    let in_memory = |n: &u32| match pending.read(&key(*n)) {
        Some(visible) => visible == RowState::Known(Some(row(*n))),
        None => cache.look_up(&key(*n)) == Some(Some(row(*n))),
    };
    (0..ROWS).filter(in_memory).count()
}

fn pending() -> Pending {
    Pending::new(Rules { exact: true, tail: None }, Bounds::STANDARD)
}

/// H18: a warm cache turns away nearly every new entry.
#[test]
fn rows_that_are_not_in_the_database_are_all_read_though_the_cache_takes_no_new_entry() {
    let cache = cache(|builder| builder.max_capacity(10));
    for n in ROWS..ROWS + 10 {
        cache.insert(key(n), row(n), cache.now());
        (0..20).for_each(|_| drop(cache.get(&key(n))));
        cache.rows.run_pending_tasks();
    }
    let mut pending = pending();
    write_all(&mut pending, &cache);
    assert_eq!(readable(&mut pending, &cache), ROWS as usize);
    pending.committed_at_once(NextOffset(i64::from(ROWS)), &cache);
    while pending.release_at_once(&cache) {}
    cache.rows.run_pending_tasks();
    assert!(cache.rows.entry_count() <= 10, "the cache is bounded");
    assert_eq!((pending.usage()[Full::PendingRows], pending.bytes()), (0, 0));
}

/// H19: no weight pins an entry, and one heavier than the cache vanishes.
#[test]
fn rows_heavier_than_the_whole_cache_are_read_until_they_are_in_the_database() {
    let cache = cache(|builder| builder.max_capacity(10).weigher(|_, _| 100));
    let mut pending = pending();
    write_all(&mut pending, &cache);
    assert_eq!(readable(&mut pending, &cache), ROWS as usize);
}

/// H23: a listener that panics is never called again, and none is called when the cache is dropped.
#[test]
fn nothing_rests_on_being_told_of_evictions() {
    let cache = cache(|builder| {
        builder.max_capacity(5).eviction_listener(|_, _, _| panic!("a listener that fails"))
    });
    let mut pending = pending();
    write_all(&mut pending, &cache);
    pending.committed_at_once(NextOffset(i64::from(ROWS)), &cache);
    while pending.release_at_once(&cache) {}
    cache.rows.invalidate_all();
    cache.rows.run_pending_tasks();
    assert_eq!(
        (pending.usage()[Full::PendingRows], pending.bytes()),
        (0, 0),
        "room comes back all the same"
    );
    write_all(&mut pending, &cache);
    assert_eq!(readable(&mut pending, &cache), ROWS as usize);
}
