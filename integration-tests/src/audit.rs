//! Holds the log to what the callers of a load were told: what was replicated is there once and in
//! order, what failed or was refused is not.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context, Result, bail, ensure};
use write_behind_shared::partition::partition_of;

use crate::fold::Folded;
use crate::load::{Operation, Outcome, Told};
use crate::log::Raw;

/// How many writes ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Told that they are replicated; every one was found where it belongs.
    pub replicated: usize,
    /// Told that they failed; none was found.
    pub failed: usize,
    /// Told that their end is unknown.
    pub unknown: usize,
    /// Not accepted; none was found.
    pub refused: usize,
    /// Records that were in the log already.
    pub repeated: usize,
}

/// What is in the log of one row by one task, not yet accounted for.
#[derive(Default)]
struct Trail {
    /// The name that each record left; a delete leaves none.
    records: VecDeque<Option<String>>,
    /// Deletes that must come before the next name, and those that may.
    deletes: usize,
    deletes_maybe: usize,
}

/// Compares all that one handle's callers were told with all of its log.
///
/// # Errors
/// The first write that is lost, doubled, out of order, or there though it must not be.
pub fn audit(told: &[Told], log: &Folded, partitions: i32) -> Result<Audited> {
    let mut trails = trails(log, partitions)?;
    let mut audited = Audited { repeated: log.repeated, ..Audited::default() };
    // Accepted writes that are not, or need not be, in the log.
    let mut absent: BTreeMap<i32, u64> = BTreeMap::new();
    for Told { made, outcome } in told {
        let trail = trails.entry((made.task, made.key.clone())).or_default();
        let name = (made.operation != Operation::Delete).then_some(&made.name);
        let there = trail
            .account_for(name, outcome)
            .with_context(|| format!("{} of {} was told {outcome:?}", made.name, made.key))?;
        if !there && *outcome != Outcome::Refused {
            *absent.entry(partition_of(made.key.as_bytes(), partitions).0).or_default() += 1;
        }
        *match outcome {
            Outcome::Replicated => &mut audited.replicated,
            Outcome::Failed => &mut audited.failed,
            Outcome::Unknown => &mut audited.unknown,
            Outcome::Refused => &mut audited.refused,
        } += 1;
    }
    for ((_, key), mut trail) in trails {
        let left = trail.records.len();
        trail.pass(left).with_context(|| format!("the last records of {key}"))?;
    }
    for (partition, missing) in &log.missing {
        let absent = absent.get(partition).copied().unwrap_or_default();
        ensure!(
            *missing <= absent,
            "{missing} write-ids are missing in partition {partition}, {absent} writes are absent"
        );
    }
    sums_are_exact(log)?;
    Ok(audited)
}

impl Trail {
    /// Whether the write is in the log; an error when it must be and is not at its place, or must
    /// not be and is.
    fn account_for(&mut self, name: Option<&String>, outcome: &Outcome) -> Result<bool> {
        let Some(name) = name else {
            match outcome {
                Outcome::Replicated => self.deletes += 1,
                Outcome::Unknown => self.deletes_maybe += 1,
                Outcome::Failed | Outcome::Refused => {}
            }
            return Ok(*outcome == Outcome::Replicated);
        };
        let next = self.records.iter().position(Option::is_some);
        let found = next.and_then(|place| Some((place, self.records.get(place)?.as_ref()?)));
        match (outcome, found) {
            (Outcome::Replicated | Outcome::Unknown, Some((place, found))) if found == name => {
                self.pass(place)?;
                self.records.pop_front();
                Ok(true)
            }
            (Outcome::Failed | Outcome::Refused, Some((_, found))) if found == name => {
                bail!("it is in the log")
            }
            (Outcome::Replicated, found) => bail!("at its place in the log is {found:?}"),
            _ => Ok(false),
        }
    }

    /// Passes the next `records`: the deletes that were made up to here.
    fn pass(&mut self, records: usize) -> Result<()> {
        let passed: Vec<_> = self.records.drain(..records).collect();
        let names: Vec<_> = passed.iter().flatten().collect();
        ensure!(names.is_empty(), "nobody wrote {names:?} there");
        let possible = self.deletes..=self.deletes + self.deletes_maybe;
        ensure!(possible.contains(&records), "there are {records} deletes instead of {possible:?}");
        (self.deletes, self.deletes_maybe) = (0, 0);
        Ok(())
    }
}

/// The records that count, by task and row, in the order of the log.
fn trails(log: &Folded, partitions: i32) -> Result<BTreeMap<(u64, String), Trail>> {
    let mut trails: BTreeMap<(u64, String), Trail> = BTreeMap::new();
    for placed in &log.kept {
        let key = placed.raw.key_text()?;
        let partition = partition_of(key.as_bytes(), partitions);
        ensure!(partition.0 == placed.partition, "{key} is in partition {}", placed.partition);
        let (task, name) = read(&placed.raw)?;
        trails.entry((task, key.to_owned())).or_default().records.push_back(name);
    }
    Ok(trails)
}

/// The task that wrote a record, and the name it left.
fn read(raw: &Raw) -> Result<(u64, Option<String>)> {
    let Some(columns) = raw.columns()? else {
        let task = raw.key_text()?.split('-').nth(1).context("a tombstone of nobody's row")?;
        return Ok((task.parse()?, None));
    };
    let name = columns.get("by").and_then(|by| by.as_str()).context("a record without a name")?;
    let task = name.split(':').nth(1).context("a name without its task")?;
    Ok((task.parse()?, Some(name.to_owned())))
}

/// What the rows that are only added to hold is how many increments of theirs are in the log.
fn sums_are_exact(log: &Folded) -> Result<()> {
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for placed in &log.kept {
        if !placed.raw.added()?.is_empty() {
            *sums.entry(placed.raw.key_text()?).or_default() += 1;
        }
    }
    for (key, sum) in sums {
        let row = log.rows.get(key).with_context(|| format!("{key} is not there"))?;
        ensure!(row["n"] == sum, "{key} is {row} after {sum} increments of 1");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;
    use crate::load::Made;
    use crate::log::Placed;
    use write_behind_producer::WriteError;

    fn told(number: u64, operation: Operation, outcome: Outcome) -> Told {
        let (key, name) = ("own-0-1".to_owned(), format!("x:0:{number}"));
        let answer = Err(WriteError::Closed);
        Told { made: Made { task: 0, name, key, operation, answer }, outcome }
    }

    /// A log of one partition: the numbers of puts, -1 is a delete; `sequences` as they stand there.
    fn log(numbers: &[i64], sequences: &[u64]) -> Folded {
        let record = |(number, sequence): (&i64, &u64)| {
            let mut raw = match number {
                -1 => Raw::tombstone("own-0-1"),
                _ => Raw::put("own-0-1", &format!(r#"{{"n":1,"by":"x:0:{number}"}}"#)),
            };
            let mut id = [7; 24];
            id[16..].copy_from_slice(&sequence.to_be_bytes());
            raw.headers.push(("write-id".to_owned(), id.to_vec()));
            Placed { partition: 0, offset: *sequence as i64, raw }
        };
        fold(numbers.iter().zip(sequences).map(record).collect()).unwrap()
    }

    fn found(told: &[Told], numbers: &[i64]) -> Result<Audited> {
        let sequences: Vec<u64> = (0..numbers.len() as u64).collect();
        audit(told, &log(numbers, &sequences), 1)
    }

    #[test]
    fn what_is_replicated_must_be_there_once_and_in_order() {
        use Operation::{Delete, Put};
        use Outcome::Replicated;
        let told =
            [told(0, Put, Replicated), told(1, Delete, Replicated), told(2, Put, Replicated)];
        assert_eq!(found(&told, &[0, -1, 2]).unwrap().replicated, 3);
        for wrong in
            [&[0, 2][..], &[0, -1], &[2, -1, 0], &[0, -1, 2, 2], &[0, -1, -1, 2], &[0, 2, -1]]
        {
            assert!(found(&told, wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_unknown_may_be_there_and_what_failed_may_not() {
        use Operation::{Delete, Put};
        let unknown = [told(0, Put, Outcome::Unknown), told(1, Delete, Outcome::Unknown)];
        for possible in [&[][..], &[0], &[-1], &[0, -1]] {
            assert_eq!(found(&unknown, possible).unwrap().unknown, 2, "{possible:?}");
        }
        assert!(found(&unknown, &[-1, 0]).is_err());
        assert!(found(&[told(0, Put, Outcome::Failed)], &[0]).is_err());
        assert!(found(&[told(0, Put, Outcome::Refused)], &[0]).is_err());
    }

    #[test]
    fn a_gap_must_be_a_write_that_is_not_there() {
        use Operation::Put;
        let all = [told(0, Put, Outcome::Replicated), told(2, Put, Outcome::Replicated)];
        assert!(audit(&all, &log(&[0, 2], &[0, 2]), 1).is_err());
        let mut with_failed = Vec::from(all);
        with_failed.insert(1, told(1, Put, Outcome::Failed));
        assert_eq!(audit(&with_failed, &log(&[0, 2], &[0, 2]), 1).unwrap().failed, 1);
    }
}
