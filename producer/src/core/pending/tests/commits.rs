//! A commit of many rows: how they leave.

use super::super::*;
use super::world::Copies;
use crate::core::delta::Row;

/// A commit after an outage covers all that was written meanwhile.
#[test]
fn a_commit_of_many_rows_releases_a_few_under_one_lock_and_in_the_end_all() {
    let copies = Copies::default();
    let mut pending = Pending::new(Rules { exact: true, tail: None }, Bounds::STANDARD);
    let rows = 10 * Bounds::STANDARD.rows_at_once as u32;
    for n in 0..rows {
        let sequence = pending.accept(&n.to_be_bytes(), Delta::Put(Row::from(*b"{}")), &copies);
        pending.acked(sequence as usize, i64::from(n), &copies);
    }
    let mut more = pending.committed_at_once(NextOffset(i64::from(rows)), &copies);
    assert_eq!(pending.ledger().persisted(), u64::from(rows), "those who wait are told at once");
    let mut rounds = 1;
    while more {
        let cached = copies.rows.borrow().len();
        assert_eq!(cached, rounds * Bounds::STANDARD.rows_at_once, "in round {rounds}");
        assert_eq!(pending.entries.len(), rows as usize - cached, "a row is here or there");
        more = pending.release_at_once(&copies);
        rounds += 1;
    }
    assert_eq!((rounds, pending.entries.len()), (10, 0));
}

/// After an outage, say.
#[test]
fn the_memory_of_a_peak_is_given_back_once_its_rows_are_in_the_database() {
    let copies = Copies::default();
    let mut pending = Pending::new(Rules { exact: true, tail: None }, Bounds::STANDARD);
    let rows = 20_000_u32;
    for n in 0..rows {
        pending.accept(&n.to_be_bytes(), Delta::Delete, &copies);
    }
    for n in 0..rows {
        pending.acked(n as usize, i64::from(n), &copies);
    }
    pending.give_back_memory();
    assert!(pending.entries.capacity() >= rows as usize, "its rows are still here");
    pending.committed_at_once(NextOffset(i64::from(rows)), &copies);
    while pending.release_at_once(&copies) {}
    assert!(pending.entries.capacity() >= rows as usize);
    pending.give_back_memory();
    let room = pending.entries.capacity() + pending.waiters.capacity();
    assert!(room < 2_000, "{room}");
}
