//! Tests of the ledger: its watermarks, losses and runs of offsets.

use super::*;
use crate::core::lost_writes::Loss;

fn ledger(answers: &[(Sequence, PersistedWhen)]) -> Ledger {
    let mut ledger = Ledger::new(Bounds::STANDARD);
    for _ in answers {
        ledger.issue(Key::from(*b"k"));
    }
    for (sequence, persisted_when) in answers {
        ledger.acknowledge(*sequence, *persisted_when);
    }
    ledger
}

fn at(offset: i64) -> PersistedWhen {
    PersistedWhen::Committed(Offset(offset).next())
}

#[test]
fn a_commit_in_the_middle_of_a_run_covers_exactly_the_writes_below_it() {
    let answers: Vec<_> = (0..10).map(|sequence| (sequence, at(100 + sequence as i64))).collect();
    let mut ledger = ledger(&answers);
    for next in 100..=110 {
        ledger.commit(NextOffset(next));
        assert_eq!(ledger.persisted(), next as u64 - 100, "committed {next}");
    }
}

#[test]
fn records_of_other_writers_in_between_do_not_blur_the_watermark() {
    let mut ledger = ledger(&[(0, at(3)), (1, at(4)), (2, at(9)), (3, at(10))]);
    for (next, persisted) in [(3, 0), (4, 1), (5, 2), (9, 2), (10, 3), (11, 4)] {
        ledger.commit(NextOffset(next));
        assert_eq!(ledger.persisted(), persisted, "committed {next}");
    }
}

#[test]
fn an_answer_out_of_order_waits_for_those_before_it() {
    let mut ledger = ledger(&[]);
    for _ in 0..3 {
        ledger.issue(Key::from(*b"k"));
    }
    ledger.acknowledge(2, at(2));
    assert_eq!(ledger.replicated(), 0);
    ledger.acknowledge(0, at(0));
    assert_eq!(ledger.replicated(), 1);
    ledger.acknowledge(1, at(1));
    assert_eq!(ledger.replicated(), 3);
}

#[test]
fn a_failed_write_holds_nobody_up_and_is_remembered() {
    let mut ledger = ledger(&[(0, at(0)), (1, PersistedWhen::AtOnce), (2, at(1))]);
    ledger.lost.add(1, Loss::Failed("no".into()));
    ledger.commit(NextOffset(2));
    assert_eq!(ledger.persisted(), 3);
    assert_eq!(ledger.lost.first_in(&(1..2)), Some(Loss::Failed("no".into())));
    assert_eq!(ledger.lost.first_in(&(0..1)), None);
    assert_eq!(ledger.lost.first_in(&(2..3)), None);
    assert!(ledger.lost.first_in(&(0..3)).is_some());
}

#[test]
fn many_writers_cost_precision_and_never_memory_or_truth() {
    let mut ledger = Ledger::new(Bounds::STANDARD);
    let writes = 3 * Bounds::STANDARD.runs as u64;
    for sequence in 0..writes {
        ledger.issue(Key::from(*b"k"));
        ledger.acknowledge(sequence, at(2 * sequence as i64));
    }
    assert!(ledger.runs.len() <= Bounds::STANDARD.runs);
    for next in [0, 1, 1_000, 2 * Bounds::STANDARD.runs as i64 + 5, 2 * writes as i64 - 2] {
        ledger.commit(NextOffset(next));
        assert!(ledger.persisted() <= (next as u64).div_ceil(2), "too early at {next}");
    }
    ledger.commit(NextOffset(2 * writes as i64 - 1));
    assert_eq!(ledger.persisted(), writes);
}

#[test]
fn losses_that_were_forgotten_are_unknown() {
    let mut ledger = Ledger::new(Bounds::STANDARD);
    for sequence in 0..=Bounds::STANDARD.losses as u64 {
        ledger.lost.add(2 * sequence, Loss::Failed("no".into()));
    }
    assert!(matches!(ledger.lost.first_in(&(0..1)), Some(Loss::Unknown(_))));
    assert_eq!(ledger.lost.first_in(&(2..3)), Some(Loss::Failed("no".into())));
}

#[test]
fn what_a_client_was_given_is_given_to_the_next_in_order_and_nothing_is_joined_to_it() {
    let mut ledger = Ledger::new(Bounds::STANDARD);
    for sequence in 0..4 {
        ledger.issue(Key::from(*b"k"));
        if sequence < 3 {
            ledger.mark_sent(sequence);
        }
    }
    ledger.acknowledge(0, at(0));
    ledger.acknowledge(2, at(2));
    assert_eq!(ledger.never_sent(), 3);
    ledger.requeue();
    assert_eq!(ledger.never_sent(), 3, "sequence 1 may be in the log already");
    let mut sent = Vec::new();
    while let Some((sequence, _)) = ledger.next_unsent() {
        sent.push(sequence);
        ledger.mark_sent(sequence);
    }
    assert_eq!(sent, [1, 3], "2 has its answer");
    assert!(ledger.all_are_sent());
}

/// A ledger whose client was given this many writes.
fn sent(writes: u64) -> Ledger {
    let mut ledger = Ledger::new(Bounds::STANDARD);
    for sequence in 0..writes {
        ledger.issue(Key::from(*b"k"));
        ledger.mark_sent(sequence);
    }
    ledger
}

/// What is sent again.
fn sent_again(ledger: &mut Ledger) -> Vec<Sequence> {
    let mut again = Vec::new();
    while let Some((sequence, _)) = ledger.next_unsent() {
        again.push(sequence);
        ledger.mark_sent(sequence);
    }
    again
}

#[test]
fn what_a_client_gives_back_is_sent_again_in_order_unless_a_later_write_has_overtaken_it() {
    use GivenBack::{NotNow, Refused, Unsent};
    // What was given back, and how; which later writes are in the log; what is overtaken.
    type Back = (Sequence, GivenBack);
    let table: [(&[Back], &[Sequence], &[Sequence]); 7] = [
        (&[(1, Unsent), (2, Unsent), (3, Unsent)], &[0], &[]),
        (&[(1, Unsent), (2, Unsent)], &[3], &[2, 1]),
        // The client has 3 still, and it took it after it had given up the others.
        (&[(1, Unsent), (2, Unsent)], &[], &[2, 1]),
        // Brokers refuse what comes behind a write that a broker did not take.
        (&[(1, NotNow), (2, NotNow)], &[], &[]),
        (&[(1, Refused)], &[], &[]),
        (&[(1, Refused)], &[2], &[1]),
        (&[(2, NotNow)], &[3], &[2]),
    ];
    for (given_back, logged, overtaken) in table {
        let mut ledger = sent(4);
        for (sequence, how) in given_back {
            ledger.give_back(*sequence, *how);
        }
        for sequence in logged {
            ledger.acknowledge(*sequence, at(*sequence as i64));
        }
        assert_eq!(ledger.requeue(), overtaken, "{given_back:?} {logged:?}");
        for sequence in overtaken {
            ledger.acknowledge(*sequence, PersistedWhen::AtOnce);
        }
        let expected: Vec<_> =
            (0..4).filter(|one| !overtaken.contains(one) && !logged.contains(one)).collect();
        assert_eq!(sent_again(&mut ledger), expected, "{given_back:?} {logged:?}");
    }
}

#[test]
fn only_a_write_that_brokers_refused_for_what_it_is_is_known_not_to_be_in_the_log() {
    let mut ledger = sent(4);
    ledger.give_back(0, GivenBack::Refused);
    ledger.give_back(1, GivenBack::NotNow);
    ledger.give_back(2, GivenBack::Unsent);
    assert!(!ledger.client_has_none(), "it has the last one");
    ledger.requeue();
    let doubts: Vec<bool> = (0..4).map(|sequence| ledger.is_in_doubt(sequence)).collect();
    assert_eq!(doubts, [false, true, true, true]);
    sent_again(&mut ledger);
    ledger.give_back(1, GivenBack::Refused);
    assert!(ledger.is_in_doubt(1), "an earlier copy may be there");
}

#[test]
fn the_answer_for_a_write_that_was_sent_twice_does_not_say_where_it_is() {
    let mut ledger = Ledger::new(Bounds::STANDARD);
    for sequence in 0..2 {
        ledger.issue(Key::from(*b"k"));
        ledger.mark_sent(sequence);
    }
    assert_eq!(ledger.trusted_offset(0, 10), Some(Offset(10)));
    ledger.acknowledge(0, at(10));
    ledger.requeue();
    ledger.issue(Key::from(*b"k"));
    assert_eq!(ledger.trusted_offset(1, 20), None, "it may have been at 11 since the first time");
    assert_eq!(ledger.first_unanswered(), NextOffset(11));
    ledger.acknowledge(1, PersistedWhen::EndCommitted);
    assert_eq!(ledger.trusted_offset(2, 21), Some(Offset(21)));
}

/// As librdkafka reports the first batch of a handle, sent twice.
#[test]
fn an_offset_from_before_the_first_write_says_nothing_of_where_the_record_is() {
    let mut ledger = Ledger::new(Bounds::STANDARD);
    ledger.start_at(NextOffset(100));
    ledger.issue(Key::from(*b"k"));
    assert_eq!([-1, 0, 1, 99].map(|offset| ledger.trusted_offset(0, offset)), [None; 4]);
    assert_eq!(ledger.trusted_offset(0, 100), Some(Offset(100)));
}
