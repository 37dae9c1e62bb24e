//! What the cache of clean copies does of its own accord, with the real one: it turns new entries away,
//! drops those that are too heavy, and its listeners fail. None of it reaches a pending row.

use std::sync::Arc;

use write_behind_shared::NextOffset;

use super::*;
use crate::core::delta::Delta;
use crate::core::entry::Visible;
use crate::core::logged::Rules;
use crate::core::pending::Lane;

const ROWS: u32 = 200;

fn key(n: u32) -> Key {
    Arc::from(format!("{n}").into_bytes())
}

fn row(n: u32) -> Row {
    format!(r#"{{"n":{n}}}"#).into_bytes().into()
}

type Copies = moka::sync::Cache<Key, Option<Row>>;
type Builder = moka::sync::CacheBuilder<Key, Option<Row>, Copies>;

fn cache(build: impl FnOnce(Builder) -> Builder) -> Clean {
    let copies = build(Copies::builder()).build_with_hasher(RandomState::new());
    Clean { copies, misses: false }
}

/// Writes all rows, and has Kafka answer for them.
fn write_all(lane: &mut Lane, clean: &Clean) {
    for n in 0..ROWS {
        let ticket = lane.accept(key(n), Delta::Put(row(n)), clean);
        lane.hand(ticket);
        lane.acked(ticket as usize, i64::from(n), clean);
        clean.copies.run_pending_tasks();
    }
}

/// How many rows a read would find, in memory.
fn readable(lane: &mut Lane, clean: &Clean) -> usize {
    let in_memory = |n: &u32| match lane.read(&key(*n)) {
        Some(visible) => visible == Visible::Row(row(*n)),
        None => clean.get(&key(*n)) == Some(row(*n)),
    };
    (0..ROWS).filter(in_memory).count()
}

fn lane() -> Lane {
    Lane::new(Rules { exact: true, tail: None })
}

/// H18: a warm cache turns away nearly every new entry.
#[test]
fn rows_that_are_not_in_the_database_are_all_read_though_the_cache_takes_no_new_entry() {
    let clean = cache(|builder| builder.max_capacity(10));
    for n in ROWS..ROWS + 10 {
        clean.keep(key(n), row(n));
        (0..20).for_each(|_| drop(clean.get(&key(n))));
        clean.copies.run_pending_tasks();
    }
    let mut lane = lane();
    write_all(&mut lane, &clean);
    assert_eq!(readable(&mut lane, &clean), ROWS as usize);
    lane.committed(NextOffset(i64::from(ROWS)), &clean);
    clean.copies.run_pending_tasks();
    assert!(clean.copies.entry_count() <= 10, "clean copies are bounded");
    assert_eq!((lane.rows(), lane.bytes()), (0, 0));
}

/// H19: no weight pins an entry, and one heavier than the cache vanishes.
#[test]
fn rows_heavier_than_the_whole_cache_are_read_until_they_are_in_the_database() {
    let clean = cache(|builder| builder.max_capacity(10).weigher(|_, _| 100));
    let mut lane = lane();
    write_all(&mut lane, &clean);
    assert_eq!(readable(&mut lane, &clean), ROWS as usize);
}

/// H23: a listener that panics is never called again, and none is called when the cache is dropped.
#[test]
fn nothing_rests_on_being_told_of_evictions() {
    let clean = cache(|builder| {
        builder.max_capacity(5).eviction_listener(|_, _, _| panic!("a listener that fails"))
    });
    let mut lane = lane();
    write_all(&mut lane, &clean);
    lane.committed(NextOffset(i64::from(ROWS)), &clean);
    clean.copies.invalidate_all();
    clean.copies.run_pending_tasks();
    assert_eq!((lane.rows(), lane.bytes()), (0, 0), "room comes back all the same");
    write_all(&mut lane, &clean);
    assert_eq!(readable(&mut lane, &clean), ROWS as usize);
}
