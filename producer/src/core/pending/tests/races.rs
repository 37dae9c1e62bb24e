//! The known races of a write-behind cache, each in the one order in which it goes wrong.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;
use write_behind_shared::{Change, NextOffset, WriteId};

use super::*;
use crate::core::age::{KnownRow, KnownSince};
use crate::core::delta::Row;
use crate::core::loaded::{Loaded, Reading, Validity};
use crate::core::lost_writes::Loss;
use crate::core::pending::dead_letters::DeadLetterNotice;
use crate::core::tail::LogRecord;
use crate::core::write_ids::WriteIds;

#[derive(Default)]
pub(super) struct Copies {
    pub(super) rows: RefCell<HashMap<Key, KnownRow>>,
    /// The time; what is two moments old is too old.
    pub(super) now: Cell<u64>,
}

impl Copies {
    pub(super) fn row(&self) -> Option<Row> {
        self.get(&id()).map(|(row, _)| row)
    }
}

impl Cache for Copies {
    fn get(&self, key: &[u8]) -> Option<KnownRow> {
        self.rows.borrow().get(key).filter(|(_, since)| !self.is_too_old(*since)).cloned()
    }

    fn now(&self) -> KnownSince {
        KnownSince::at(self.now.get())
    }

    fn is_too_old(&self, since: KnownSince) -> bool {
        self.now().after(since) >= 2
    }

    fn insert(&self, key: Key, row: Row, since: KnownSince) {
        self.rows.borrow_mut().insert(key, (row, since));
    }

    fn remove(&self, key: &[u8]) {
        self.rows.borrow_mut().remove(key);
    }
}

pub(super) fn id() -> Key {
    Arc::from(*b"7")
}

pub(super) fn row(n: i64) -> Row {
    format!(r#"{{"n":{n}}}"#).into_bytes().into()
}

pub(super) fn add(delta: i64) -> Delta {
    Delta::Change(Box::new(Change::new().add("n", delta)))
}

pub(super) fn found(n: i64, next: Option<i64>) -> Loaded {
    Loaded { row: Some(row(n)), next: next.map(NextOffset) }
}

pub(super) struct Scene {
    pub(super) pending: Pending,
    pub(super) copies: Copies,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self {
            pending: Pending::new(Rules { exact: true, tail: None }, Bounds::STANDARD),
            copies: Copies::default(),
        }
    }

    fn following() -> Self {
        let rules = Rules { exact: true, tail: Some(NextOffset::ZERO) };
        Self { pending: Pending::new(rules, Bounds::STANDARD), copies: Copies::default() }
    }

    fn tail(&mut self, offset: i64, delta: Delta, write_id: Option<WriteId>) {
        let offset = Offset(offset);
        let record = LogRecord { offset, key: id(), delta, write_id };
        let own = WriteIds::new(Uuid::nil());
        self.pending.log_read(&own, vec![record], offset.next(), &self.copies);
        self.pending.release_at_once(&self.copies);
    }

    pub(super) fn accept(&mut self, delta: Delta) -> usize {
        let sequence = self.pending.accept(&id(), delta, &self.copies);
        self.pending.mark_sent(sequence);
        sequence as usize
    }

    pub(super) fn ack(&mut self, sequence: usize, offset: i64) {
        self.pending.acked(sequence, offset, &self.copies);
    }

    pub(super) fn commit(&mut self, next: i64) {
        self.pending.committed_at_once(NextOffset(next), &self.copies);
    }

    pub(super) fn loaded(&mut self, found: &Loaded) -> Result<Reading, Sequence> {
        let horizon = self.pending.ledger().next();
        self.pending.loaded(&id(), found, (horizon, Validity::Valid), &self.copies)
    }
}

/// H20.
#[test]
fn a_load_that_began_before_a_put_does_not_overwrite_it() {
    let mut scene = Scene::new();
    scene.pending.load_begins(&id());
    scene.accept(Delta::Put(row(2)));
    assert_eq!(scene.loaded(&found(1, None)), Ok(Reading::of(Some(row(2)))));
    assert_eq!(scene.pending.read(&id()), Some(RowState::Known(Some(row(2)))));
    assert_eq!(scene.copies.row(), None, "what was loaded is not kept either");
}

/// H20, H21: all of the write's life fits between the loader's read and its answer.
#[test]
fn a_load_does_not_overwrite_a_write_that_came_and_was_persisted_meanwhile() {
    for (delta, after) in [(Delta::Put(row(2)), Some(row(2))), (Delta::Delete, None)] {
        let mut scene = Scene::new();
        scene.pending.load_begins(&id());
        let sequence = scene.accept(delta);
        scene.ack(sequence, 0);
        scene.commit(1);
        assert_eq!(scene.loaded(&found(1, Some(0))), Ok(Reading::of(after.clone())));
        assert_eq!(scene.copies.row(), after, "the cached row is the newer one");
        assert_eq!(scene.pending.bytes(), 0);
    }
}

/// H24.
#[test]
fn the_commit_of_an_older_write_does_not_make_a_newer_one_clean() {
    let mut scene = Scene::new();
    let first = scene.accept(Delta::Put(row(1)));
    scene.ack(first, 0);
    let second = scene.accept(Delta::Put(row(2)));
    scene.commit(1);
    let visible = Some(RowState::Known(Some(row(2))));
    assert_eq!(scene.pending.read(&id()), visible, "in flight, so pending");
    scene.ack(second, 1);
    scene.commit(1);
    assert_eq!(
        scene.pending.read(&id()),
        Some(RowState::Known(Some(row(2)))),
        "not committed, so pending"
    );
    scene.commit(2);
    assert_eq!(scene.pending.read(&id()), None);
    assert_eq!(scene.copies.row(), Some(row(2)));
}

/// H25.
#[test]
fn a_write_is_clean_when_the_committed_offset_is_past_it_and_not_before() {
    let mut scene = Scene::new();
    let sequence = scene.accept(Delta::Put(row(1)));
    scene.ack(sequence, 7);
    scene.commit(7);
    assert!(scene.pending.has(&id()), "7 is the next offset, so record 7 is not yet applied");
    assert_eq!(scene.pending.ledger().persisted(), 0);
    scene.commit(8);
    assert!(!scene.pending.has(&id()));
    assert_eq!(scene.pending.ledger().persisted(), 1);
}

/// H26.
#[test]
fn without_a_committed_offset_nothing_is_clean() {
    let mut scene = Scene::new();
    let sequence = scene.accept(Delta::Put(row(1)));
    scene.ack(sequence, 0);
    assert!(scene.pending.has(&id()));
    assert_eq!(scene.pending.ledger().persisted(), 0);
}

/// H27.
#[test]
fn a_committed_offset_that_goes_down_makes_later_writes_wait_again() {
    let mut scene = Scene::new();
    scene.commit(10);
    scene.commit(5);
    let sequence = scene.accept(Delta::Put(row(1)));
    scene.ack(sequence, 7);
    assert!(scene.pending.has(&id()), "10 was committed once, but no longer is");
    scene.commit(8);
    assert!(!scene.pending.has(&id()));
}

/// H6.
#[test]
fn an_offset_that_does_not_advance_is_not_believed() {
    for offset in [-1, 0, 4] {
        let mut scene = Scene::new();
        let first = scene.accept(Delta::Put(row(1)));
        scene.ack(first, 4);
        let second = scene.accept(Delta::Put(row(2)));
        scene.ack(second, offset);
        scene.commit(5);
        assert!(scene.pending.has(&id()), "offset {offset} says nothing of where the record is");
        let mark = scene.pending.wants_sample().expect("the end of the log is asked for");
        scene.pending.sampled(mark, NextOffset(6), &scene.copies);
        assert!(scene.pending.has(&id()));
        scene.commit(6);
        assert!(!scene.pending.has(&id()));
        assert_eq!(scene.pending.ledger().persisted(), 2);
    }
}

/// H34.
#[test]
fn an_increment_that_the_loaded_row_holds_is_not_added_again() {
    let mut scene = Scene::new();
    let first = scene.accept(add(1));
    let second = scene.accept(add(10));
    scene.ack(first, 0);
    scene.ack(second, 1);
    assert_eq!(scene.pending.read(&id()), Some(RowState::Unknown));
    scene.pending.load_begins(&id());
    assert_eq!(scene.loaded(&found(101, Some(1))), Ok(Reading::of(Some(row(111)))));
    assert_eq!(scene.pending.read(&id()), Some(RowState::Known(Some(row(111)))));
}

/// H34: the database may be ahead of Kafka's answer to us.
#[test]
fn a_load_waits_where_the_row_may_hold_an_increment_that_is_in_flight() {
    let mut scene = Scene::new();
    let sequence = scene.accept(add(1));
    scene.pending.load_begins(&id());
    let horizon = scene.pending.ledger().next();
    let found = found(101, Some(1));
    let step = scene.pending.loaded(&id(), &found, (horizon, Validity::Valid), &scene.copies);
    assert_eq!(step, Err(0));
    scene.ack(sequence, 0);
    let step = scene.pending.loaded(&id(), &found, (horizon, Validity::Valid), &scene.copies);
    assert_eq!(step, Ok(Reading::of(Some(row(101)))));
}

#[test]
fn what_a_loader_without_offsets_finds_beneath_increments_is_not_kept() {
    let mut scene = Scene::new();
    let sequence = scene.accept(add(1));
    scene.pending.load_begins(&id());
    assert_eq!(scene.loaded(&found(100, None)), Ok(Reading::of(Some(row(101)))));
    scene.ack(sequence, 0);
    scene.commit(1);
    assert_eq!(scene.copies.row(), None);
}

/// H37.
#[test]
fn a_failed_write_brings_back_what_reads_saw_before() {
    let mut scene = Scene::new();
    let first = scene.accept(Delta::Put(row(1)));
    let second = scene.accept(Delta::Put(row(2)));
    let third = scene.accept(add(5));
    assert_eq!(scene.pending.read(&id()), Some(RowState::Known(Some(row(7)))));
    scene.ack(first, 0);
    scene.pending.lost(second, Loss::Failed("refused".into()), &scene.copies);
    assert_eq!(
        scene.pending.read(&id()),
        Some(RowState::Known(Some(row(6)))),
        "the increment still counts"
    );
    scene.pending.lost(third, Loss::Failed("refused".into()), &scene.copies);
    assert_eq!(scene.pending.read(&id()), Some(RowState::Known(Some(row(1)))));
}

#[test]
fn a_write_that_may_be_in_the_log_is_seen_but_never_cached() {
    let mut scene = Scene::new();
    let sequence = scene.accept(Delta::Put(row(1)));
    scene.pending.lost(sequence, Loss::Unknown("purged".into()), &scene.copies);
    assert_eq!(scene.pending.read(&id()), Some(RowState::Known(Some(row(1)))));
    scene.pending.sampled(1, NextOffset(3), &scene.copies);
    scene.commit(3);
    assert_eq!(scene.pending.read(&id()), None);
    assert_eq!(scene.copies.row(), None);
    assert_eq!(scene.pending.ledger().lost.first_in(&(0..1)), Some(Loss::Unknown("purged".into())));
}

#[test]
fn a_hot_row_takes_no_more_memory_than_its_last_write() {
    let mut scene = Scene::new();
    let first = scene.accept(Delta::Put(row(0)));
    scene.ack(first, 0);
    let once = scene.pending.bytes();
    for n in 1..10 {
        let sequence = scene.accept(Delta::Put(row(n)));
        scene.ack(sequence, n);
    }
    assert_eq!(scene.pending.bytes(), once);
    assert_eq!(scene.pending.usage()[Full::PendingRows], 1);
}

#[test]
fn an_increment_of_a_clean_row_is_read_without_asking_the_database() {
    let mut scene = Scene::new();
    let sequence = scene.accept(Delta::Put(row(1)));
    scene.ack(sequence, 0);
    scene.commit(1);
    scene.accept(add(5));
    assert_eq!(scene.pending.read(&id()), Some(RowState::Known(Some(row(6)))));
}

fn refused(offset: i64, sequence: usize) -> DeadLetterNotice {
    let own = Some(sequence as Sequence);
    DeadLetterNotice { offset: Offset(offset), key: id(), own, reason: "refused".into() }
}

#[test]
fn a_dead_letter_does_not_take_good_changes_from_under_a_load_that_has_not_seen_them() {
    let mut scene = Scene::new();
    let good = scene.accept(add(1));
    let bad = scene.accept(add(1_000));
    scene.ack(good, 0);
    scene.ack(bad, 1);
    scene.pending.load_begins(&id());
    let found = found(100, Some(0));
    scene.pending.dead_letter(&refused(1, bad), NextOffset(2), &scene.copies);
    assert_ne!(scene.loaded(&found), Ok(Reading::of(Some(row(100)))), "older than our own write");
    scene.commit(2);
    assert_eq!(
        (scene.pending.read(&id()), scene.copies.row()),
        (None, None),
        "the database is asked"
    );
}

#[test]
fn a_dead_letter_ahead_of_the_tail_does_not_make_an_older_record_the_newest() {
    let mut scene = Scene::following();
    let good = scene.accept(Delta::Put(row(5)));
    let bad = scene.accept(add(1_000));
    scene.ack(good, 1);
    scene.ack(bad, 2);
    scene.pending.dead_letter(&refused(2, bad), NextOffset(3), &scene.copies);
    scene.tail(0, Delta::Put(row(1)), None);
    assert_ne!(
        scene.pending.read(&id()),
        Some(RowState::Known(Some(row(1)))),
        "older than our own write"
    );
}

#[test]
fn a_row_of_before_a_gap_in_the_log_is_not_cached() {
    let mut scene = Scene::following();
    let sequence = scene.accept(Delta::Put(row(1)));
    scene.ack(sequence, 0);
    scene.pending.log_lost(NextOffset(3));
    scene.commit(3);
    assert_eq!((scene.pending.read(&id()), scene.copies.row()), (None, None));
}

#[test]
fn the_first_record_of_a_writer_that_was_at_work_before_is_not_cached() {
    for (sequence, cached) in [(0, Some(row(1))), (5, None)] {
        let mut scene = Scene::following();
        let write_id = WriteId { writer: Uuid::from_u128(1), sequence };
        scene.tail(0, Delta::Put(row(1)), Some(write_id));
        assert_eq!(scene.pending.read(&id()), Some(RowState::Known(Some(row(1)))));
        scene.commit(1);
        assert_eq!(scene.copies.row(), cached, "it may repeat what others have overwritten");
    }
}

#[test]
fn a_write_is_not_joined_with_one_that_a_client_was_given_before() {
    let mut scene = Scene::new();
    scene.accept(add(1));
    scene.pending.requeue(&"gone".into(), &scene.copies);
    assert_eq!(scene.pending.join(&id(), &add(1), 1_000), None, "the log may have the first alone");
    scene.pending.accept(&id(), add(1), &scene.copies);
    assert_eq!(scene.pending.join(&id(), &add(1), 1_000), Some(1));
}

#[test]
fn a_write_of_unknown_place_that_the_loaded_row_holds_does_not_come_after_a_later_one() {
    let set = |n: i64| Delta::Change(Box::new(Change::new().set("n", &n).unwrap()));
    let mut scene = Scene::new();
    let (first, second) = (scene.accept(set(1)), scene.accept(set(2)));
    scene.pending.load_begins(&id());
    assert_eq!(scene.loaded(&found(2, Some(2))), Ok(Reading::of(Some(row(2)))));
    scene.ack(first, -1);
    scene.ack(second, 1);
    assert_eq!(scene.pending.read(&id()), Some(RowState::Known(Some(row(2)))));
}
