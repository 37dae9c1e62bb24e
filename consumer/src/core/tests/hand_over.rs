//! What a hand-over may do.

use write_behind_shared::Offset;

use super::*;

fn scope(pipeline: &str, topic: &str) -> BookkeepingKey {
    let owned = |text: &str| text.to_owned();
    BookkeepingKey { pipeline: owned(pipeline), cluster: owned("c"), topic: owned(topic) }
}

/// A log from 0 to 9, of which the database has all below 5.
const STANDS_AT_5: PartitionFacts = PartitionFacts {
    database: Some(NextOffset(5)),
    partitions_then: 1,
    partitions_now: 1,
    committed: None,
    was_adopted: false,
    low: NextOffset(0),
    high: NextOffset(9),
    last: None,
    trace: None,
};

/// A log that is shorter than what the database has, and one of which it has nothing.
const RECREATED: PartitionFacts = PartitionFacts { high: NextOffset(3), ..STANDS_AT_5 };
const NEW: PartitionFacts = PartitionFacts { database: None, ..STANDS_AT_5 };

/// Plans with what `change` makes of the usual case: everything as it was before.
fn planned<'a>(
    mode: HandOverMode,
    from: &'a BookkeepingKey,
    to: &'a BookkeepingKey,
    change: impl FnOnce(&mut HandOverFacts<'a>),
) -> Result<HandOver, String> {
    const ONE: &[(Partition, PartitionFacts)] = &[(Partition(0), STANDS_AT_5)];
    let mut facts = HandOverFacts {
        mode,
        from,
        to,
        table: "t",
        claims: &[],
        is_empty: mode == HandOverMode::Begin,
        keep_rows: false,
        members: &[],
        before: &[(Partition(0), NextOffset(5), Some(NextOffset(9)))],
        next: &[],
        partitions: ONE,
        open_letters: 0,
        torn_keys: None,
        accept_disorder: None,
        accept_loss: 0,
    };
    change(&mut facts);
    plan(&facts)
}

#[track_caller]
fn refused(plan: Result<HandOver, String>, says: &str) {
    let why = plan.expect_err("it must be refused");
    assert!(why.contains(says), "{says:?} is not in {why:?}");
}

#[test]
fn what_goes_on_keeps_the_offsets_and_what_begins_takes_the_beginnings() {
    let (old, new) = (scope("old", "t"), scope("new", "t"));
    let went_on = planned(HandOverMode::GoOn, &old, &new, |_| {}).unwrap();
    assert_eq!(went_on.begins, None);
    assert_eq!(went_on.seen, [(Partition(0), NextOffset(5))]);
    let said = went_on.lines.join("\n");
    assert!(said.contains("goes on at offset 5, 4 records behind"), "{said}");
    assert!(said.contains("\"old\" become those of \"new\""), "{said}");
    let begun = planned(HandOverMode::Begin, &old, &old, |_| {}).unwrap();
    assert_eq!(begun.begins, Some(vec![(Partition(0), NextOffset(0))]));
    assert!(begun.lines.join("\n").contains("begins at offset 0 (the database stood at 5)"));
}

#[test]
fn nothing_is_handed_over_while_a_consumer_runs_or_the_table_is_anothers() {
    let (ours, other) = (scope("p", "t"), scope("q", "u"));
    for mode in [HandOverMode::GoOn, HandOverMode::Begin] {
        let members = [("p".to_owned(), 0), ("q".to_owned(), 2)];
        refused(
            planned(mode, &ours, &ours, |facts| facts.members = &members),
            "2 consumers of the group q are running",
        );
        let claims = [Claim { table: "t".to_owned(), scope: other.clone(), identity: None }];
        refused(planned(mode, &ours, &ours, |facts| facts.claims = &claims), "--from-pipeline");
    }
}

#[test]
fn what_goes_on_needs_offsets_that_the_log_still_has() {
    let (ours, other) = (scope("p", "t"), scope("q", "t"));
    let go_on = |change: &dyn Fn(&mut HandOverFacts<'_>)| {
        planned(HandOverMode::GoOn, &ours, &ours, |facts| change(facts))
    };
    refused(go_on(&|facts| facts.before = &[]), "nothing to go on from");
    let beyond = [(Partition(0), PartitionFacts { high: NextOffset(3), ..STANDS_AT_5 })];
    let changed = planned(HandOverMode::GoOn, &ours, &ours, |facts| facts.partitions = &beyond);
    refused(changed, "the log ends at 3");
    let two =
        [(Partition(0), NextOffset(5), Some(NextOffset(9))), (Partition(1), NextOffset(5), None)];
    let shrunk = planned(HandOverMode::GoOn, &ours, &ours, |facts| facts.before = &two);
    refused(shrunk, "no partition 1 any more");
    let next = [(Partition(0), NextOffset(2))];
    let taken = planned(HandOverMode::GoOn, &other, &ours, |facts| facts.next = &next);
    refused(taken, "offsets of its own");
    let elsewhere = planned(HandOverMode::GoOn, &scope("p", "u"), &ours, |_| {});
    refused(elsewhere, "use `hand-over begin`");
}

#[test]
fn a_disorder_is_accepted_by_its_first_record_and_not_by_that_of_an_earlier_one() {
    let ours = scope("p", "t");
    let first = (Partition(1), Offset(7));
    let with = |accept: Option<(i32, i64)>| {
        planned(HandOverMode::GoOn, &ours, &ours, |facts| {
            facts.torn_keys = Some(TornKeys { keys: 3, first, key: "ada".to_owned() });
            facts.accept_disorder =
                accept.map(|(partition, offset)| (Partition(partition), Offset(offset)));
        })
    };
    for other in [None, Some((0, 7)), Some((1, 6)), Some((1, 8))] {
        refused(with(other), "add --accept-disorder 1:7");
    }
    let said = with(Some((1, 7))).unwrap().lines.join("\n");
    assert!(said.contains("those of 3 keys, the first (ada) at 1:7"), "{said}");
}

#[test]
fn a_beginning_loses_no_row_no_letter_and_no_record_of_the_topic_before() {
    let (ours, old) = (scope("p", "t"), scope("p", "u"));
    let begin = |change: &dyn Fn(&mut HandOverFacts<'_>)| {
        planned(HandOverMode::Begin, &ours, &ours, |facts| change(facts))
    };
    refused(begin(&|facts| facts.is_empty = false), "--keep-rows");
    let kept = |partitions: &'static [(Partition, PartitionFacts)]| {
        begin(&move |facts| {
            (facts.is_empty, facts.keep_rows) = (false, true);
            facts.partitions = partitions;
        })
    };
    refused(kept(&[(Partition(0), STANDS_AT_5)]), "increments would count again");
    assert!(kept(&[(Partition(0), RECREATED)]).is_ok());
    assert!(kept(&[(Partition(0), NEW)]).is_ok());
    refused(begin(&|facts| facts.open_letters = 3), "3 open dead letters");
    refused(planned(HandOverMode::Begin, &old, &ours, |_| {}), "write the rest first");
    let drained = [(Partition(0), NextOffset(9), Some(NextOffset(9)))];
    let gone = [(Partition(0), NextOffset(5), None)];
    assert!(planned(HandOverMode::Begin, &old, &ours, |facts| facts.before = &drained).is_ok());
    assert!(planned(HandOverMode::Begin, &old, &ours, |facts| facts.before = &gone).is_ok());
}

#[test]
fn a_loss_is_accepted_by_its_number_and_not_by_that_of_another_one() {
    let ours = scope("p", "t");
    let lost = [
        (Partition(0), PartitionFacts { low: NextOffset(8), ..STANDS_AT_5 }),
        (Partition(1), PartitionFacts { low: NextOffset(6), ..STANDS_AT_5 }),
        (Partition(2), STANDS_AT_5),
    ];
    let with = |accept_loss| {
        planned(HandOverMode::GoOn, &ours, &ours, |facts| {
            (facts.partitions, facts.accept_loss) = (&lost, accept_loss);
        })
    };
    refused(with(0), "add --accept-loss 4");
    refused(with(9), "add --accept-loss 4");
    let plan = with(4).unwrap();
    assert_eq!(plan.moves, [(Partition(0), NextOffset(8)), (Partition(1), NextOffset(6))]);
    assert_eq!(plan.begins, None);
    let said = plan.lines.join("\n");
    assert!(
        said.contains("partition 1: goes on at offset 6, without the records from 5"),
        "{said}"
    );
    assert!(said.contains("partition 2: goes on at offset 5"), "{said}");
}

#[test]
fn offsets_of_the_group_are_adopted_only_where_the_database_knows_none() {
    let ours = scope("p", "t");
    let unknown = PartitionFacts { database: None, was_adopted: true, ..STANDS_AT_5 };
    let committed = PartitionFacts { committed: Some(NextOffset(7)), ..unknown };
    let adopt = |before: &[Stand], partitions: &[(Partition, PartitionFacts)]| {
        planned(HandOverMode::Adopt, &ours, &ours, |facts| {
            (facts.before, facts.partitions) = (before, partitions);
        })
    };
    let adopted = adopt(&[], &[(Partition(0), committed), (Partition(1), unknown)]).unwrap();
    assert_eq!(adopted.moves, [(Partition(0), NextOffset(7)), (Partition(1), NextOffset(0))]);
    refused(adopt(&[], &[(Partition(0), unknown)]), "nothing to adopt");
    let known = &[(Partition(0), NextOffset(5), Some(NextOffset(9)))];
    refused(adopt(known, &[(Partition(0), committed)]), "nothing to adopt");
    let beyond = PartitionFacts { committed: Some(NextOffset(70)), ..unknown };
    refused(adopt(&[], &[(Partition(0), beyond)]), "the log ends at 9");
}
