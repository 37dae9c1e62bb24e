//! Skipped offsets: what counts as proof that no record was passed over.

use proptest::prelude::*;
use write_behind_shared::{NextOffset, Offset};

use super::*;

/// Skips after these records, with 0 expected first.
fn after(records: &[i64]) -> Skips {
    let (mut skips, mut next) = (Skips::default(), NextOffset::ZERO);
    for offset in records {
        skips.folded(next, Offset(*offset));
        next = Offset(*offset).next();
    }
    skips
}

fn look(start: i64, end: i64, folded: u64) -> SkipLook {
    SkipLook { start: NextOffset(start), end: NextOffset(end), folded }
}

const NOW: Duration = Duration::ZERO;

#[test]
fn records_without_a_skip_need_no_look() {
    let mut skips = after(&[0, 1, 2]);
    assert!(skips.are_proved());
    assert_eq!(skips.next_look(NOW, 1), None);
}

#[test]
fn one_look_covers_all_skips_so_far_and_a_later_skip_needs_another() {
    let mut skips = after(&[0, 3, 4, 6]);
    assert_eq!(skips.next_look(NOW, 1), Some(look(1, 7, 3)));
    assert_eq!(skips.next_look(NOW, 2), None, "one at a time");
    assert!(!skips.folded(NextOffset(7), Offset(7)));
    assert!(skips.folded(NextOffset(8), Offset(9)));
    let answered = skips.answered(1).unwrap();
    skips.proved(&answered);
    assert!(!skips.are_proved());
    assert_eq!(skips.next_look(NOW, 2), Some(look(7, 10, 2)));
    let answered = skips.answered(2).unwrap();
    skips.proved(&answered);
    assert!(skips.are_proved());
    assert_eq!(after(&[]).folded, skips.folded, "nothing is counted while nothing is unproven");
}

#[test]
fn an_answer_to_a_look_at_a_dropped_buffer_proves_nothing() {
    let mut skips = after(&[2]);
    skips.next_look(NOW, 1).unwrap();
    skips.dropped();
    skips.folded(NextOffset::ZERO, Offset(2));
    assert_eq!(skips.answered(1), None);
    assert!(!skips.are_proved());
}

#[test]
fn only_a_leader_that_has_the_span_and_no_more_records_in_it_is_proof() {
    let facts =
        |low, records, is_compacted| SkipFacts { low: NextOffset(low), records, is_compacted };
    for (found, verdict) in [
        (facts(0, 3, false), SkipVerdict::Nothing),
        (facts(10, 3, false), SkipVerdict::Nothing),
        (facts(0, 4, false), SkipVerdict::PassedOver),
        (facts(0, 4, true), SkipVerdict::PassedOver),
        (facts(0, 3, true), SkipVerdict::Compacted(7)),
        (facts(11, 0, false), SkipVerdict::Removed),
        (facts(11, 0, true), SkipVerdict::Removed),
    ] {
        assert_eq!(look(10, 20, 3).judge(&found), verdict, "{found:?}");
    }
}

#[test]
fn after_a_look_in_vain_the_next_one_waits() {
    let mut skips = after(&[2]);
    skips.next_look(NOW, 1).unwrap();
    skips.answered(1).unwrap();
    skips.look_later(NOW);
    assert_eq!(skips.next_look(NOW, 2), None);
    assert!(skips.next_look(LOOK_AGAIN, 2).is_some());
}

proptest! {
    #[test]
    fn a_lost_record_is_found_wherever_it_lies_and_a_marker_is_none(
        log in prop::collection::vec(any::<bool>(), 2..40),
        lost in any::<prop::sample::Index>(),
        answers in prop::collection::vec(any::<bool>(), 40),
    ) {
        // Of the log's offsets some are records; the last one is, so that skips end.
        let last = log.len() - 1;
        let is_record = |offset: usize| log[offset] || offset == last;
        let lost = lost.index(last);
        let (mut skips, mut next, mut found) = (Skips::default(), 0, false);
        for offset in (0..=last).filter(|offset| is_record(*offset) && *offset != lost) {
            skips.folded(NextOffset(next), Offset(offset as i64));
            next = offset as i64 + 1;
            // Some looks are made early, some cover more.
            if (answers[offset] || offset == last) && let Some(look) = skips.next_look(NOW, 1) {
                let span = look.start.0 as usize..look.end.0 as usize;
                let records = span.filter(|offset| is_record(*offset)).count() as u64;
                let facts = SkipFacts { low: NextOffset::ZERO, records, is_compacted: false };
                let asked = skips.answered(1).unwrap();
                match asked.judge(&facts) {
                    SkipVerdict::Nothing => skips.proved(&asked),
                    SkipVerdict::PassedOver => found = true,
                    other => panic!("{other:?}"),
                }
            }
            if found {
                break;
            }
        }
        prop_assert_eq!(found, is_record(lost));
        prop_assert!(found || skips.are_proved());
    }
}
