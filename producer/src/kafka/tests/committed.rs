//! The poller of committed offsets without a thread, a broker or a clock.

use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use prometheus::Registry;

use super::*;
use crate::core::delta::Delta;
use crate::error::DeliveryError;
use crate::partitions::Setup;
use crate::partitions::setup::setup;

const PARTITION: Partition = Partition(0);

#[derive(Debug, Default)]
struct Scripted {
    committed: Option<i64>,
    end: i64,
    partitions: i32,
    /// Partitions without a leader.
    leaderless: Vec<Partition>,
    ends_asked: u32,
    never_committed: bool,
}

type Shared = Arc<Mutex<Scripted>>;

impl Offsets for Shared {
    fn committed(
        &self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, NextOffset)>, NoAnswer> {
        if self.lock().unwrap().never_committed {
            return Ok(Vec::new());
        }
        let committed = self.lock().unwrap().committed.map(NextOffset);
        let committed = committed.ok_or_else(|| NoAnswer("the coordinator is away".into()))?;
        Ok(partitions.iter().map(|partition| (*partition, committed)).collect())
    }

    fn end(&self, partition: Partition) -> Result<NextOffset, NoAnswer> {
        let mut kafka = self.lock().unwrap();
        kafka.ends_asked += 1;
        if kafka.leaderless.contains(&partition) {
            return Err(NoAnswer("the leader is away".into()));
        }
        Ok(NextOffset(kafka.end))
    }

    fn partition_count(&self) -> Result<i32, NoAnswer> {
        Ok(self.lock().unwrap().partitions)
    }
}

/// A poller over partitions whose one write lies at offset 4 in each.
fn poller(start: Instant, count: i32) -> (CommitPoller<Shared>, Shared, Arc<Partitions>) {
    let scripted = Scripted { end: 5, partitions: count, ..Scripted::default() };
    let kafka = Arc::new(Mutex::new(scripted));
    let partitions = Partitions::new(Setup { partitions: count as usize, ..setup() });
    let partitions = Arc::new(partitions);
    for (_, pending) in partitions.iter() {
        partitions.change(pending.lock(), |state, cache| {
            state.core.accept(b"7", Delta::Delete, cache);
            state.core.mark_sent(0);
            state.core.acked(0, 4, cache);
        });
    }
    let metrics = Arc::new(Metrics::new(&Registry::new(), "scores").unwrap().0);
    let poller =
        CommitPoller::new(Arc::clone(&kafka), Arc::clone(&partitions), metrics, None, start);
    (poller, kafka, partitions)
}

fn is_pending(partitions: &Partitions) -> bool {
    partitions.of(PARTITION).unwrap().lock().core.has(b"7")
}

#[test]
fn no_answer_and_an_offset_past_the_end_of_the_log_leave_everything_pending() {
    let start = Instant::now();
    let (mut poller, kafka, partitions) = poller(start, 1);
    poller.poll(start);
    assert!(is_pending(&partitions), "nobody answered");
    kafka.lock().unwrap().committed = Some(100);
    poller.poll(start);
    assert!(is_pending(&partitions), "the log ends at 5");
    kafka.lock().unwrap().committed = Some(4);
    poller.poll(start);
    assert!(is_pending(&partitions), "4 is the next offset");
    kafka.lock().unwrap().committed = Some(5);
    poller.poll(start);
    assert!(!is_pending(&partitions));
}

#[test]
fn a_partition_without_a_leader_holds_up_itself_alone_and_is_left_alone_for_a_while() {
    let start = Instant::now();
    let (mut poller, kafka, partitions) = poller(start, 2);
    kafka.lock().unwrap().committed = Some(5);
    kafka.lock().unwrap().leaderless.push(PARTITION);
    let is_pending = |place| partitions.of(Partition(place)).unwrap().lock().core.has(b"7");
    poller.poll(start);
    assert!(is_pending(0), "its end is not known");
    assert!(!is_pending(1));
    let asked = kafka.lock().unwrap().ends_asked;
    poller.poll(start + SILENT_INTERVAL / 2);
    assert_eq!(kafka.lock().unwrap().ends_asked, asked, "each question blocks all others");
    kafka.lock().unwrap().leaderless.clear();
    poller.poll(start + SILENT_INTERVAL);
    assert!(!is_pending(0), "a leader is back");
}

#[test]
fn a_topic_with_another_number_of_partitions_halts_writes_at_the_next_check() {
    let start = Instant::now();
    let (mut poller, kafka, partitions) = poller(start, 1);
    kafka.lock().unwrap().partitions = 2;
    poller.poll(start);
    assert_eq!(partitions.halt.get(), None, "it is not asked at every poll");
    poller.poll(start + PARTITIONS_INTERVAL);
    assert_eq!(partitions.halt.get(), Some(&Halt::Repartitioned { was: 1, now: 2 }));
}

#[test]
fn asking_says_whether_anything_is_pending_and_whether_an_offset_moved() {
    let start = Instant::now();
    let (mut poller, kafka, partitions) = poller(start, 1);
    assert_eq!(poller.poll(start), Asked::StandsStill, "nobody answered");
    kafka.lock().unwrap().committed = Some(4);
    assert_eq!(poller.poll(start), Asked::Moved);
    assert_eq!(poller.poll(start), Asked::StandsStill);
    kafka.lock().unwrap().committed = Some(5);
    assert_eq!(poller.poll(start), Asked::Moved);
    assert!(!is_pending(&partitions));
    assert_eq!(poller.poll(start), Asked::Nothing);
}

#[test]
fn the_first_write_that_kafka_takes_wakes_a_poller_that_sleeps() {
    let (mut poller, kafka, partitions) = poller(Instant::now(), 1);
    kafka.lock().unwrap().committed = Some(5);
    assert_eq!(poller.poll(Instant::now()), Asked::Moved);
    // Without a signal it would sleep for longer than any test runs.
    let guard = poll_on_a_thread(poller, Duration::from_hours(10)).unwrap();
    while !partitions.wake.is_asleep() {
        std::thread::yield_now();
    }
    kafka.lock().unwrap().end = 6;
    kafka.lock().unwrap().committed = Some(6);
    partitions.change(partitions.of(PARTITION).unwrap().lock(), |state, cache| {
        state.core.accept(b"7", Delta::Delete, cache);
        state.core.mark_sent(1);
    });
    partitions.answered(PARTITION, std::iter::once((1, Ok(5))));
    while is_pending(&partitions) {
        std::thread::yield_now();
    }
    drop(guard);
}

/// The topic was deleted and created again; the group's offset is of the log before.
#[test]
fn an_end_below_what_kafka_acknowledged_is_another_log_and_halts_the_handle() {
    let start = Instant::now();
    let (mut poller, kafka, partitions) = poller(start, 2);
    kafka.lock().unwrap().committed = Some(4);
    poller.poll(start);
    // Acknowledged at an offset of the new log, which says nothing of where it is.
    partitions.change(partitions.of(PARTITION).unwrap().lock(), |state, cache| {
        state.core.accept(b"8", Delta::Delete, cache);
        state.core.mark_sent(1);
        state.core.acked(1, 0, cache);
    });
    kafka.lock().unwrap().end = 1;
    kafka.lock().unwrap().committed = Some(5);
    poller.poll(start);
    let replaced = Halt::LogReplaced { partition: 0, end: 1, acked: 4 };
    assert_eq!(partitions.halt.get(), Some(&replaced));
    let mut context = Context::from_waker(Waker::noop());
    for (partition, pending) in partitions.iter() {
        let told = pin!(pending.pass(Stage::Persisted, 0..1)).poll(&mut context);
        let Poll::Ready(Err(error)) = told else { panic!("{partition} waits: {told:?}") };
        assert_eq!(error, DeliveryError::Closed, "nobody will know any more");
    }
    assert!(is_pending(&partitions), "nothing of it counts as persisted");
    poller.poll(start);
    assert!(is_pending(&partitions));
}

#[test]
fn a_group_that_has_never_committed_is_told_of_once_when_writes_have_waited_for_five_seconds() {
    let start = Instant::now();
    let (poller, kafka, partitions) = poller(start, 1);
    let mut poller = poller.expect_first_commit(Some("scroes"));
    let mut events = partitions.events.listen();
    let at = |seconds| start + Duration::from_secs(seconds);
    kafka.lock().unwrap().never_committed = true;
    for seconds in 0..5 {
        poller.poll(at(seconds));
    }
    assert_eq!(events.try_next(), None, "a consumer may need a moment");
    for seconds in 5..60 {
        poller.poll(at(seconds));
    }
    assert_eq!(events.try_next(), Some(Event::NeverCommitted { group: "scroes".into() }));
    assert_eq!(events.try_next(), None, "once");
}

#[test]
fn a_group_that_commits_for_the_first_time_in_time_is_not_told_of() {
    let start = Instant::now();
    let (poller, kafka, partitions) = poller(start, 1);
    let mut poller = poller.expect_first_commit(Some("sink"));
    let mut events = partitions.events.listen();
    kafka.lock().unwrap().never_committed = true;
    poller.poll(start);
    kafka.lock().unwrap().never_committed = false;
    kafka.lock().unwrap().committed = Some(1);
    for seconds in 4..60 {
        poller.poll(start + Duration::from_secs(seconds));
    }
    assert_eq!(events.try_next(), None);
}
