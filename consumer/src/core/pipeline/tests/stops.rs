//! A route that may set no record aside: it stops before the first bad one, and continues on its
//! own once that record fits.

use super::cases::{NOW, reading_all, some_limits};
use super::*;

/// A value that the database refuses until its table is fixed.
const REFUSED: i64 = 13;

/// One partition of a route that sets nothing aside, its database, and Kafka's offset.
struct World {
    pipeline: Pipeline,
    log: Vec<Entry>,
    tables: [Table; 1],
    mended: bool,
    committed: i64,
    fetching: usize,
    now: Duration,
}

impl World {
    fn new(kinds: Vec<Kind>, max_rows: usize) -> Self {
        let limits = PipelineLimits { max_rows, ..some_limits() };
        let pipeline = reading_all(Pipeline::new(limits, [ROUTE]), &[tp(0)]);
        let entry = |(sequence, kind)| Entry { kind, sequence: sequence as u64, is_urgent: false };
        let log = kinds.into_iter().enumerate().map(entry).collect();
        let (tables, mended) = (Default::default(), false);
        Self { pipeline, log, tables, mended, committed: 0, fetching: 0, now: NOW }
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

    /// Whether the database refuses a record of the batch.
    fn is_refused(&self, batch: &Batch) -> bool {
        let span = batch.spans[0];
        let mut records = self.log[span.start.0 as usize..span.end.0 as usize].iter();
        !self.mended && records.any(|entry| is_bad(entry.kind))
    }

    /// Carries out what the pipeline says.
    fn act(&mut self) {
        while let Some(action) = self.pipeline.next_action() {
            match action {
                Action::Write(closed) => {
                    let id = closed.id;
                    let batch = closed.into_batch(Arc::from("topic"));
                    if self.is_refused(&batch) {
                        let (why, partition) = ("bad".to_owned(), Some(Partition(0)));
                        self.pipeline.stopped(self.now, id, &Stop { why, partition });
                    } else {
                        let ended = transact(&mut self.tables, &batch);
                        self.pipeline.finished(self.now, id, &ended);
                    }
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
                        was_adopted: false,
                        writers: table.writers(asked[0].0.partition),
                    };
                    self.pipeline.located(self.now, vec![found]);
                }
                Action::Read(tps) => self.fetching = tps[0].1.0 as usize,
                Action::Drained => panic!("nobody asked for an end"),
                _ => {}
            }
        }
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.deliver();
            self.now += Duration::from_millis(20);
            self.pipeline.tick(self.now);
            self.act();
        }
    }

    fn is_stopped(&self) -> bool {
        !self.pipeline.progress(self.now).stopped.is_empty()
    }
}

fn is_bad(kind: Kind) -> bool {
    matches!(kind, Kind::Garbage | Kind::Set(_, REFUSED))
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
    fn a_route_stops_before_its_first_bad_record_and_writes_all_of_its_log_when_that_fits(
        kinds in prop::collection::vec(a_kind(), 1..60), max_rows in 1_usize..20,
    ) {
        let first_bad = kinds.iter().position(|kind| is_bad(*kind));
        let mut world = World::new(kinds, max_rows);
        let end = world.log.len();
        world.turns(400);
        let next = world.tables[0].next;
        prop_assert!(next <= first_bad.unwrap_or(end), "{next} is past {first_bad:?}");
        prop_assert_eq!(&world.tables[0], &prefix(&world.log, next));
        prop_assert_eq!(world.committed, next as i64);
        prop_assert_eq!(world.is_stopped(), first_bad.is_some());
        world.mended = true;
        world.turns(2_000);
        prop_assert_eq!(&world.tables[0], &prefix(&world.log, end));
        prop_assert_eq!(world.committed, end as i64);
        prop_assert!(!world.is_stopped());
    }
}
