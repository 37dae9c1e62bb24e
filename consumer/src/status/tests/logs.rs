//! Where the logs end and which partitions stand still, from what several have seen.

use write_behind_shared::Partition;

use super::*;

const TP: RoutePartition = RoutePartition { route: 0, partition: Partition(3) };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A partition that is read up to `next`, and written up to `written`.
fn part(next: i64, written: i64) -> PartitionProgress {
    PartitionProgress {
        tp: TP,
        reading: true,
        leaving: false,
        paused: false,
        next: NextOffset(next),
        written: Some(NextOffset(written)),
        committed: None,
        buffer_rows: 0,
        buffer_bytes: 0,
        oldest: None,
    }
}

fn fetched(end: i64, stable: i64, position: i64) -> Fetched {
    Fetched {
        end: NextOffset(end),
        stable: NextOffset(stable),
        position: Some(NextOffset(position)),
    }
}

fn seen(asked: Option<i64>, fetch: Option<Fetched>) -> LogsSeen {
    let mut logs = LogsSeen::default();
    logs.asked(asked.map(|end| (TP, NextOffset(end))));
    logs.fetched(fetch.map(|fetch| (TP, fetch)));
    logs
}

#[test]
fn a_partition_is_behind_by_what_the_database_lacks_up_to_the_end_that_anybody_saw() {
    for (asked, fetch, part, end, lag) in [
        (Some(12), None, part(7, 5), 12, 7),
        (None, Some(fetched(12, 12, 7)), part(7, 5), 12, 7),
        // The answer is older than the fetch, and the other way round.
        (Some(6), Some(fetched(12, 12, 7)), part(7, 5), 12, 7),
        (Some(12), Some(fetched(8, 8, 7)), part(7, 5), 12, 7),
        // Both are older than what is read.
        (Some(6), Some(fetched(6, 6, 6)), part(9, 9), 9, 0),
        // The records of an open transaction are in the log.
        (Some(5), Some(fetched(9, 5, 5)), part(5, 5), 9, 4),
        // A marker follows the last record.
        (Some(10), Some(fetched(10, 10, 10)), part(9, 9), 10, 0),
        (Some(10), Some(fetched(10, 10, 10)), part(9, 7), 10, 3),
    ] {
        let logs = seen(asked, fetch);
        let told = (logs.end(&part), logs.lag(&part));
        assert_eq!(told, (Some(NextOffset(end)), Some(lag)), "{asked:?} {fetch:?} {part:?}");
    }
    assert_eq!(LogsSeen::default().lag(&part(7, 5)), None);
}

#[test]
fn a_partition_that_stands_still_before_its_end_is_told_after_a_while() {
    let mut logs = seen(Some(9), None);
    logs.observe(seconds(0), &[part(7, 7)]);
    logs.observe(seconds(9), &[part(7, 7)]);
    assert_eq!(logs.standing(seconds(9), &part(7, 7)), None);
    let still =
        Standstill { at: NextOffset(7), left: 2, lasting: seconds(10), in_transaction: false };
    assert_eq!(logs.standing(seconds(10), &part(7, 7)), Some(still));
    logs.observe(seconds(11), &[part(8, 7)]);
    assert_eq!(logs.standing(seconds(12), &part(8, 7)), None, "it moves");
    logs.observe(seconds(21), &[part(8, 7)]);
    assert!(logs.standing(seconds(21), &part(8, 7)).is_some());
}

#[test]
fn one_that_is_read_to_its_end_or_kept_from_being_read_does_not_stand_still() {
    let paused = PartitionProgress { paused: true, ..part(7, 5) };
    let locating = PartitionProgress { reading: false, ..part(7, 5) };
    for (end, part) in [(7, part(7, 5)), (9, paused), (9, locating)] {
        let mut logs = seen(Some(end), None);
        logs.observe(seconds(0), &[part]);
        logs.observe(seconds(60), &[part]);
        assert_eq!(logs.standing(seconds(60), &part), None, "{part:?}");
    }
    // Only a marker is left, and the client has passed it.
    let mut logs = seen(Some(8), Some(fetched(8, 8, 8)));
    logs.observe(seconds(0), &[part(7, 7)]);
    assert_eq!(logs.standing(seconds(60), &part(7, 7)), None);
}

#[test]
fn an_open_transaction_of_another_producer_is_named_as_the_cause() {
    let mut logs = seen(Some(7), Some(fetched(9, 7, 7)));
    logs.observe(seconds(0), &[part(7, 7)]);
    let still = logs.standing(seconds(20), &part(7, 7)).unwrap();
    assert!(still.in_transaction && still.left == 2, "{still:?}");
}

#[test]
fn a_partition_that_comes_back_is_watched_as_new() {
    let mut logs = seen(Some(9), None);
    logs.observe(seconds(0), &[part(7, 7)]);
    logs.observe(seconds(5), &[]);
    logs.asked([(TP, NextOffset(9))]);
    logs.observe(seconds(6), &[part(7, 7)]);
    assert_eq!(logs.standing(seconds(12), &part(7, 7)), None);
}
