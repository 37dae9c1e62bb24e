//! An offset goes to the end of its log where no record stands before that, and not otherwise.

use super::cases::{actions, at, reading_all, record_of, some_limits, written};
use super::*;
use crate::core::pipeline::action::Closed;

const TP: RoutePartition = RoutePartition { route: 0, partition: Partition(0) };
/// Long enough to be looked at.
const LATER: u64 = 20_000;

/// A pipeline that has written a record, and whose log ends at 3.
fn before_its_end() -> Pipeline {
    let mut pipeline = reading_all(Pipeline::new(some_limits(), [ROUTE]), &[TP]);
    record_of(&mut pipeline, at(0), TP, 0);
    pipeline.tick(at(100));
    let closed = batch(&mut pipeline);
    written(&mut pipeline, at(110), closed);
    pipeline.ends([(TP, NextOffset(3))]);
    pipeline.tick(at(120));
    assert!(look(&mut pipeline).is_none(), "what has just been written may go on");
    pipeline
}

fn batch(pipeline: &mut Pipeline) -> Closed {
    let closed = actions(pipeline).into_iter().find_map(|action| match action {
        Action::Write(closed) => Some(closed),
        _ => None,
    });
    closed.expect("a batch leaves")
}

fn look(pipeline: &mut Pipeline) -> Option<(LookId, SkipLook)> {
    actions(pipeline).into_iter().find_map(|action| match action {
        Action::LookAtSkip(TP, id, look) => Some((id, look)),
        _ => None,
    })
}

fn facts(low: i64, records: u64, is_compacted: bool) -> SkipFacts {
    SkipFacts { low: NextOffset(low), records, is_compacted }
}

#[test]
fn where_no_record_stands_before_the_end_a_batch_without_rows_goes_there() {
    let mut pipeline = before_its_end();
    pipeline.tick(at(LATER));
    let (id, asked) = look(&mut pipeline).expect("it is looked at");
    assert_eq!(asked, SkipLook { start: NextOffset(1), end: NextOffset(3), folded: 0 });
    pipeline.looked_at_skip(at(LATER), TP, id, &Ok(facts(0, 0, false)));
    pipeline.tick(at(LATER + 100));
    let closed = batch(&mut pipeline);
    let batch = closed.into_batch(Arc::from("topic"));
    assert_eq!((batch.spans[0].start, batch.spans[0].end), (NextOffset(1), NextOffset(3)));
    assert_eq!((batch.rows.len(), batch.records), (0, 0));
    assert!(pipeline.is_idle() || pipeline.progress(at(LATER)).in_flight_rows == 0);
}

#[test]
fn what_is_no_proof_leaves_the_offset_where_it_is_and_is_looked_at_again() {
    for found in [
        Err("silence".to_owned()),
        Ok(facts(0, 1, false)),
        Ok(facts(2, 0, false)),
        Ok(facts(0, 0, true)),
    ] {
        let mut pipeline = before_its_end();
        pipeline.tick(at(LATER));
        let (id, _) = look(&mut pipeline).expect("it is looked at");
        pipeline.looked_at_skip(at(LATER), TP, id, &found);
        pipeline.tick(at(LATER + 200));
        assert!(actions(&mut pipeline).is_empty(), "{found:?}");
        pipeline.tick(at(2 * LATER));
        assert!(look(&mut pipeline).is_some(), "{found:?}");
    }
}

#[test]
fn a_record_that_comes_during_the_look_is_written_and_no_offset_is_passed_for_it() {
    let mut pipeline = before_its_end();
    pipeline.tick(at(LATER));
    let (id, _) = look(&mut pipeline).expect("it is looked at");
    record_of(&mut pipeline, at(LATER), TP, 1);
    pipeline.looked_at_skip(at(LATER), TP, id, &Ok(facts(0, 0, false)));
    pipeline.tick(at(LATER + 100));
    let closed = batch(&mut pipeline);
    assert_eq!(closed.buffers[0].next(), NextOffset(2));
    assert_eq!(closed.buffers[0].records(), 1);
}

#[test]
fn nothing_is_looked_at_where_the_log_ends_or_while_a_batch_is_on_its_way() {
    let mut pipeline = reading_all(Pipeline::new(some_limits(), [ROUTE]), &[TP]);
    record_of(&mut pipeline, at(0), TP, 0);
    pipeline.ends([(TP, NextOffset(3))]);
    pipeline.tick(at(100));
    let closed = batch(&mut pipeline);
    pipeline.tick(at(LATER));
    pipeline.tick(at(2 * LATER));
    assert!(look(&mut pipeline).is_none(), "its batch is on its way");
    pipeline.ends([(TP, NextOffset(1))]);
    written(&mut pipeline, at(2 * LATER), closed);
    pipeline.tick(at(3 * LATER));
    pipeline.tick(at(4 * LATER));
    assert!(look(&mut pipeline).is_none(), "it stands at its end");
}
