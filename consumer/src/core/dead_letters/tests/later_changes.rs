//! A replayed letter, whenever that happens, leaves the row as if its record had been applied at
//! its own place in the log.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;
use write_behind_shared::record::{ADD, WRITE_ID};
use write_behind_shared::{Cell, Partition, WriteId};

use super::*;
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::dead_letters::effective_change::{EffectiveChange, effective_change};
use crate::core::record::DeadLetter;
use crate::core::table::ColumnKind;

type Row = Option<BTreeMap<String, i64>>;

/// Applies a change to a row in the obvious way.
fn apply(row: Row, change: &Change) -> Row {
    let row = if change.resets() { None } else { row };
    if !change.writes() {
        return row;
    }
    let mut row = row.unwrap_or_default();
    for (name, cell) in change.cells() {
        let value = match cell {
            Cell::Add(delta) => row.get(name).unwrap_or(&0) + delta.total().as_i64().unwrap(),
            cell => cell.value(name).unwrap().parse().unwrap(),
        };
        row.insert(name.to_owned(), value);
    }
    Some(row)
}

/// A record of the model's log.
#[derive(Clone, Debug)]
struct Written {
    key: u8,
    value: Option<String>,
    add: Option<&'static str>,
    write_id: Option<WriteId>,
    /// Whether the consumer set it aside.
    bad: bool,
}

impl Written {
    fn raw(&self, offset: i64) -> RawRecord {
        let mut headers: Vec<(String, Option<Box<[u8]>>)> = Vec::new();
        if let Some(add) = self.add {
            headers.push((ADD.to_owned(), Some(add.as_bytes().into())));
        }
        if let Some(id) = self.write_id {
            headers.push((WRITE_ID.to_owned(), Some(id.encode().into())));
        }
        RawRecord {
            partition: Partition(0),
            offset: Offset(offset),
            key: Some([self.key].into()),
            value: self.value.as_deref().map(|value| value.as_bytes().into()),
            headers,
        }
    }
}

fn letter(record: &Written, offset: i64) -> StoredDeadLetter {
    let record = record.raw(offset);
    let owned = |text: &str| text.to_owned();
    StoredDeadLetter {
        scope: BookkeepingKey { pipeline: owned("p"), cluster: owned("c"), topic: owned("t") },
        dead_letter: DeadLetter { record, reason: owned("refused"), sqlstate: None },
        failed_at: 0,
        state: DeadLetterState::Open,
    }
}

fn read(later: &mut LaterChanges, log: &[Written], to: usize) {
    for (offset, record) in log.iter().enumerate().take(to) {
        let raw = record.raw(offset as i64);
        let headers: Vec<_> = raw.headers.iter().map(|(n, v)| (&**n, v.as_deref())).collect();
        later.take(&Incoming {
            partition: raw.partition,
            offset: raw.offset,
            timestamp: None,
            key: raw.key.as_deref(),
            value: raw.value.as_deref(),
            headers: &headers,
        });
    }
    later.reached(NextOffset(to as i64));
}

/// The database, the log and the letters, as the consumer and the operators leave them.
struct World {
    log: Vec<Written>,
    states: BTreeMap<i64, DeadLetterState>,
    rows: BTreeMap<u8, Row>,
    next: usize,
}

impl World {
    fn new(log: Vec<Written>) -> Self {
        Self { log, states: BTreeMap::new(), rows: BTreeMap::new(), next: 0 }
    }

    fn is_duplicate(&self, at: usize) -> bool {
        let Some(id) = self.log[at].write_id else { return false };
        let earlier = self.log[..at].iter().filter_map(|record| record.write_id);
        earlier.filter(|one| one.writer == id.writer).any(|one| one.sequence >= id.sequence)
    }

    fn apply(&mut self, key: u8, change: &Change) {
        let row = self.rows.remove(&key).flatten();
        self.rows.insert(key, apply(row, change));
    }

    fn consume(&mut self) {
        let Some(record) = self.log.get(self.next).cloned() else { return };
        if !self.is_duplicate(self.next) {
            if record.bad {
                self.states.insert(self.next as i64, DeadLetterState::Open);
            } else {
                let change = change_of(&record.raw(self.next as i64)).unwrap();
                self.apply(record.key, &change);
            }
        }
        self.next += 1;
    }

    fn replay(&mut self, choice: usize) {
        let open: Vec<i64> =
            self.states.iter().filter(|s| *s.1 == DeadLetterState::Open).map(|s| *s.0).collect();
        if open.is_empty() {
            return;
        }
        let offset = open[choice % open.len()];
        let record = self.log[offset as usize].clone();
        let letter = letter(&record, offset);
        let mut later = LaterChanges::of([&letter]);
        let same_row = |at: &i64| *at > offset && self.log[*at as usize].key == record.key;
        let behind = self.states.iter().filter(|(at, _)| same_row(at));
        assert!(later.learn(&letter, behind.map(|(at, state)| (Offset(*at), *state)).collect()));
        read(&mut later, &self.log, self.next);
        assert!(!later.is_another_log(&letter));
        let change = change_of(&letter.dead_letter.record).unwrap();
        let state = match effective_change(&change, &later.behind(&letter), None) {
            EffectiveChange::Whole(change) | EffectiveChange::Part(change, _) => {
                self.apply(record.key, &change);
                DeadLetterState::Replayed
            }
            EffectiveChange::Nothing => DeadLetterState::Superseded,
        };
        self.states.insert(offset, state);
    }

    /// The rows that the log implies, each resolved letter counted at its place.
    fn expected(&self) -> BTreeMap<u8, Row> {
        let mut rows: BTreeMap<u8, Row> = BTreeMap::new();
        for at in 0..self.next {
            let aside = matches!(
                self.states.get(&(at as i64)),
                Some(DeadLetterState::Open | DeadLetterState::Discarded)
            );
            if aside || self.is_duplicate(at) {
                continue;
            }
            let record = &self.log[at];
            let row = rows.remove(&record.key).flatten();
            let change = change_of(&record.raw(at as i64)).unwrap();
            rows.insert(record.key, apply(row, &change));
        }
        rows
    }
}

#[derive(Clone, Debug)]
enum Step {
    Consume,
    Replay(usize),
    Discard(usize),
}

fn a_record() -> impl Strategy<Value = (Written, bool)> {
    let columns =
        prop::collection::btree_map(prop::sample::select(vec!["a", "b"]), -5_i64..5, 0..3);
    let written =
        (0_u8..2, columns, 0_u8..6, prop::bool::weighted(0.3), prop::bool::weighted(0.15));
    written.prop_map(|(key, columns, kind, bad, again)| {
        let value = (kind > 0).then(|| serde_json::to_string(&columns).unwrap());
        let add = (kind > 2 && columns.contains_key("a")).then_some("a");
        (Written { key, value, add, write_id: None, bad }, again)
    })
}

/// A log of one writer in which some records occur twice in a row, as a producer's retry leaves
/// them.
fn a_log() -> impl Strategy<Value = Vec<Written>> {
    prop::collection::vec(a_record(), 1..14).prop_map(|records| {
        let mut log = Vec::new();
        for (sequence, (mut record, again)) in records.into_iter().enumerate() {
            let sequence = sequence as u64;
            record.write_id = Some(WriteId { writer: Uuid::from_u128(1), sequence });
            log.push(record.clone());
            if again {
                log.push(record);
            }
        }
        log
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Consume),
        3 => (0_usize..9).prop_map(Step::Replay),
        1 => (0_usize..9).prop_map(Step::Discard),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn replayed_in_any_order_at_any_time_letters_count_once_and_at_their_place(
        log in a_log(),
        steps in steps(),
    ) {
        let mut world = World::new(log);
        for step in steps {
            match step {
                Step::Consume => world.consume(),
                Step::Replay(choice) => world.replay(choice),
                Step::Discard(choice) => {
                    let open = world.states.iter_mut().filter(|(_, state)| **state == DeadLetterState::Open);
                    if let Some((_, state)) = open.into_iter().nth(choice) {
                        *state = DeadLetterState::Discarded;
                    }
                }
            }
            prop_assert_eq!(&world.rows, &world.expected());
        }
    }

    #[test]
    fn many_letters_read_in_one_pass_and_in_parts_are_told_the_same_as_each_alone(
        log in a_log(),
        cut in 0_usize..14,
    ) {
        let bad = |(at, record): (usize, &Written)| record.bad.then(|| letter(record, at as i64));
        let letters: Vec<StoredDeadLetter> = log.iter().enumerate().filter_map(bad).collect();
        let all: BTreeMap<u8, OfRow> = letters.iter().fold(BTreeMap::new(), |mut all, letter| {
            let key = letter.dead_letter.record.key.as_deref().unwrap()[0];
            all.entry(key).or_insert_with(OfRow::new).insert(letter.offset(), DeadLetterState::Open);
            all
        });
        let of_row = |letter: &StoredDeadLetter| {
            let row = &all[&letter.dead_letter.record.key.as_deref().unwrap()[0]];
            row.range(letter.offset().next().offset()..).map(|(o, s)| (*o, *s)).collect::<OfRow>()
        };
        let mut together = LaterChanges::of(&letters);
        for letter in &letters {
            prop_assert!(together.learn(letter, of_row(letter)));
        }
        read(&mut together, &log, cut.min(log.len()));
        for letter in &letters {
            prop_assert!(together.learn(letter, of_row(letter)));
        }
        read(&mut together, &log, log.len());
        for letter in &letters {
            let mut alone = LaterChanges::of([letter]);
            prop_assert!(alone.learn(letter, of_row(letter)));
            read(&mut alone, &log, log.len());
            let told = |later: &LaterChanges| format!("{:?}", later.behind(letter));
            prop_assert_eq!(told(&together), told(&alone));
        }
    }
}

fn put(key: u8, value: &str) -> Written {
    Written { key, value: Some(value.to_owned()), add: None, write_id: None, bad: false }
}

#[test]
fn a_fold_made_before_a_later_letter_was_replayed_does_not_stand() {
    let log = [put(1, r#"{"a":1}"#), put(1, r#"{"a":2}"#), put(2, r#"{"a":3}"#)];
    let first = letter(&log[0], 0);
    let mut later = LaterChanges::of([&first]);
    let second = |state| OfRow::from([(Offset(1), state)]);
    assert!(later.learn(&first, second(DeadLetterState::Open)));
    assert!(later.learn(&first, second(DeadLetterState::Replayed)), "nothing was folded yet");
    assert!(later.learn(&first, second(DeadLetterState::Open)), "nothing was folded yet");
    read(&mut later, &log, 3);
    assert!(
        later.learn(&first, second(DeadLetterState::Discarded)),
        "it counts as little as before"
    );
    assert!(!later.learn(&first, second(DeadLetterState::Replayed)));
}

#[test]
fn another_record_in_the_letters_place_is_noticed() {
    let log = [put(1, r#"{"a":1}"#), put(2, r#"{"a":2}"#)];
    for (other, same) in
        [(put(1, r#"{"a":1}"#), true), (put(1, "{}"), false), (log[1].clone(), false)]
    {
        let letter = letter(&other, 0);
        let mut later = LaterChanges::of([&letter]);
        read(&mut later, &log, 2);
        assert_eq!(!later.is_another_log(&letter), same, "{other:?}");
    }
}

#[test]
fn what_a_later_record_has_set_is_left_out_and_named() {
    let change = |value: &str| record::decode(Some(value.as_bytes()), None).unwrap();
    let letter = change(r#"{"a":1,"b":2}"#);
    let EffectiveChange::Part(rest, left_out) =
        effective_change(&letter, &change(r#"{"a":7,"c":7}"#), None)
    else {
        panic!("a part is left");
    };
    assert_eq!(
        (rest.to_row().unwrap().unwrap(), left_out),
        (br#"{"b":2}"#.to_vec(), vec!["a".to_owned()])
    );
    assert!(matches!(
        effective_change(&letter, &change(r#"{"b":7,"a":7}"#), None),
        EffectiveChange::Nothing
    ));
    assert!(matches!(effective_change(&letter, &Change::delete(), None), EffectiveChange::Nothing));
    assert!(matches!(effective_change(&letter, &change("{}"), None), EffectiveChange::Whole(_)));
}

/// What remains of a letter on a route whose version column is `v`, behind these records.
fn left_of(value: Option<&str>, behind: &[Option<&str>]) -> Option<String> {
    let written = |value: Option<&str>| Written { value: value.map(str::to_owned), ..put(1, "") };
    let log: Vec<Written> =
        [value].iter().chain(behind).map(|value| written(value.as_deref())).collect();
    let letter = letter(&log[0], 0);
    let column = VersionColumn::new("v", ColumnKind::Integer(0..=99));
    let mut later = LaterChanges::with_version([&letter], Some(column));
    // The consumer has set aside the letter's own record.
    assert!(later.learn(&letter, OfRow::new()));
    read(&mut later, &log, log.len());
    let change = change_of(&letter.dead_letter.record).unwrap();
    match effective_change(&change, &later.behind(&letter), Some("v")) {
        EffectiveChange::Whole(change) | EffectiveChange::Part(change, _) => {
            Some(String::from_utf8(change.to_row().unwrap().unwrap_or_default()).unwrap())
        }
        EffectiveChange::Nothing => None,
    }
}

#[test]
fn behind_a_letter_with_a_version_only_what_is_not_older_counts() {
    let value = Some(r#"{"v":5,"a":1,"b":1}"#);
    for (behind, left) in [
        (&[][..], Some(r#"{"a":1,"b":1,"v":5}"#)),
        (&[Some(r#"{"v":4,"a":2}"#)], Some(r#"{"a":1,"b":1,"v":5}"#)),
        (&[Some(r#"{"v":5,"a":2}"#)], Some(r#"{"b":1,"v":5}"#)),
        (&[Some(r#"{"v":5,"a":2,"b":2}"#)], None),
        (&[Some(r#"{"v":4,"a":2}"#), None], None),
        (&[Some(r#"{"a":2}"#)], Some(r#"{"a":1,"b":1,"v":5}"#)),
    ] {
        assert_eq!(left_of(value, behind).as_deref(), left, "{behind:?}");
    }
    // Behind a delete the row starts over, and so do its versions.
    let behind = [Some(r#"{"v":2,"a":2}"#), Some(r#"{"v":1,"a":3}"#), Some(r#"{"v":2,"b":4}"#)];
    assert_eq!(left_of(None, &behind).as_deref(), Some(r#"{"a":2,"b":4,"v":2}"#));
}

#[test]
fn a_record_that_is_read_again_counts_once() {
    let mut log = vec![put(1, r#"{"a":1}"#)];
    log.extend((0..2).map(|_| Written { add: Some("a"), ..put(1, r#"{"a":5}"#) }));
    let letter = letter(&log[0], 0);
    let mut later = LaterChanges::of([&letter]);
    read(&mut later, &log, 2);
    read(&mut later, &log, 3);
    let once = Change::new().add("a", 5).add("a", 5);
    assert_eq!(format!("{:?}", later.behind(&letter)), format!("{once:?}"));
}

#[test]
fn what_is_to_be_read_begins_at_the_first_letter_and_ends_where_the_database_stands() {
    let letters = [7, 3].map(|offset| letter(&put(1, "{}"), offset));
    let mut later = LaterChanges::of(&letters);
    assert_eq!(later.next(), NextOffset(3));
    later.skip_to(NextOffset(5));
    assert_eq!(later.next(), NextOffset(5), "what was before is gone");
    later.skip_to(NextOffset(4));
    later.reached(NextOffset(9));
    assert_eq!(later.next(), NextOffset(9), "though the last offsets held no record");
}
