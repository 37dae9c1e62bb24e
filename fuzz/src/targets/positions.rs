//! F13, positions: a second reading ends only when it has all, and a partition is read on only where the
//! database and the log agree.

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use write_behind_consumer::core::assign::{
    PartitionFacts, RecordCheck, Verdict, judge, judge_again,
};
use write_behind_consumer::core::batch::{LastRecord, Span};
use write_behind_consumer::core::span_read::{ReadStep, SpanRead};
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::outcome::told;
use crate::targets::Target;

pub const SPAN: Target = Target {
    name: "spans",
    what: "a second reading is finished only once every span has been passed",
    run: |input| read_spans(&mut Unstructured::new(input)).unwrap_or_default(),
    words: &[],
    examples: &["\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}"],
};

pub const VERDICT: Target = Target {
    name: "verdicts",
    what: "a partition is read on only from the database's offset, within its log, with the record that the database knows",
    run: |input| judge_facts(&mut Unstructured::new(input)).unwrap_or_default(),
    words: &[],
    examples: &["\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\u{1}\u{1}\u{1}"],
};

fn offset(source: &mut Unstructured<'_>) -> Result<NextOffset> {
    let small: u8 = source.arbitrary()?;
    Ok(NextOffset(if small == 255 { i64::MAX } else { i64::from(small % 12) }))
}

fn read_spans(source: &mut Unstructured<'_>) -> Result<u64> {
    let mut spans = Vec::new();
    for partition in 0..source.int_in_range(0..=3)? {
        let (start, end) = (offset(source)?, offset(source)?);
        spans.push(Span { partition: Partition(partition), start, end });
    }
    let is_best_effort: bool = source.arbitrary()?;
    let patience = Duration::from_secs(9);
    let mut read = if is_best_effort {
        SpanRead::best_effort(&spans, patience)
    } else {
        SpanRead::new(&spans, patience)
    };
    let mut passed: BTreeMap<Partition, NextOffset> =
        spans.iter().map(|span| (span.partition, span.start)).collect();
    let (mut steps, mut given_up) = (0, Vec::new());
    while !source.is_empty() {
        let partition = Partition(source.int_in_range(0..=3)?);
        match source.arbitrary::<u8>()? % 8 {
            0..=2 => {
                let at = offset(source)?;
                if at.0 < i64::MAX {
                    read.record(partition, Offset(at.0));
                    let reached = passed.entry(partition).or_insert(NextOffset(i64::MAX));
                    *reached = (*reached).max(Offset(at.0).next());
                }
            }
            3 => {
                let position = Some(offset(source)?).filter(|at| at.0 % 2 == 0);
                read.end_of_log(partition, position);
                let reached = passed.entry(partition).or_insert(NextOffset(i64::MAX));
                *reached = (*reached).max(position.unwrap_or_default());
            }
            4 => read.ends(offset(source)?, offset(source)?),
            5 => drop(read.no_answer()),
            6 => read.waited(Duration::from_secs(source.int_in_range(0..=5)?)),
            _ => read.out_of_range(),
        }
        steps += 1;
        given_up = read.unfinished();
        if read.step() == ReadStep::Finished {
            for span in spans.iter().filter(|span| !given_up.contains(&span.partition)) {
                let reached = passed[&span.partition];
                assert!(reached >= span.end || span.start >= span.end, "{span:?} at {reached}");
            }
            assert!(is_best_effort || given_up.is_empty());
        }
    }
    Ok(told(format!("{:?}", read.step()), &[spans.len(), given_up.len(), steps]))
}

fn judge_facts(source: &mut Unstructured<'_>) -> Result<u64> {
    let record = LastRecord {
        partition: Partition(0),
        offset: Offset(source.int_in_range(0..=12)?),
        timestamp: source.int_in_range(-1..=1)?,
    };
    let trace = RecordCheck {
        record,
        there: source.arbitrary::<bool>()?.then_some(source.int_in_range(-1..=1)?),
    };
    let some = |source: &mut Unstructured<'_>, it: NextOffset| {
        Ok(source.arbitrary::<bool>()?.then_some(it))
    };
    let (database, committed) = (offset(source)?, offset(source)?);
    let facts = PartitionFacts {
        database: some(source, database)?,
        partitions_then: source.int_in_range(0..=2)?,
        partitions_now: source.int_in_range(0..=2)?,
        committed: some(source, committed)?,
        was_adopted: source.arbitrary()?,
        low: offset(source)?,
        high: offset(source)?,
        last: source.arbitrary::<bool>()?.then_some(record),
        trace: source.arbitrary::<bool>()?.then_some(trace),
    };
    let adopt: bool = source.arbitrary()?;
    let verdict = judge(&facts, adopt);
    if let (Verdict::Continue(next), Some(known)) = (&verdict, facts.database) {
        assert_eq!(*next, known, "{facts:?}");
        assert!(facts.low <= known && known <= facts.high, "{facts:?}");
        assert_eq!(facts.partitions_then, facts.partitions_now, "{facts:?}");
        let is_other = |trace: RecordCheck| trace.there != Some(trace.record.timestamp);
        assert!(!facts.trace.is_some_and(is_other), "{facts:?}");
    }
    if let Verdict::Begin(next) = &verdict {
        assert!(facts.database.is_none() && *next >= facts.low, "{facts:?}");
    }
    let again = judge_again(&facts, adopt, offset(source)?);
    Ok(told(format!("{verdict:?} {again:?}"), &[]))
}
