//! Two loops taken in turns, and the ratio of their speeds.
//!
//! A shared machine is now fast and now slow, so a single figure says little. Both loops run
//! alternately in one process; each round gives a ratio, and the median of the ratios is reported
//! with the lowest and the highest.

use std::time::Duration;

use anyhow::{Result, ensure};

/// How fast a loop was: its items, and the time they took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    /// What was done.
    pub(crate) items: u64,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Lap {
    fn per_second(self) -> f64 {
        self.items as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// The speeds of two loops, round by round.
#[derive(Debug)]
pub(crate) struct Duel {
    what: &'static str,
    goal: f64,
    /// Per second: the raw loop, ours.
    rounds: Vec<(f64, f64)>,
}

impl Duel {
    /// A duel over `what`, in which ours is to reach `goal` times the raw loop.
    pub(crate) fn new(what: &'static str, goal: f64) -> Self {
        Self { what, goal, rounds: Vec::new() }
    }

    /// One round.
    pub(crate) fn round(&mut self, raw: Lap, ours: Lap) {
        let (raw, ours) = (raw.per_second(), ours.per_second());
        self.rounds.push((raw, ours));
        let (what, round) = (self.what, self.rounds.len());
        println!("  {what}, round {round}: raw {raw:.0}/s, ours {ours:.0}/s");
    }

    /// Prints the medians and the ratio.
    pub(crate) fn report(&self) -> Result<()> {
        ensure!(!self.rounds.is_empty(), "at least one round is needed");
        let raw = median(self.rounds.iter().map(|round| round.0).collect());
        let ours = median(self.rounds.iter().map(|round| round.1).collect());
        let ratios: Vec<f64> = self.rounds.iter().map(|(raw, ours)| ours / raw).collect();
        let (lowest, highest) =
            ratios.iter().fold((f64::MAX, f64::MIN), |(low, high), r| (low.min(*r), high.max(*r)));
        println!(
            "{}: raw {raw:.0}/s, ours {ours:.0}/s, ratio {:.2} ({lowest:.2} to {highest:.2}), goal {}",
            self.what,
            median(ratios),
            self.goal
        );
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
