//! The events of the simulated world, and how likely each is.

use proptest::prelude::*;

use super::PARTITIONS;
use super::model::Kind;

/// The next event. Numbers choose among what is possible.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A producer writes to a partition: a value, an increment, a tombstone, its last record again,
    /// or something that is not a valid record. It may be urgent.
    Append(usize, Kind, bool),
    Deliver(usize, usize),
    /// The client delivers an old record again, as after a fetch that overlaps a pause.
    DeliverAgain(usize),
    /// The client loses the next record, and goes on behind it.
    PassOver(usize),
    /// Another client looks at what was passed over; or nobody answers.
    Look(bool),
    Tick(u64),
    Locate,
    /// A worker's transaction commits, and the answer arrives.
    Finish(usize),
    /// It commits, but the answer is lost, so it will be retried.
    LoseAnswer(usize),
    /// It rolls back because the table is not as it must be.
    Refuse(usize),
    /// It rolls back because a row refers to a missing row.
    Hold(usize),
    /// It rolls back because a row is locked, or for a reason that nobody knows.
    Delay(usize),
    /// Kafka takes a commit and answers; or takes it, and the answer is lost; or refuses it.
    Commit(Answer),
    Assign(usize),
    Revoke(usize, u64),
    Lose(usize),
    /// Another consumer, which considers this one dead, writes a partition.
    OtherWrites(usize, usize),
    /// The database is restored to its initial state.
    Restore(usize),
    /// The consumer dies; one of its transactions may still be under way.
    Crash,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Taken,
    TakenSilently,
    Refused,
}

pub(super) fn an_op() -> impl Strategy<Value = Op> {
    let partition = || 0..PARTITIONS;
    let kind = prop_oneof![
        4 => (0_u8..6, -9_i64..9).prop_map(|(key, n)| Kind::Set(key, n)),
        6 => (0_u8..6, -9_i64..9).prop_map(|(key, n)| Kind::Add(key, n)),
        1 => (0_u8..6).prop_map(Kind::Delete),
        1 => Just(Kind::Repeat),
        1 => Just(Kind::Garbage),
        1 => Just(Kind::Marker),
    ];
    let answer = prop_oneof![
        4 => Just(Answer::Taken),
        1 => Just(Answer::TakenSilently),
        1 => Just(Answer::Refused),
    ];
    prop_oneof![
        20 => (partition(), kind, prop::bool::weighted(0.1))
            .prop_map(|(partition, kind, is_urgent)| Op::Append(partition, kind, is_urgent)),
        20 => (partition(), 1_usize..12).prop_map(|(partition, n)| Op::Deliver(partition, n)),
        2 => partition().prop_map(Op::DeliverAgain),
        2 => partition().prop_map(Op::PassOver),
        8 => prop::bool::weighted(0.8).prop_map(Op::Look),
        8 => (0_u64..200).prop_map(Op::Tick),
        8 => Just(Op::Locate),
        8 => (0_usize..8).prop_map(Op::Finish),
        2 => (0_usize..8).prop_map(Op::LoseAnswer),
        2 => (0_usize..8).prop_map(Op::Refuse),
        3 => (0_usize..8).prop_map(Op::Hold),
        2 => (0_usize..8).prop_map(Op::Delay),
        6 => answer.prop_map(Op::Commit),
        8 => partition().prop_map(Op::Assign),
        2 => (partition(), 0_u64..300).prop_map(|(partition, n)| Op::Revoke(partition, n)),
        1 => partition().prop_map(Op::Lose),
        1 => (partition(), 1_usize..9).prop_map(|(partition, n)| Op::OtherWrites(partition, n)),
        1 => partition().prop_map(Op::Restore),
        1 => Just(Op::Crash),
    ]
}
