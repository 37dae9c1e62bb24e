//! What is fuzzed: for each target what it takes, and what must hold whatever it is given.

pub mod json;
pub mod number;
pub mod keys;
pub mod headers;
pub mod fold;
pub mod buffer;
pub mod values;
pub mod letters;
pub mod names;
pub mod settings;
pub mod codes;
pub mod positions;
pub mod reports;
pub mod histories;

/// Something that takes bytes which others write.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    /// What must hold, in a line.
    pub what: &'static str,
    /// Panics if it does not; returns what came of the input.
    pub run: fn(&[u8]) -> u64,
    /// What such inputs are made of.
    pub words: &'static [&'static str],
    /// Inputs to begin with.
    pub examples: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    json::TARGET,
    number::TARGET,
    keys::TARGET,
    headers::TARGET,
    fold::TARGET,
    buffer::TARGET,
    values::TARGET,
    letters::TARGET,
    names::TARGET,
    settings::CONFIGURATION,
    settings::URL,
    codes::TARGET,
    positions::SPAN,
    positions::VERDICT,
    reports::TARGET,
    histories::TARGET,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::looped::{Until, execute, run};
    use crate::{corpus, mutation::LENGTH_MAX};

    const SEED: u64 = 1;

    #[test]
    fn every_input_of_the_corpora_holds() {
        for target in TARGETS {
            let inputs = corpus::read(&target).unwrap();
            assert!(!inputs.is_empty(), "{} has no corpus", target.name);
            for input in inputs {
                assert!(input.len() <= LENGTH_MAX);
                let held = execute(&target, &input);
                assert!(held.is_ok(), "{}: {held:?}: {:?}", target.name, input.escape_ascii());
            }
        }
    }

    /// The same inputs each time: `cargo run -p fuzz` makes new ones.
    #[test]
    fn the_first_inputs_of_a_seed_hold() {
        for target in TARGETS {
            let is_slow = target.name == histories::TARGET.name;
            let most = Until::Executions(if is_slow { 100 } else { 5_000 });
            let summary = run(&target, corpus::read(&target).unwrap(), SEED, most);
            assert!(summary.executions >= 100, "{}: {}", target.name, summary.executions);
            let failed = summary.failed.map(|(input, why)| (input.escape_ascii().to_string(), why));
            assert_eq!(failed, None, "{}", target.name);
        }
    }
}
