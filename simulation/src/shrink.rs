//! Makes the tape of a failed history shorter and plainer, as long as the same thing fails.

use std::time::{Duration, Instant};

use crate::choices::Choices;
use crate::world::simulate;

/// The simplest tape found that violates the same invariant.
#[must_use]
pub fn shrink(tape: &[u8], invariant: &str, within: Duration) -> Vec<u8> {
    simplest(tape, within, &|tape: &[u8]| {
        let outcome = simulate(Choices::tape(tape), false);
        let same = outcome.violation.is_some_and(|violation| violation.invariant == invariant);
        same.then(|| trimmed(outcome.choices.used()))
    })
}

/// The simplest tape found that still fails: `fails` says so, and how much of it was used.
fn simplest(tape: &[u8], within: Duration, fails: &impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let begun = Instant::now();
    let mut best = tape.to_vec();
    let is_over = || begun.elapsed() >= within;
    loop {
        let before = best.clone();
        let mut size = best.len().div_ceil(2);
        while size > 0 && !is_over() {
            pass(&mut best, size, fails, &is_over, |tape, at| {
                drop(tape.drain(at..(at + size).min(tape.len())));
            });
            pass(&mut best, size, fails, &is_over, |tape, at| {
                let end = (at + size).min(tape.len());
                tape[at..end].fill(0);
            });
            size /= 2;
        }
        pass(&mut best, 1, fails, &is_over, |tape, at| tape[at] /= 2);
        pass(&mut best, 1, fails, &is_over, |tape, at| tape[at] = tape[at].saturating_sub(1));
        if best == before || is_over() {
            return best;
        }
    }
}

/// Tries one change at every place, `size` bytes apart, and keeps what still fails and is simpler.
fn pass(
    best: &mut Vec<u8>,
    size: usize,
    fails: &impl Fn(&[u8]) -> Option<Vec<u8>>,
    is_over: &impl Fn() -> bool,
    change: impl Fn(&mut Vec<u8>, usize),
) {
    let mut at = 0;
    while at < best.len() && !is_over() {
        let mut other = best.clone();
        change(&mut other, at);
        let simpler = (other.len(), &other) < (best.len(), best);
        match fails(&other).filter(|_| simpler) {
            Some(found) if (found.len(), &found) < (best.len(), best) => *best = found,
            Some(_) => *best = other,
            None => at += size,
        }
    }
}

/// A tape without the zeros at its end, which it has anyway.
fn trimmed(tape: &[u8]) -> Vec<u8> {
    let end = tape.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    tape[..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_cut_out_and_what_matters_is_lowered() {
        // Fails with a byte of at least 40, and a later one of at least 7.
        let fails = |tape: &[u8]| {
            let first = tape.iter().position(|byte| *byte >= 40)?;
            let second = tape[first + 1..].iter().position(|byte| *byte >= 7)?;
            Some(tape[..first + second + 2].to_vec())
        };
        let tape: Vec<u8> = (0..200).map(|at| (at * 37 % 251) as u8).collect();
        assert_eq!(simplest(&tape, Duration::MAX, &fails), [40, 7]);
    }
}
