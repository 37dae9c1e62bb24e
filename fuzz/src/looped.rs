//! The loop: an input is made, run, and kept if what came of it is new.

use std::any::Any;
use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use crate::mutation::{Random, change};
use crate::targets::Target;

/// How many inputs are changed further.
const INPUTS_MAX: usize = 20_000;
/// How often the time is looked at.
const LOOK_EVERY: u64 = 64;

/// When the loop ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Executions(u64),
    Time(Duration),
}

/// What the loop came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub executions: u64,
    pub took: Duration,
    /// Different outcomes.
    pub outcomes: usize,
    /// Every input that led to a new one, those of the corpus first.
    pub inputs: Vec<Vec<u8>>,
    /// The slowest execution, and its input.
    pub slowest: (Duration, Vec<u8>),
    /// The input of which something does not hold, as short as it could be made, and what is said.
    pub failed: Option<(Vec<u8>, String)>,
}

/// Runs a target on the corpus, and then on what is made of it.
#[must_use]
pub fn run(target: &Target, corpus: Vec<Vec<u8>>, seed: u64, until: Until) -> Summary {
    let (mut random, begun) = (Random(seed), Instant::now());
    let (mut summary, mut seen) = (Summary::default(), HashSet::new());
    let own = target.examples.iter().map(|example| example.as_bytes().to_vec());
    let mut first: Vec<Vec<u8>> = corpus.into_iter().chain(own).chain([Vec::new()]).collect();
    loop {
        let is_over = match until {
            Until::Executions(most) => summary.executions >= most,
            Until::Time(most) => {
                summary.executions.is_multiple_of(LOOK_EVERY) && begun.elapsed() >= most
            }
        };
        summary.took = begun.elapsed();
        summary.outcomes = seen.len();
        if is_over && first.is_empty() {
            return summary;
        }
        let input = first.pop().unwrap_or_else(|| made(&mut random, target, &summary.inputs));
        let is_timed = summary.executions.is_multiple_of(LOOK_EVERY);
        let began = is_timed.then(Instant::now);
        let outcome = execute(target, &input);
        let took = began.map_or(Duration::ZERO, |began| began.elapsed());
        summary.executions += 1;
        if took > summary.slowest.0 {
            summary.slowest = (took, input.clone());
        }
        match outcome {
            Ok(outcome) => {
                if seen.insert(outcome) && summary.inputs.len() < INPUTS_MAX {
                    summary.inputs.push(input);
                }
            }
            Err(why) => {
                let short = shortened(target, input);
                let why = execute(target, &short).err().unwrap_or(why);
                summary.failed = Some((short, why));
                return summary;
            }
        }
    }
}

fn made(random: &mut Random, target: &Target, inputs: &[Vec<u8>]) -> Vec<u8> {
    let pick = |random: &mut Random| inputs.get(random.below(inputs.len()));
    let mut input = pick(random).cloned().unwrap_or_default();
    let at = random.below(inputs.len());
    change(&mut input, random, target.words, inputs.get(at).map_or(&[], Vec::as_slice));
    input
}

/// Runs a target once; an error is what it says does not hold.
///
/// # Errors
/// It panicked.
pub fn execute(target: &Target, input: &[u8]) -> Result<u64, String> {
    let run = AssertUnwindSafe(|| (target.run)(input));
    panic::catch_unwind(run).map_err(|why| said(&*why))
}

fn said(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// Cuts out of an input what does not matter for its failure.
fn shortened(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let mut size = input.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut other = input.clone();
            drop(other.drain(at..(at + size).min(other.len())));
            if execute(target, &other).is_err() {
                input = other;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_afraid(input: &[u8]) -> u64 {
        let text = String::from_utf8_lossy(input);
        assert!(!(text.contains('x') && text.contains("yy")), "x and yy");
        input.len() as u64 % 5
    }

    #[test]
    fn what_does_not_hold_is_found_made_short_and_told() {
        let target = Target {
            name: "afraid",
            what: "",
            run: is_afraid,
            words: &["x", "y"],
            examples: &["something longer"],
        };
        let summary = run(&target, Vec::new(), 1, Until::Executions(1_000_000));
        let (mut input, why) = summary.failed.unwrap();
        input.sort_unstable();
        assert_eq!((input.as_slice(), why.as_str()), (&b"xyy"[..], "x and yy"));
        assert!(summary.inputs.len() <= 5, "one of each outcome");
    }
}
