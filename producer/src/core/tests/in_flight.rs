//! Tests of rows with many writes in flight.

use std::time::{Duration, Instant};

use write_behind_shared::{Change, NextOffset};

use super::*;
use crate::core::age::{KnownRow, KnownSince};
use crate::core::bounds::Bounds;
use crate::core::cache::Cache;
use crate::core::entry::RowState;
use crate::core::ledger::Key;
use crate::core::logged::Rules;
use crate::core::pending::Pending;

struct NoCache;

impl Cache for NoCache {
    fn get(&self, _: &[u8]) -> Option<KnownRow> {
        None
    }

    fn insert(&self, _: Key, _: Row, _: KnownSince) {}

    fn remove(&self, _: &[u8]) {}
}

/// With work for each write in proportion to those before it, this takes minutes.
#[test]
fn a_hot_row_with_many_increments_in_flight_is_read_and_handed_over_in_linear_time() {
    let (start, count) = (Instant::now(), 60_000);
    let mut pending = Pending::new(Rules { exact: true, tail: None }, Bounds::STANDARD);
    let key = Key::from(*b"7");
    pending.accept(&key, Delta::Put(Row::from(*br#"{"n":0}"#)), &NoCache);
    pending.mark_sent(0);
    pending.acked(0, 0, &NoCache);
    for n in 1..=count {
        let add = Delta::Change(Box::new(Change::new().add("n", 1)));
        pending.accept(&key, add, &NoCache);
        let row = Row::from(format!(r#"{{"n":{n}}}"#).into_bytes());
        assert_eq!(pending.read(&key), Some(RowState::Known(Some(row))));
    }
    while let Some((sequence, ..)) = pending.next_unsent() {
        pending.mark_sent(sequence);
    }
    pending.committed_at_once(NextOffset(1), &NoCache);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
