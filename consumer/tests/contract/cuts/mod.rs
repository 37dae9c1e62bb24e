//! Where a batch ends changes nothing: for any records, good and bad, and any two ways of cutting
//! the log into batches, the rows and the dead letters are the same.
//!
//! Excepted is what a later record of the same batch replaces: a value that it sets, or a row
//! that it deletes or completes is never applied, so what was wrong with it may go unnoticed. Nor is
//! a record applied that is older than its row. And a record may have what another row had, if a
//! later record of the same batch ends that. Then the law holds for the log without the record that
//! one cut noticed and the other did not.
//!
//! A batch goes the way it goes in the consumer: folded by the pipeline's buffer, judged and written
//! by a worker, its refused rows read again from the log. `CASES` tries more logs, `SEED` the ones of
//! an earlier run: `CASES=20000 cargo test -p write-behind-consumer --test store_contract
//! where_batches_end`.

mod kinds;
mod log;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kinds::{CHECKED, Kind, PLAIN, UNIQUE, UNIQUE_CHECKED, UNIQUE_VERSIONED, VERSIONED};
use log::{Entry, Rows, a_log, are_same, examples, in_the_way, rows_of};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use tokio::sync::watch;
use write_behind_consumer::apply::history::RouteHistory;
use write_behind_consumer::apply::retry::RetryLimits;
use write_behind_consumer::apply::{Applied, Event, Target, Worker};
use write_behind_consumer::clock::MonotonicClock;
use write_behind_consumer::core::batch::Batch;
use write_behind_consumer::core::flood::FloodLimits;
use write_behind_consumer::core::pipeline::buffer::{Buffer, PartitionMemory};
use write_behind_consumer::core::record::Incoming;

use super::records::Records;
use super::*;

/// How many records memory holds at once, where it does not hold all.
const PART_MAX: usize = 3;
/// Any number of bad records is set aside.
const NO_FLOOD: FloodLimits =
    FloodLimits { max_ratio: 1.0, max_per_second: u32::MAX, window: Duration::from_secs(1) };

pub async fn rows_and_letters_do_not_depend_on_where_batches_end(lab: impl Lab) {
    hold(lab, &PLAIN).await;
}

pub async fn rows_and_letters_of_a_table_with_checks_do_not_depend_on_where_batches_end(
    lab: impl Lab,
) {
    hold(lab, &CHECKED).await;
}

pub async fn rows_and_letters_of_rows_with_versions_do_not_depend_on_where_batches_end(
    lab: impl Lab,
) {
    hold(lab, &VERSIONED).await;
}

pub async fn rows_and_letters_of_a_table_with_unique_keys_do_not_depend_on_where_batches_end(
    lab: impl Lab,
) {
    hold(lab, &UNIQUE).await;
}

pub async fn rows_and_letters_of_unique_keys_and_checks_do_not_depend_on_where_batches_end(
    lab: impl Lab,
) {
    hold(lab, &UNIQUE_CHECKED).await;
}

pub async fn rows_and_letters_of_unique_keys_and_versions_do_not_depend_on_where_batches_end(
    lab: impl Lab,
) {
    hold(lab, &UNIQUE_VERSIONED).await;
}

#[expect(clippy::await_holding_refcell_ref, reason = "one case runs at a time")]
async fn hold<L: Lab>(lab: L, kind: &'static Kind) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("SEED").unwrap_or_else(rand_seed);
    let cases = number("CASES").map_or(L::LOGS, |cases| u32::try_from(cases).unwrap());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let cutter = RefCell::new(Cutter::new(lab, kind).await);
    for log in examples(kind) {
        cutter.borrow_mut().holds(log.clone(), &[3], &[1]).await.unwrap();
        cutter.borrow_mut().holds(log, &[2, 9], &[1]).await.unwrap();
    }
    let sizes = || prop::collection::vec(prop_oneof![Just(1), Just(20), 1..8_usize], 1..4);
    let cuts = (a_log(kind), sizes(), sizes());
    let tried = tokio::task::block_in_place(|| {
        TestRunner::new_with_rng(config, rng).run(&cuts, |(log, one, other)| {
            tokio::runtime::Handle::current()
                .block_on(async { cutter.borrow_mut().holds(log, &one, &other).await })
        })
    });
    let excused = cutter.borrow().excused;
    println!("{cases} logs, cut twice each, from SEED={seed}; {excused} records were replaced");
    if let Err(broken) = tried {
        panic!("SEED={seed}: {broken}");
    }
}

fn rand_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos() & u128::from(u32::MAX)).unwrap()
}

/// What a log came to.
#[derive(Debug)]
struct Outcome {
    rows: Rows,
    letters: BTreeSet<usize>,
    /// The batch of each record.
    batches: Vec<usize>,
}

/// A worker, and the table that it writes.
struct Cutter<L> {
    lab: L,
    kind: &'static Kind,
    log: Arc<Records>,
    worker: Worker<(Database, Timeouts), Records>,
    excused: usize,
}

impl<L: Lab> Cutter<L> {
    async fn new(lab: L, kind: &'static Kind) -> Self {
        let Bench { lab, .. } = Bench::with(lab, kind.columns).await;
        let target = Target {
            scope: scope(),
            partitions: 2,
            table: "t".to_owned(),
            key: Vec::new(),
            columns: None,
            rename: Vec::new(),
            version: kind.version.map(str::to_owned),
            history: Arc::new(RouteHistory::new(NO_FLOOD)),
        };
        let log = Arc::<Records>::default();
        let worker = Worker::new(
            (lab.database(), Timeouts::STANDARD),
            Arc::clone(&log),
            Arc::from([target]),
            (RetryLimits::STANDARD, 1),
            Arc::new(|_: Event<'_>| {}),
            MonotonicClock::start(),
        );
        Self { lab, kind, log, worker, excused: 0 }
    }

    /// The law, for one log and two cuts of it.
    async fn holds(
        &mut self,
        mut log: Vec<Entry>,
        one: &[usize],
        other: &[usize],
    ) -> TestCaseResult {
        loop {
            let cut = self.run(&log, one).await;
            let other_cut = self.run(&log, other).await;
            for cut in [&cut, &other_cut] {
                let expected = rows_of(&log, &cut.letters, self.kind);
                prop_assert!(
                    are_same(&cut.rows, &expected),
                    "{log:#?} came to {cut:?} instead of {expected:?}"
                );
            }
            let Some(differs) = cut.letters.symmetric_difference(&other_cut.letters).next() else {
                prop_assert!(are_same(&cut.rows, &other_cut.rows));
                return Ok(());
            };
            let (noticed, unnoticed) =
                if cut.letters.contains(differs) { (&cut, &other_cut) } else { (&other_cut, &cut) };
            prop_assert!(
                self.is_replaced(&log, *differs, unnoticed).await,
                "record {differs} of {log:#?} was set aside in {noticed:?}, but not in {unnoticed:?}"
            );
            self.excused += 1;
            log.remove(*differs);
        }
    }

    /// Whether a later record of the same batch replaced what is wrong with the record at `offset`, or
    /// ended that another row has what it takes, or an earlier one of a newer version made it count for
    /// nothing.
    async fn is_replaced(&mut self, log: &[Entry], offset: usize, cut: &Outcome) -> bool {
        let entry = &log[offset];
        let probe = [Entry::whole(entry.key, self.kind), entry.clone()];
        let is_bad_of_itself = self.run(&probe, &[1]).await.letters.contains(&1);
        let is_applied =
            |at: &usize| !cut.letters.contains(at) && cut.batches[*at] == cut.batches[offset];
        let beside = |at: &usize| is_applied(at) && log[*at].key == entry.key;
        let in_the_way = in_the_way(log, offset, &cut.letters, self.kind);
        let is_given_up = |(key, unique): &(String, &[&str])| {
            let mut later = (offset + 1..log.len()).filter(is_applied).map(|at| &log[at]);
            later.any(|later| (later.key == entry.key || later.key == key) && later.touches(unique))
        };
        if !in_the_way.iter().all(is_given_up) {
            return false;
        }
        if !in_the_way.is_empty() && !is_bad_of_itself {
            return true;
        }
        let is_newer = |at: usize| log[at].version() > entry.version();
        if self.kind.version.is_some() && (0..offset).filter(beside).any(is_newer) {
            return true;
        }
        let mut later = (offset + 1..log.len()).filter(beside).map(|at| &log[at]);
        later.any(|later| match entry.suspect().filter(|_| is_bad_of_itself) {
            Some(suspect) => later.replaces(suspect.column),
            // It lacked what a new row requires, or its version.
            None => later.cells.is_none() || self.kind.requires && later.is_whole(),
        })
    }

    /// Empties the table and applies the log in batches of these sizes, in turn.
    async fn run(&mut self, log: &[Entry], sizes: &[usize]) -> Outcome {
        self.lab
            .sql(
                "DELETE FROM t; DELETE FROM write_behind_dead_letters; \
                 UPDATE write_behind_offsets SET next_offset = 0",
            )
            .await;
        let records: Vec<RawRecord> =
            log.iter().enumerate().map(|(offset, entry)| entry.record(offset)).collect();
        self.log.all.lock().unwrap().clone_from(&records);
        *self.log.part_max.lock().unwrap() = log.len().is_multiple_of(2).then_some(PART_MAX);
        let version = self.kind.version.map(Arc::from);
        let (mut memory, mut batches) =
            (PartitionMemory::default().with_version(version), Vec::new());
        let (mut rest, mut sizes) = (&records[..], sizes.iter().cycle().enumerate());
        while let (false, Some((number, size))) = (rest.is_empty(), sizes.next()) {
            let (batch, after) = rest.split_at((*size).min(rest.len()));
            batches.extend(std::iter::repeat_n(number, batch.len()));
            rest = after;
            let batch = folded(batch, &mut memory);
            let (_shutdown, mut shut_down) = watch::channel(false);
            let applied = self.worker.apply(&batch, &mut shut_down).await;
            assert!(matches!(applied, Applied::Written(..)), "{log:#?}: {applied:?}");
        }
        Outcome { rows: self.rows().await, letters: self.letters().await, batches }
    }

    async fn rows(&self) -> Rows {
        let columns = self.kind.defaults.iter().map(|(name, _)| *name);
        let texts: Vec<String> = std::iter::once("id")
            .chain(columns)
            .map(|name| format!("CAST({name} AS text)"))
            .collect();
        let rows = self.lab.rows(&format!("SELECT {} FROM t", texts.join(", "))).await;
        let mut keyed = Rows::new();
        for mut row in rows {
            let key = row.remove(0).unwrap();
            keyed.insert(key, row);
        }
        keyed
    }

    async fn letters(&self) -> BTreeSet<usize> {
        let offsets = "SELECT CAST(record_offset AS text) FROM write_behind_dead_letters";
        let rows = self.lab.rows(offsets).await;
        rows.into_iter().map(|row| row[0].as_deref().unwrap().parse().unwrap()).collect()
    }
}

/// The records as one batch, folded as the pipeline does.
fn folded(records: &[RawRecord], memory: &mut PartitionMemory) -> Batch {
    let start = NextOffset(records[0].offset.0);
    let mut buffer = Buffer::new(Partition(0), start, Duration::ZERO);
    for record in records {
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        let incoming = Incoming {
            partition: record.partition,
            offset: record.offset,
            timestamp: None,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        if let Err(why) = buffer.fold(&incoming, memory) {
            buffer.set_aside(&incoming, &why);
        }
    }
    let span = Span { partition: Partition(0), start, end: buffer.next() };
    let contents = buffer.into_contents();
    Batch {
        route: 0,
        topic: "t".into(),
        spans: vec![span],
        rows: contents.rows,
        dead_letters: contents.dead_letters,
        duplicates: contents.duplicates,
        writers: contents.writers,
        records: records.len() as u64,
        refuse_missing_references: true,
        ..Batch::default()
    }
}
