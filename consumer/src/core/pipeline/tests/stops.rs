//! A route that stops at bad records: what stands before the first one is written and committed.

use super::cases::{NOW, actions, at, reading_all, some_limits};
use super::*;
use crate::core::record::{DeadLetter, RawRecord};

const STOPS: RouteLimits = RouteLimits { sets_aside: false, ..ASIDE };
/// A value that the database refuses.
const REFUSED: i64 = 13;

/// One partition of a route that stops, its database, and Kafka's offset.
struct World {
    pipeline: Pipeline,
    log: Vec<Entry>,
    tables: [Table; 1],
    committed: i64,
    fetching: usize,
    now: Duration,
}

impl World {
    fn new(kinds: Vec<Kind>, max_rows: usize) -> Self {
        let limits = PipelineLimits { max_rows, ..some_limits() };
        let pipeline = reading_all(Pipeline::new(limits, [STOPS]), &[tp(0)]);
        let entry = |(sequence, kind)| Entry { kind, sequence: sequence as u64 };
        let log = kinds.into_iter().enumerate().map(entry).collect();
        let tables = Default::default();
        Self { pipeline, log, tables, committed: 0, fetching: 0, now: NOW }
    }

    fn deliver(&mut self) {
        let Some(entry) = self.log.get(self.fetching) else { return };
        let (key, value, add) = entry.value();
        let id = WriteId { writer: Uuid::from_u128(1), sequence: entry.sequence }.encode();
        let mut headers = vec![(record::WRITE_ID, Some(&id[..]))];
        headers.extend(add.map(|add| (record::ADD, Some(add.as_bytes()))));
        let key = key.map(|key| [key]);
        let incoming = Incoming {
            partition: Partition(0),
            offset: Offset(self.fetching as i64),
            timestamp: None,
            key: key.as_ref().map(|key| &key[..]),
            value: value.as_deref().map(str::as_bytes),
            headers: &headers,
        };
        self.fetching += 1;
        self.pipeline.record(self.now, 0, &incoming);
    }

    /// The first record of the batch that the database refuses.
    fn refused(&self, batch: &Batch) -> Option<DeadLetter> {
        let is_refused = |offset: &usize| matches!(self.log[*offset].kind, Kind::Set(_, value) if value == REFUSED);
        let span = batch.spans[0];
        let offset = (span.start.0 as usize..span.end.0 as usize).find(is_refused)?;
        let record = RawRecord {
            partition: Partition(0),
            offset: Offset(offset as i64),
            key: None,
            value: None,
            headers: Vec::new(),
        };
        Some(DeadLetter { record, reason: "refused".to_owned(), sqlstate: None })
    }

    /// Does what the pipeline says; the offset of the record that it stops at.
    fn act(&mut self) -> Option<Offset> {
        while let Some(action) = self.pipeline.next_action() {
            match action {
                Action::Write(closed) => {
                    let id = closed.id;
                    let batch = closed.into_batch(Arc::from("topic"));
                    let ended = match self.refused(&batch) {
                        Some(letter) => BatchResult::Bad(vec![letter]),
                        None => transact(&mut self.tables, &batch),
                    };
                    self.pipeline.finished(self.now, id, &ended);
                }
                Action::Commit(id, offsets) => {
                    self.committed = offsets[0].1.0;
                    self.pipeline.commit_answered(self.now, id, true);
                }
                Action::Locate(asked) => {
                    let table = &self.tables[0];
                    let found = Located {
                        tp: asked[0].0,
                        epoch: asked[0].1,
                        next: NextOffset(table.next as i64),
                        committed: Some(NextOffset(self.committed)),
                        writers: table.writers(asked[0].0.partition),
                    };
                    self.pipeline.located(self.now, vec![found]);
                }
                Action::Read(tps) => self.fetching = tps[0].1.0 as usize,
                Action::StopAtBad(_, letter) => return Some(letter.record.offset),
                Action::Drained => panic!("nobody asked for an end"),
                _ => {}
            }
        }
        None
    }
}

fn a_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        20 => (0_u8..6, 0_i64..9).prop_map(|(key, value)| Kind::Set(key, value)),
        10 => (0_u8..6, 0_i64..9).prop_map(|(key, value)| Kind::Add(key, value)),
        1 => (0_u8..6).prop_map(|key| Kind::Set(key, REFUSED)),
        1 => Just(Kind::Garbage),
    ]
}

proptest! {
    #[test]
    fn whatever_is_before_the_first_bad_record_is_written_and_committed_and_nothing_else(
        kinds in prop::collection::vec(a_kind(), 1..60), max_rows in 1_usize..20,
    ) {
        let is_bad = |kind: &Kind| matches!(kind, Kind::Garbage | Kind::Set(_, REFUSED));
        let first_bad = kinds.iter().position(is_bad);
        let mut world = World::new(kinds, max_rows);
        let mut stopped = None;
        for _ in 0..400 {
            world.deliver();
            world.now += at(20);
            world.pipeline.tick(world.now);
            stopped = stopped.or(world.act());
        }
        let end = first_bad.unwrap_or(world.log.len());
        prop_assert_eq!(stopped, first_bad.map(|offset| Offset(offset as i64)));
        prop_assert_eq!(&world.tables[0], &prefix(&world.log, end));
        prop_assert_eq!(world.committed, end as i64);
    }
}

#[test]
fn a_bad_record_that_somebody_mended_meanwhile_is_not_stopped_at() {
    let mut pipeline = reading_all(Pipeline::new(some_limits(), [STOPS]), &[tp(0)]);
    let record = |pipeline: &mut Pipeline, offset| {
        let incoming = Incoming {
            partition: Partition(0),
            offset: Offset(offset),
            timestamp: None,
            key: Some(b"1"),
            value: Some(b"{}"),
            headers: &[],
        };
        pipeline.record(at(0), 0, &incoming);
    };
    record(&mut pipeline, 0);
    pipeline.tick(at(100));
    let Some(Action::Write(closed)) = pipeline.next_action() else { panic!("it is old enough") };
    let letter = DeadLetter {
        record: RawRecord {
            partition: Partition(0),
            offset: Offset(0),
            key: None,
            value: None,
            headers: Vec::new(),
        },
        reason: "refused".to_owned(),
        sqlstate: None,
    };
    pipeline.finished(at(100), closed.id, &BatchResult::Bad(vec![letter]));
    let Some(Action::Locate(asked)) = pipeline.next_action() else { panic!("asks again") };
    let located = Located {
        tp: tp(0),
        epoch: asked[0].1,
        next: NextOffset(1),
        committed: Some(NextOffset(1)),
        writers: Vec::new(),
    };
    pipeline.located(at(100), vec![located]);
    record(&mut pipeline, 1);
    pipeline.tick(at(300));
    let done = actions(&mut pipeline);
    assert!(!done.iter().any(|action| matches!(action, Action::StopAtBad(..))), "{done:?}");
    assert!(done.iter().any(|action| matches!(action, Action::Write(_))), "{done:?}");
}
