//! Spans are read whole, whatever a lagging replica reports as the end of the log.

use proptest::prelude::*;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn span(partition: i32, start: i64, end: i64) -> Span {
    let partition = Partition(partition);
    Span { partition, start: NextOffset(start), end: NextOffset(end) }
}

/// A read of offsets 5 to 9 of partition 0.
fn reading() -> SpanRead {
    SpanRead::new(&[span(0, 5, 10)], PATIENCE)
}

#[test]
fn a_span_is_finished_by_its_last_record_or_by_one_past_it() {
    for last in [9, 12] {
        let mut read = reading();
        assert_eq!(read.record(Partition(0), Offset(6)), Some(2), "offset 5 was a marker");
        assert_eq!(read.step(), ReadStep::Poll);
        assert_eq!(read.record(Partition(0), Offset(last)), (last == 9).then_some(3));
        assert_eq!(read.step(), ReadStep::Finished);
    }
}

#[test]
fn a_partition_of_which_nothing_more_is_wanted_is_named_once() {
    let mut read = SpanRead::best_effort(&[span(0, 5, 6), span(1, 5, 6), span(2, 5, 6)], PATIENCE);
    read.record(Partition(1), Offset(5));
    read.record(Partition(1), Offset(6));
    assert_eq!(read.take_ended(), [Partition(1)]);
    read.end_of_log(Partition(2), None);
    read.ends(NextOffset(0), NextOffset(5));
    assert_eq!(read.take_ended(), [Partition(2)], "its log is too short");
    read.end_of_log(Partition(0), Some(NextOffset(6)));
    assert_eq!(read.take_ended(), [Partition(0)]);
    assert_eq!((read.take_ended(), read.step()), (Vec::new(), ReadStep::Finished));
}

#[test]
fn the_end_of_a_lagging_replica_does_not_finish_a_span() {
    let mut read = reading();
    read.record(Partition(0), Offset(6));
    read.end_of_log(Partition(0), Some(NextOffset(7)));
    assert_eq!(read.step(), ReadStep::AskEnds(Partition(0)));
    read.ends(NextOffset(0), NextOffset(10));
    assert_eq!(read.step(), ReadStep::Poll, "the leader has three offsets more");
    assert_eq!(read.record(Partition(0), Offset(9)), Some(3));
    assert_eq!(read.step(), ReadStep::Finished);
}

#[test]
fn a_span_that_ends_in_markers_is_finished_by_the_clients_position() {
    let mut read = reading();
    read.record(Partition(0), Offset(6));
    read.end_of_log(Partition(0), Some(NextOffset(10)));
    assert_eq!(read.step(), ReadStep::Finished);
}

#[test]
fn the_leader_says_whether_records_are_still_to_come_or_gone() {
    let short = |high| ReadFailure::Short {
        partition: Partition(0),
        high: NextOffset(high),
        end: NextOffset(10),
    };
    for (low, high, step) in [
        (5, 10, ReadStep::Poll),
        (0, 12, ReadStep::Poll),
        (0, 9, ReadStep::Failed(short(9))),
        // It has just been elected and does not show its whole log yet.
        (0, 3, ReadStep::Failed(short(3))),
        (6, 12, ReadStep::Failed(ReadFailure::Gone)),
    ] {
        let mut read = reading();
        read.end_of_log(Partition(0), None);
        read.ends(NextOffset(low), NextOffset(high));
        assert_eq!(read.step(), step, "{low} to {high}");
    }
    let mut read = reading();
    read.out_of_range();
    assert_eq!(read.step(), ReadStep::Failed(ReadFailure::Gone));
}

#[test]
fn a_reading_fails_when_nothing_came_for_too_long_since_the_last_record() {
    let mut read = reading();
    read.waited(PATIENCE);
    assert_eq!(read.step(), ReadStep::Poll);
    read.record(Partition(0), Offset(5));
    read.waited(PATIENCE);
    assert_eq!(read.step(), ReadStep::Poll);
    read.record(Partition(0), Offset(5));
    read.record(Partition(1), Offset(5));
    read.waited(Duration::from_millis(1));
    let silence = ReadStep::Failed(ReadFailure::Silence(PATIENCE));
    assert_eq!(read.step(), silence, "neither a repeated nor a foreign record counts");
}

#[test]
fn a_busy_finished_partition_does_not_hide_that_another_is_silent() {
    let mut read = SpanRead::new(&[span(0, 5, 6), span(1, 5, 10)], PATIENCE);
    let turn = Duration::from_secs(1);
    for offset in 5..=35 {
        assert_eq!(read.step(), ReadStep::Poll, "{offset}");
        read.waited(turn);
        read.record(Partition(0), Offset(offset));
    }
    assert_eq!(read.step(), ReadStep::Poll, "the first record was awaited");
    read.waited(turn);
    read.record(Partition(0), Offset(36));
    assert_eq!(read.step(), ReadStep::Failed(ReadFailure::Silence(PATIENCE)));
}

#[test]
fn a_record_that_comes_at_the_last_moment_still_counts() {
    let mut read = reading();
    read.waited(PATIENCE + Duration::from_millis(1));
    assert_eq!(read.record(Partition(0), Offset(5)), Some(1));
    assert_eq!(read.step(), ReadStep::Poll);
}

#[test]
fn a_best_effort_reads_on_where_one_span_fails() {
    let spans = [span(0, 5, 10), span(1, 5, 10), span(2, 5, 10)];
    let mut read = SpanRead::best_effort(&spans, PATIENCE);
    read.end_of_log(Partition(0), None);
    read.ends(NextOffset(0), NextOffset(9));
    read.end_of_log(Partition(1), None);
    assert_eq!(read.step(), ReadStep::AskEnds(Partition(1)));
    assert!(read.no_answer(), "the others are read on");
    read.out_of_range();
    assert_eq!(read.step(), ReadStep::Poll);
    assert_eq!(read.record(Partition(2), Offset(9)), Some(5));
    assert_eq!(read.step(), ReadStep::Finished);
    assert_eq!(read.unfinished(), [Partition(0), Partition(1)]);
}

#[test]
fn the_time_of_a_best_effort_is_limited_whatever_comes() {
    let mut read = SpanRead::best_effort(&[span(0, 5, 10), span(1, 5, 10)], PATIENCE);
    read.waited(PATIENCE / 2);
    read.record(Partition(0), Offset(9));
    assert_eq!(read.answer_within(), PATIENCE / 2);
    read.asked_for(PATIENCE / 2);
    assert_eq!(read.step(), ReadStep::Poll);
    read.waited(Duration::from_millis(1));
    assert_eq!(read.step(), ReadStep::Failed(ReadFailure::Silence(PATIENCE)));
    assert_eq!(read.unfinished(), [Partition(1)]);
}

#[test]
fn only_a_best_effort_goes_on_without_a_leaders_answer() {
    let mut read = reading();
    read.end_of_log(Partition(0), None);
    assert!(!read.no_answer());
    assert_eq!(read.answer_within(), PATIENCE);
}

#[test]
fn other_partitions_repeated_records_and_empty_spans_are_passed_over() {
    let mut read = SpanRead::new(&[span(0, 5, 10), span(1, 7, 7)], PATIENCE);
    assert_eq!(read.unread(), [span(0, 5, 10)]);
    assert_eq!(read.record(Partition(1), Offset(7)), None);
    assert_eq!(read.record(Partition(0), Offset(4)), None);
    assert_eq!(read.record(Partition(0), Offset(5)), Some(1));
    assert_eq!(read.record(Partition(0), Offset(5)), None);
    read.end_of_log(Partition(1), None);
    assert_eq!(read.step(), ReadStep::Poll);
}

/// One partition's log, and a client that reads one of its replicas.
struct Simulated {
    partition: Partition,
    /// Whether each offset holds a record; the others hold markers.
    log: Vec<bool>,
    /// How much of the log the replica has.
    replica: usize,
    position: usize,
    ended_at: Option<usize>,
    taken: Vec<Offset>,
}

impl Simulated {
    /// The client delivers what the replica has, then its end once.
    fn poll(&mut self, read: &mut SpanRead) {
        while self.position < self.replica {
            let offset = Offset(self.position as i64);
            self.position += 1;
            if self.log[offset.0 as usize] && read.record(self.partition, offset).is_some() {
                self.taken.push(offset);
            }
        }
        if self.ended_at.replace(self.position) != Some(self.position) {
            read.end_of_log(self.partition, Some(NextOffset(self.position as i64)));
            if read.step() == ReadStep::AskEnds(self.partition) {
                read.ends(NextOffset::ZERO, NextOffset(self.log.len() as i64));
            }
        }
    }
}

proptest! {
    #[test]
    fn each_record_of_the_spans_is_read_once_and_as_soon_as_the_replicas_have_it(
        logs in prop::collection::vec(
            (prop::collection::vec(any::<bool>(), 1..30), 0_usize..30, 0_usize..30), 1..4,
        ),
        growth in prop::collection::vec((0_usize..4, 0_usize..8), 0..12),
    ) {
        let mut spans = Vec::new();
        let mut partitions = Vec::new();
        for (number, (log, one, other)) in logs.into_iter().enumerate() {
            let (one, other) = (one.min(log.len()), other.min(log.len()));
            let (start, end) = (one.min(other), one.max(other));
            let partition = Partition(number as i32);
            spans.push(span(partition.0, start as i64, end as i64));
            let (position, taken) = (start, Vec::new());
            let replica = start;
            partitions.push(Simulated { partition, log, replica, position, ended_at: None, taken });
        }
        let mut read = SpanRead::new(&spans, PATIENCE);
        // In the end every replica catches up.
        let caught_up = (0..partitions.len()).map(|number| (number, usize::MAX));
        for (number, more) in growth.into_iter().chain(caught_up) {
            let number = number % partitions.len();
            let partition = &mut partitions[number];
            partition.replica = partition.replica.saturating_add(more).min(partition.log.len());
            partition.poll(&mut read);
            let whole = |(partition, span): (&Simulated, &Span)| {
                let offsets = (span.start.0..span.end.0).map(Offset);
                let records = offsets.filter(|offset| partition.log[offset.0 as usize]);
                partition.taken == records.collect::<Vec<_>>()
            };
            let is_whole = partitions.iter().zip(&spans).all(whole);
            prop_assert!(read.step() != ReadStep::Finished || is_whole, "a record was missed");
        }
        prop_assert_eq!(read.step(), ReadStep::Finished);
    }
}
