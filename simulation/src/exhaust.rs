//! Small worlds of which every history is run in which no more than a few choices are not plain.
//!
//! The plain history lets calls pass at once, in their order, and nothing fails. A choice that is not
//! plain lets another task or call go first, moves the time on early, or is a fault. So each world is
//! proved up to that many of them, at any places.

use crate::choices::{Choices, Odometer};
use crate::plan::{FAULTS, Fault, Plan};
use crate::world::{Outcome, simulate_plan};

/// A small world.
#[derive(Clone, Debug)]
pub struct SmallWorld {
    pub name: &'static str,
    /// How many choices may not be plain.
    pub deviations_max: usize,
    pub plan: Plan,
}

/// The worlds.
#[must_use]
pub fn worlds() -> Vec<SmallWorld> {
    let one = Plan {
        partitions: vec![1],
        keys: 1,
        processes: 1,
        workers: 1,
        is_eager: false,
        steps: 70,
        records: 2,
        max_rows: 2,
        memory: 256 << 20,
        writers_max: 10_000,
        reread_max: usize::MAX,
        has_check: false,
        has_references: false,
        bad: 0,
        twice: 0,
        marker: 0,
        weights: [0; FAULTS],
    };
    let with = |faults: &[Fault]| {
        let mut weights = [0; FAULTS];
        for fault in faults {
            weights[*fault as usize] = 1;
        }
        weights
    };
    let world = |name, deviations_max, plan| SmallWorld { name, deviations_max, plan };
    vec![
        world("order", 2, one.clone()),
        world(
            "commit",
            2,
            Plan { weights: with(&[Fault::Connection, Fault::Hang]), ..one.clone() },
        ),
        world(
            "zombie",
            2,
            Plan {
                processes: 2,
                steps: 110,
                weights: with(&[Fault::Crash, Fault::GiveUp, Fault::Freeze]),
                ..one.clone()
            },
        ),
        world("restore", 2, Plan { weights: with(&[Fault::Restore]), ..one.clone() }),
        world(
            "letters",
            2,
            Plan { bad: 1, twice: 1, has_check: true, steps: 90, records: 3, ..one },
        ),
    ]
}

/// Runs every history of a world; returns how many there were, how many choices the longest made,
/// and the first that failed.
#[must_use]
pub fn exhaust(world: &SmallWorld, histories_max: u64) -> (u64, usize, Option<Box<Outcome>>) {
    let (mut odometer, mut count, mut deepest) = (Odometer::new(world.deviations_max), 0, 0);
    loop {
        let outcome = simulate_plan(Choices::enumerated(odometer), world.plan.clone(), false);
        count += 1;
        if outcome.violation.is_some() {
            return (count, deepest, Some(Box::new(outcome)));
        }
        let Some(next) = outcome.choices.into_odometer() else { return (count, deepest, None) };
        odometer = next;
        deepest = deepest.max(odometer.depth());
        if count == histories_max || !odometer.advance() {
            return (count, deepest, None);
        }
    }
}
