//! Histories by seeds, one after the other, and what they came to.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::choices::Choices;
use crate::rare::RARE;
use crate::stopwatch::Stopwatch;
use crate::world::{Outcome, simulate};

/// What many histories came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub histories: u64,
    pub steps: u64,
    pub crashes: u64,
    pub faults: u64,
    pub commits: u64,
    pub records: u64,
    pub virtual_time: Duration,
    pub reached: BTreeMap<&'static str, u64>,
}

impl Summary {
    pub fn add(&mut self, outcome: &Outcome) {
        self.histories += 1;
        self.steps += outcome.steps;
        self.crashes += outcome.crashes;
        self.faults += outcome.faults;
        self.commits += outcome.commits;
        self.records += outcome.records as u64;
        self.virtual_time += outcome.virtual_time;
        for what in outcome.reached.keys() {
            *self.reached.entry(what).or_default() += 1;
        }
    }

    /// A line of means, each per history.
    #[must_use]
    pub fn line(&self, took: Duration) -> String {
        let count = self.histories.max(1) as f64;
        let mean = |all: u64| all as f64 / count;
        format!(
            "{} histories in {:.1} s of a core ({:.0} an hour): per history {:.0} steps, {:.1} records, {:.1} \
             transactions, {:.2} crashes, {:.1} faults, {:.0} virtual seconds",
            self.histories,
            took.as_secs_f64(),
            count / took.as_secs_f64() * 3_600.0,
            mean(self.steps),
            mean(self.records),
            mean(self.commits),
            mean(self.crashes),
            mean(self.faults),
            self.virtual_time.as_secs_f64() / count,
        )
    }

    /// What happened in none of the histories, of what must be able to.
    #[must_use]
    pub fn never_reached(&self) -> Vec<&'static str> {
        RARE.iter().copied().filter(|what| !self.reached.contains_key(what)).collect()
    }

    /// In how many histories each rare thing happened.
    #[must_use]
    pub fn reach_table(&self) -> String {
        let line = |(what, histories): (&&str, &u64)| format!("{histories:>9}  {what}\n");
        self.reached.iter().map(line).collect()
    }
}

/// A history that did not hold.
#[derive(Clone, Debug)]
pub struct Failed {
    pub seed: u64,
    pub outcome: Outcome,
}

/// Runs the histories of `seeds` until one fails, or this much time of a core is taken.
pub fn run(
    seeds: impl Iterator<Item = u64>,
    within: Option<Duration>,
) -> (Summary, Option<Box<Failed>>) {
    let (mut summary, begun) = (Summary::default(), Stopwatch::start());
    for seed in seeds {
        if within.is_some_and(|within| begun.elapsed() >= within) {
            break;
        }
        let outcome = simulate(Choices::random(seed), false);
        summary.add(&outcome);
        if outcome.violation.is_some() {
            return (summary, Some(Box::new(Failed { seed, outcome })));
        }
    }
    (summary, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::page;
    use crate::shrink::shrink;

    /// How many histories are run each time.
    const FIXED: u64 = 300;

    fn must_hold(failed: Option<Box<Failed>>) {
        let Some(failed) = failed else { return };
        let violation = failed.outcome.violation.unwrap();
        let tape = failed.outcome.choices.used();
        let short = shrink(tape, violation.invariant, Duration::from_secs(20));
        let told = page(&simulate(Choices::tape(&short), true).lines);
        panic!("seed {}: {}: {}\n{told}", failed.seed, violation.invariant, violation.what);
    }

    #[test]
    fn known_histories_hold() {
        let (summary, failed) = run(0..FIXED, None);
        must_hold(failed);
        println!("{}", summary.reach_table());
    }

    /// New ones each time are for the command: what they find is not the fault of the change that
    /// happens to be tested.
    #[test]
    fn more_histories_hold() {
        let first =
            std::env::var("SIMULATION_SEED").map_or(1_000_000, |seed| seed.parse().unwrap());
        println!("seeds from {first} on");
        let (summary, failed) = run(first..u64::MAX, Some(Duration::from_secs(10)));
        must_hold(failed);
        println!("{}", summary.line(Duration::from_secs(10)));
    }

    #[test]
    fn the_same_choices_make_the_same_history() {
        for seed in 0..30 {
            let first = simulate(Choices::random(seed), true);
            let tape = first.choices.used().to_vec();
            let second = simulate(Choices::tape(&tape), true);
            let differs = first.lines.iter().zip(&second.lines).find(|(one, other)| one != other);
            assert_eq!(differs, None, "seed {seed}");
            assert_eq!(first.lines.len(), second.lines.len(), "seed {seed}");
        }
    }
}
