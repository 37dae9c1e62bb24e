//! What can happen around the pending core, and schedules of it.

use proptest::prelude::*;

use super::log::Name;

/// A write, ours or another's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Put(i64),
    Update(i64),
    Add(i64),
    Delete,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// This handle writes; the client is given it at once, if it has all before it and this says
    /// so.
    Write(Name, Kind, bool),
    /// This handle writes, into the record of an earlier write where that is allowed.
    Join(Name, Kind),
    /// The client is given this many of the writes that wait.
    HandOver(usize),
    /// The client is replaced; this many of the records it had went into the log unanswered.
    TakeBack(usize),
    /// A broker refuses this many of the records that the client has, as a batch, and the client
    /// stops for good; they are bad in themselves, or not.
    RefuseBatch(usize, bool),
    /// The client gives up all records that it has, and goes on with the next; it is told later.
    GiveUp,
    /// What the client gave up is told.
    ToldOfGivenUp,
    /// The broker appends the next record of ours; the database will refuse it, or not.
    Append(bool),
    /// Something is appended that is no row's record.
    Filler,
    /// Another writer's record is appended, which the database will refuse, or not. 0: a writer
    /// that gives no ids.
    Foreign(u8, Name, Kind, bool),
    /// Another writer sends this many of its latest records again.
    Repeat(u8, usize),
    /// The broker refuses the next record of ours.
    Refuse,
    /// The answer to the next record of ours is lost; it was appended, or not.
    Lose(bool),
    /// The answers to this many records arrive.
    Ack(usize),
    /// The answer to one record arrives with an offset that cannot be right.
    AckSomewhere,
    /// The tail reads this many records.
    Tail(usize),
    /// This many records are gone before the tail has read them.
    TailLost(usize),
    /// The consumer applies this many records.
    Apply(usize),
    /// The dead letters below what the group has committed are heard of.
    Letters,
    /// Then, its offset is, and a row leaves.
    Commit,
    /// Its offset is, and rows leave later, in steps.
    CommitHeard,
    ReleaseBegins,
    IsCached,
    ReleaseEnds,
    /// The producer hears of the end of the log.
    Sample,
    Read(Name),
    Evict(Name),
    /// Cached rows grow older, and what they rest on.
    TimePasses,
    /// Memory is short: rows are forgotten until this many bytes are free; our own too, or not.
    Forget(usize, bool),
    LoadBegins(Name),
    LoadReads(Name),
    LoadEnds(Name),
    LoadFails(Name),
    /// A read-modify-write pins the row and gives it to its closure, if it is known.
    ModifyReads(Name),
    /// It gives the row to its closure again.
    ModifyReadsAgain(Name),
    /// It writes, if the row is still the one that the closure was given; and ends.
    ModifyWrites(Name, i64),
    /// It ends without a write.
    ModifyEnds(Name),
}

/// Which schedules are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) adds: bool,
    pub(super) follow: bool,
    /// The loader gives the next offset with each row.
    pub(super) exact: bool,
}

fn kind(plan: Plan) -> impl Strategy<Value = Kind> {
    let number = || -5_i64..100;
    let add = if plan.adds { Kind::Add } else { Kind::Update };
    prop_oneof![
        6 => number().prop_map(Kind::Put),
        4 => number().prop_map(Kind::Update),
        8 => number().prop_map(add),
        3 => Just(Kind::Delete),
    ]
}

/// How often something that is part of the plan happens.
fn often(is_part: bool, weight: u32) -> u32 {
    if is_part { weight } else { 0 }
}

pub(super) fn ops(plan: Plan) -> impl Strategy<Value = Vec<Op>> {
    let name = || 0_u8..3;
    let rarely = || prop::bool::weighted(0.1);
    let writes = prop_oneof![
        16 => (name(), kind(plan), any::<bool>()).prop_map(|(n, k, at_once)| Op::Write(n, k, at_once)),
        6 => (name(), kind(plan)).prop_map(|(n, k)| Op::Join(n, k)),
        10 => (1_usize..5).prop_map(Op::HandOver),
        2 => (0_usize..4).prop_map(Op::TakeBack),
        1 => (1_usize..4, any::<bool>()).prop_map(|(count, bad)| Op::RefuseBatch(count, bad)),
        1 => Just(Op::GiveUp),
        3 => Just(Op::ToldOfGivenUp),
        14 => rarely().prop_map(Op::Append),
        3 => Just(Op::Filler),
        2 => Just(Op::Refuse),
        1 => any::<bool>().prop_map(Op::Lose),
        8 => (1_usize..5).prop_map(Op::Ack),
        1 => Just(Op::AckSomewhere),
    ];
    let release = prop_oneof![
        3 => Just(Op::CommitHeard),
        5 => Just(Op::ReleaseBegins),
        5 => Just(Op::IsCached),
        5 => Just(Op::ReleaseEnds),
    ];
    let log = prop_oneof![
        often(plan.follow, 8) => (0_u8..4, name(), kind(plan), rarely())
            .prop_map(|(w, n, k, refused)| Op::Foreign(w, n, k, refused)),
        often(plan.follow, 2) => (1_u8..3, 1_usize..4).prop_map(|(w, count)| Op::Repeat(w, count)),
        often(plan.follow, 9) => (1_usize..8).prop_map(Op::Tail),
        often(plan.follow, 1) => rarely().prop_map(|gap| if gap { Op::TailLost(2) } else { Op::Tail(2) }),
        10 => (1_usize..8).prop_map(Op::Apply),
        3 => Just(Op::Letters),
        6 => Just(Op::Commit),
        18 => release,
        2 => Just(Op::Sample),
    ];
    let reads = prop_oneof![
        16 => name().prop_map(Op::Read),
        3 => name().prop_map(Op::Evict),
        6 => Just(Op::TimePasses),
        2 => (1_usize..2_000, any::<bool>()).prop_map(|(bytes, own)| Op::Forget(bytes, own)),
        10 => name().prop_map(Op::LoadBegins),
        14 => name().prop_map(Op::LoadReads),
        14 => name().prop_map(Op::LoadEnds),
        1 => name().prop_map(Op::LoadFails),
        8 => name().prop_map(Op::ModifyReads),
        6 => name().prop_map(Op::ModifyReadsAgain),
        8 => (name(), -5_i64..100).prop_map(|(n, a)| Op::ModifyWrites(n, a)),
        2 => name().prop_map(Op::ModifyEnds),
    ];
    prop::collection::vec(prop_oneof![60 => writes, 45 => log, 80 => reads], 1..150)
}
