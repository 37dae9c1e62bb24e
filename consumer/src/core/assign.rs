//! The verdict on a partition that the group assigns: read it from here, or refuse it.
//!
//! This check finds a wrong, empty or restored database, a recreated or truncated topic, and a
//! changed partition count. Each refusal says what to do, because only a person can know which side
//! is right.

use write_behind_shared::NextOffset;

use crate::core::batch::LastRecord;

/// Where a partition stands in the database, the group and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    /// The database's next offset; `None`: the database does not know the partition.
    pub database: Option<NextOffset>,
    /// How many partitions the topic had when the database was last written to.
    pub partitions_then: i32,
    /// How many partitions the topic has now.
    pub partitions_now: i32,
    /// The offset that the group has committed.
    pub committed: Option<NextOffset>,
    /// Whether the group's offset was adopted before, as the group noted beside it.
    pub was_adopted: bool,
    /// The first offset in the log.
    pub low: NextOffset,
    /// The end of the log.
    pub high: NextOffset,
    /// The last record that the database holds, if known.
    pub last: Option<LastRecord>,
    /// A record that the database holds, the last or an earlier one, compared with the log; `None`:
    /// the log no longer has its offset.
    pub trace: Option<RecordCheck>,
}

/// A record that the database holds, and the record that the log has at its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordCheck {
    /// The record as the database noted it.
    pub record: LastRecord,
    /// The timestamp of the log's record there, in milliseconds since 1970; `None`: there is no
    /// record, or it has no timestamp.
    pub there: Option<i64>,
}

/// What to do with the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The database does not know the partition yet: start here.
    Begin(NextOffset),
    /// Continue here.
    Continue(NextOffset),
    /// Do not read it.
    Refuse(Refusal),
}

/// Why a partition is refused, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The group has committed offsets, but the database does not know the partition.
    #[error(
        "the consumer group has committed offset {0}, but the database knows nothing of this \
         partition: it is probably not the database that the group has written to. Point \
         `database.url` at the right one; or, if the database does hold everything below {0}, run \
         with --adopt-offsets; or, to fill an empty database from the log's beginning, run \
         `write-behind hand-over begin`"
    )]
    UnknownToDatabase(NextOffset),
    /// The database does not know the partition, and the group's offset was adopted once before.
    #[error(
        "--adopt-offsets was given once already when this partition was read, and now the \
         database knows nothing of it: it is another database, or was emptied. Point `database.url` at \
         the right one; or, to fill it from the log's beginning, run `write-behind hand-over begin`; or, \
         if it does hold everything below {0}, run `write-behind hand-over adopt`"
    )]
    AdoptedBefore(NextOffset),
    /// The log ends before the database's offset.
    #[error(
        "the database holds everything below offset {next}, but the log ends at {high}: the topic \
         was recreated or has lost records. If the cluster is not the right one, correct \
         `bootstrap.servers`; if the topic was recreated, run `write-behind hand-over begin`, which \
         begins at its beginning"
    )]
    BeyondTheLog {
        /// The database's next offset.
        next: NextOffset,
        /// The end of the log.
        high: NextOffset,
    },
    /// The log starts after the database's offset.
    #[error(
        "the database holds everything below offset {next}, but the log begins at {low}: records \
         were removed (by the topic's retention) before they were written. They are lost to the \
         database unless the producers or another copy of the log still have them. To go on without \
         them, run `write-behind hand-over go-on`: it says how many they are"
    )]
    BeforeTheLog {
        /// The database's next offset.
        next: NextOffset,
        /// The first offset of the log.
        low: NextOffset,
    },
    /// The log has another record at the offset of the last record that the database holds.
    #[error(
        "the record at offset {} is not the one that the database holds from there (written at {} \
         milliseconds since 1970; now there is {}): the topic was recreated, or its log was \
         truncated and has grown again. What the database holds is of another log, so nothing says \
         where to go on. To fill the table from this log, run `write-behind hand-over begin`", .0.record.offset, .0.record.timestamp, of_another_time(.0)
    )]
    AnotherLog(RecordCheck),
    /// The log has another record at the offset of an earlier record that the database holds, and
    /// later records have been applied since.
    #[error(
        "the record at offset {} is not the one that was read there (written at {} milliseconds since \
         1970; now there is {}): the topic was recreated while it was read, or its log was truncated \
         and has grown again. What was applied from offset {} up to {next} may be of the new log: \
         restore the database to a state from before, or empty the table, and run `write-behind \
         hand-over begin`",
        .trace.record.offset, .trace.record.timestamp, of_another_time(.trace), .trace.record.offset.next()
    )]
    ReplacedWhileRead {
        /// The record that the database holds, and the log's.
        trace: RecordCheck,
        /// The database's next offset.
        next: NextOffset,
    },
    /// The partition count changed, so keys map to other partitions than before.
    #[error(
        "the topic had {then} partitions and has {now}: records of one key now lie in two \
         partitions, which have no order between them. Run `write-behind hand-over go-on`: it goes \
         on unless a key's records wait in two partitions"
    )]
    PartitionsChanged {
        /// The partition count when the database was last written to.
        then: i32,
        /// The partition count now.
        now: i32,
    },
}

fn of_another_time(trace: &RecordCheck) -> String {
    trace.there.map_or("no such record".to_owned(), |there| format!("one written at {there}"))
}

/// Decides where to read a partition from. With `adopt`, a database that does not know a partition
/// counts as holding everything below the group's committed offset.
pub fn judge(facts: &PartitionFacts, adopt: bool) -> Verdict {
    let PartitionFacts {
        database,
        partitions_then,
        partitions_now,
        committed,
        was_adopted,
        low,
        high,
        last,
        trace,
    } = *facts;
    let within = |next: NextOffset| {
        if next > high {
            Err(Refusal::BeyondTheLog { next, high })
        } else if next < low {
            Err(Refusal::BeforeTheLog { next, low })
        } else {
            Ok(next)
        }
    };
    let verdict = match (database, committed) {
        // This holds for a partition that the database does not know, too: it may have been added,
        // and earlier records of its keys may lie in another partition.
        _ if partitions_then != partitions_now => {
            Err(Refusal::PartitionsChanged { then: partitions_then, now: partitions_now })
        }
        (Some(next), _) => within(next).and_then(|next| match trace {
            Some(trace) if trace.there == Some(trace.record.timestamp) => {
                Ok(Verdict::Continue(next))
            }
            Some(trace) if last == Some(trace.record) => Err(Refusal::AnotherLog(trace)),
            Some(trace) => Err(Refusal::ReplacedWhileRead { trace, next }),
            None => Ok(Verdict::Continue(next)),
        }),
        // A flag that stays in a service's command line would adopt an emptied database, too.
        (None, Some(committed)) if adopt && was_adopted => Err(Refusal::AdoptedBefore(committed)),
        (None, Some(committed)) if adopt => within(committed).map(Verdict::Begin),
        (None, Some(committed)) => Err(Refusal::UnknownToDatabase(committed)),
        (None, None) => Ok(Verdict::Begin(low)),
    };
    verdict.unwrap_or_else(Verdict::Refuse)
}

/// What to do about a partition that is being read, when its facts are checked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecheckVerdict {
    /// Read on.
    GoOn,
    /// The database is not where this consumer left it: ask again where to read from.
    Doubt,
    /// Stop reading.
    Refuse(Refusal),
}

/// Checks a partition again while it is read. Everything below `written` was in the database when
/// this consumer last heard from it.
///
/// A log that starts after `written` is no reason to stop: the missing records may have been read
/// already. If they were not, reading them fails and reports it.
pub fn judge_again(facts: &PartitionFacts, adopt: bool, written: NextOffset) -> RecheckVerdict {
    match judge(facts, adopt) {
        Verdict::Continue(next) if next == written => RecheckVerdict::GoOn,
        Verdict::Refuse(Refusal::BeforeTheLog { next, .. }) if next == written => {
            RecheckVerdict::GoOn
        }
        Verdict::Continue(_) | Verdict::Begin(_) => RecheckVerdict::Doubt,
        Verdict::Refuse(refusal) => RecheckVerdict::Refuse(refusal),
    }
}

#[cfg(test)]
mod tests {
    use write_behind_shared::{Offset, Partition};

    use super::*;

    /// The usual case: 4 partitions, and a log from offset 10 up to 90.
    fn facts(database: Option<i64>, committed: Option<i64>) -> PartitionFacts {
        PartitionFacts {
            database: database.map(NextOffset),
            partitions_then: 4,
            partitions_now: 4,
            committed: committed.map(NextOffset),
            was_adopted: false,
            low: NextOffset(10),
            high: NextOffset(90),
            last: None,
            trace: None,
        }
    }

    /// The database holds a record at offset 49 with timestamp 1,000; the log has one there with
    /// timestamp `there`.
    fn traced(there: Option<i64>) -> PartitionFacts {
        let record = LastRecord { partition: Partition(0), offset: Offset(49), timestamp: 1_000 };
        let (last, trace) = (Some(record), Some(RecordCheck { record, there }));
        PartitionFacts { last, trace, ..facts(Some(50), Some(50)) }
    }

    #[test]
    fn a_log_with_another_record_where_the_last_one_stood_is_another_log() {
        assert_eq!(judge(&traced(Some(1_000)), false), Verdict::Continue(NextOffset(50)));
        for there in [Some(999), Some(1_001), None] {
            let Verdict::Refuse(refusal) = judge(&traced(there), true) else { panic!("{there:?}") };
            assert!(matches!(refusal, Refusal::AnotherLog(_)), "{refusal:?}");
            assert!(refusal.to_string().contains("offset 49"), "{refusal}");
        }
    }

    #[test]
    fn an_earlier_record_that_the_log_has_no_more_tells_of_what_was_applied_since() {
        let at = |offset, timestamp| LastRecord {
            partition: Partition(0),
            offset: Offset(offset),
            timestamp,
        };
        let (before, newest) = (at(19, 400), Some(at(49, 1_000)));
        let there = |there| PartitionFacts {
            trace: Some(RecordCheck { record: before, there }),
            last: newest,
            ..facts(Some(50), Some(50))
        };
        assert_eq!(judge(&there(Some(400)), false), Verdict::Continue(NextOffset(50)));
        let Verdict::Refuse(refusal) = judge(&there(Some(900)), false) else {
            panic!("it goes on")
        };
        let said = refusal.to_string();
        assert!(said.contains("recreated while it was read"), "{said}");
        assert!(said.contains("from offset 20 up to 50"), "{said}");
    }

    #[test]
    fn a_partition_that_is_read_is_doubted_when_the_database_went_elsewhere() {
        let written = NextOffset(50);
        let again = |facts: &PartitionFacts| judge_again(facts, false, written);
        assert_eq!(again(&facts(Some(50), Some(20))), RecheckVerdict::GoOn);
        assert_eq!(again(&facts(Some(40), Some(50))), RecheckVerdict::Doubt, "restored");
        assert_eq!(again(&facts(Some(60), Some(50))), RecheckVerdict::Doubt, "written by another");
        assert_eq!(again(&facts(None, None)), RecheckVerdict::Doubt, "emptied");
        assert!(
            matches!(again(&facts(None, Some(50))), RecheckVerdict::Refuse(_)),
            "another database"
        );
        assert!(matches!(again(&traced(Some(7))), RecheckVerdict::Refuse(Refusal::AnotherLog(_))));
        let grown = PartitionFacts { partitions_now: 6, ..facts(Some(50), Some(50)) };
        assert!(matches!(again(&grown), RecheckVerdict::Refuse(Refusal::PartitionsChanged { .. })));
    }

    #[test]
    fn a_log_that_loses_what_was_read_already_does_not_stop_the_reading() {
        let passed = PartitionFacts { low: NextOffset(70), ..facts(Some(50), Some(50)) };
        assert_eq!(judge_again(&passed, false, NextOffset(50)), RecheckVerdict::GoOn);
        let restored = PartitionFacts { low: NextOffset(70), ..facts(Some(40), Some(50)) };
        assert!(matches!(judge_again(&restored, false, NextOffset(50)), RecheckVerdict::Refuse(_)));
    }

    #[test]
    fn a_partition_is_begun_continued_or_refused() {
        let begin = |next| Verdict::Begin(NextOffset(next));
        let go_on = |next| Verdict::Continue(NextOffset(next));
        let beyond = |next| Refusal::BeyondTheLog { next: NextOffset(next), high: NextOffset(90) };
        let before = |next| Refusal::BeforeTheLog { next: NextOffset(next), low: NextOffset(10) };
        let unknown = |next| Verdict::Refuse(Refusal::UnknownToDatabase(NextOffset(next)));
        let table = [
            // database, committed, adopt, verdict
            (None, None, false, begin(10)),
            (None, None, true, begin(10)),
            (None, Some(50), false, unknown(50)),
            (None, Some(0), false, unknown(0)),
            (None, Some(50), true, begin(50)),
            (None, Some(91), true, Verdict::Refuse(beyond(91))),
            (None, Some(9), true, Verdict::Refuse(before(9))),
            (Some(10), None, false, go_on(10)),
            (Some(90), Some(20), false, go_on(90)),
            (Some(50), Some(80), false, go_on(50)),
            (Some(91), Some(91), false, Verdict::Refuse(beyond(91))),
            (Some(91), Some(91), true, Verdict::Refuse(beyond(91))),
            (Some(9), None, false, Verdict::Refuse(before(9))),
        ];
        for (database, committed, adopt, verdict) in table {
            let case = (database, committed, adopt);
            assert_eq!(judge(&facts(database, committed), adopt), verdict, "{case:?}");
        }
    }

    #[test]
    fn offsets_are_adopted_once() {
        let again = PartitionFacts { was_adopted: true, ..facts(None, Some(50)) };
        assert_eq!(judge(&again, true), Verdict::Refuse(Refusal::AdoptedBefore(NextOffset(50))));
        let known = PartitionFacts { was_adopted: true, ..facts(Some(60), Some(50)) };
        assert_eq!(judge(&known, true), Verdict::Continue(NextOffset(60)));
    }

    #[test]
    fn a_changed_number_of_partitions_is_refused_whatever_else_holds() {
        let changed = PartitionFacts { partitions_now: 6, ..facts(Some(50), Some(50)) };
        let refusal = Refusal::PartitionsChanged { then: 4, now: 6 };
        assert_eq!(judge(&changed, true), Verdict::Refuse(refusal.clone()));
        let added = PartitionFacts { database: None, committed: None, ..changed };
        assert_eq!(judge(&added, true), Verdict::Refuse(refusal));
    }
}
