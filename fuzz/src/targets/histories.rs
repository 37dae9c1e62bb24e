//! F14, the simulation's tape: whatever is chosen, all of its invariants hold.

use simulation::choices::Choices;
use simulation::world::simulate;

use crate::outcome::told;
use crate::targets::Target;

pub const TARGET: Target = Target {
    name: "histories",
    what: "every tape of choices is a history in which the simulation's invariants hold",
    run,
    words: &[],
    examples: &[],
};

fn run(input: &[u8]) -> u64 {
    let outcome = simulate(Choices::tape(input), false);
    assert_eq!(outcome.violation, None);
    // Which rare things happen together is what tells histories apart.
    let rare = outcome.reached.keys().map(|what| told(what, &[]));
    rare.fold(0, |sum: u64, what| (sum ^ what).wrapping_mul(0x0100_0000_01b3))
}
