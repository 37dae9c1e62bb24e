//! The choices that drive a history: random, read from a tape, or enumerated.
//!
//! Any bytes are a tape, and a tape that ends yields zeros. 0 is always the plain choice, so cutting a
//! piece out of a tape, or lowering a byte, leaves a simpler history.

/// Where choices come from.
#[derive(Clone, Debug)]
enum Origin {
    /// The state of a generator.
    Random(u64),
    Tape,
    Odometer(Odometer),
}

/// Every tape of a small world, one after the other: all of those in which no more than a given
/// number of choices are not the plain one.
#[derive(Clone, Debug)]
pub struct Odometer {
    /// Each choice of the last history, and among how many it was.
    digits: Vec<(u32, u32)>,
    deviations_max: usize,
}

impl Odometer {
    #[must_use]
    pub fn new(deviations_max: usize) -> Self {
        Self { digits: Vec::new(), deviations_max }
    }

    /// The choice at a place.
    fn choice(&mut self, at: usize, among: u32) -> u32 {
        if let Some((chosen, _)) = self.digits.get(at) {
            return *chosen;
        }
        let deviations = self.digits.iter().filter(|(chosen, _)| *chosen > 0).count();
        let among = if deviations < self.deviations_max { among } else { 1 };
        self.digits.push((0, among));
        0
    }

    /// Moves to the next tape; `false`: there is none.
    pub fn advance(&mut self) -> bool {
        while let Some((chosen, among)) = self.digits.pop() {
            if chosen + 1 < among {
                self.digits.push((chosen + 1, among));
                return true;
            }
        }
        false
    }

    /// How many choices the last history made.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.digits.len()
    }
}

/// The choices of one history, and the tape of those made so far.
#[derive(Clone, Debug)]
pub struct Choices {
    origin: Origin,
    tape: Vec<u8>,
    at: usize,
}

impl Choices {
    #[must_use]
    pub fn random(seed: u64) -> Self {
        Self { origin: Origin::Random(seed), tape: Vec::new(), at: 0 }
    }

    #[must_use]
    pub fn tape(tape: &[u8]) -> Self {
        Self { origin: Origin::Tape, tape: tape.to_vec(), at: 0 }
    }

    #[must_use]
    pub fn enumerated(odometer: Odometer) -> Self {
        Self { origin: Origin::Odometer(odometer), tape: Vec::new(), at: 0 }
    }

    /// The odometer, with the digits of this history.
    #[must_use]
    pub fn into_odometer(self) -> Option<Odometer> {
        let Origin::Odometer(mut odometer) = self.origin else { return None };
        odometer.digits.truncate(self.at);
        Some(odometer)
    }

    /// The bytes that make the same history again.
    #[must_use]
    pub fn used(&self) -> &[u8] {
        &self.tape[..self.at.min(self.tape.len())]
    }

    /// A number below `among`.
    pub fn below(&mut self, among: usize) -> usize {
        if among <= 1 {
            return 0;
        }
        if let Origin::Odometer(odometer) = &mut self.origin {
            self.at += 1;
            return odometer.choice(self.at - 1, among as u32) as usize;
        }
        let first = usize::from(self.byte());
        if among <= 256 {
            return (first * among) >> 8;
        }
        (((first << 8) | usize::from(self.byte())) * among) >> 16
    }

    /// Whether something happens that does in `of_256` of 256 cases.
    pub fn chance(&mut self, of_256: u8) -> bool {
        match of_256 {
            0 => false,
            _ if matches!(self.origin, Origin::Odometer(_)) => self.below(2) == 1,
            _ => u16::from(self.byte()) + u16::from(of_256) >= 256,
        }
    }

    /// One of `weights`, the heavier the likelier; never one of weight 0, unless all are.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let among = |at: &usize| weights[*at] > 0;
        if matches!(self.origin, Origin::Odometer(_)) {
            let possible: Vec<usize> = (0..weights.len()).filter(among).collect();
            return possible.get(self.below(possible.len())).copied().unwrap_or(0);
        }
        let mut left = self.below(weights.iter().sum::<u32>() as usize) as u32;
        for (at, weight) in weights.iter().enumerate() {
            if left < *weight {
                return at;
            }
            left -= weight;
        }
        0
    }

    fn byte(&mut self) -> u8 {
        if let Origin::Random(state) = &mut self.origin {
            // SplitMix64.
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            self.tape.push((mixed ^ (mixed >> 31)) as u8);
        }
        let byte = self.tape.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(choices: &mut Choices) -> Vec<usize> {
        let mut made: Vec<usize> = (1..300).map(|among| choices.below(among)).collect();
        made.extend((0..50).map(|_| usize::from(choices.chance(100))));
        made.extend((0..50).map(|_| choices.weighted(&[3, 0, 9, 1])));
        made
    }

    #[test]
    fn a_tape_makes_the_choices_again_that_it_was_written_by() {
        let mut random = Choices::random(7);
        let made = some(&mut random);
        assert_eq!(some(&mut Choices::tape(random.used())), made);
        assert_eq!(some(&mut Choices::tape(&[])), vec![0; 399], "without a tape all is plain");
    }

    #[test]
    fn an_odometer_makes_every_history_of_a_small_world_once() {
        let histories = |deviations_max| {
            let (mut odometer, mut histories) = (Odometer::new(deviations_max), Vec::new());
            loop {
                let mut choices = Choices::enumerated(odometer);
                let first = choices.below(3);
                // How many choices there are may depend on earlier ones.
                let more =
                    if first == 1 { vec![choices.below(2), choices.below(2)] } else { vec![] };
                histories.push((first, more));
                odometer = choices.into_odometer().unwrap();
                if !odometer.advance() {
                    return histories;
                }
            }
        };
        let all = [
            (0, vec![]),
            (1, vec![0, 0]),
            (1, vec![0, 1]),
            (1, vec![1, 0]),
            (1, vec![1, 1]),
            (2, vec![]),
        ];
        assert_eq!(histories(3), all);
        let few = [(0, vec![]), (1, vec![0, 0]), (2, vec![])];
        assert_eq!(histories(1), few, "only one choice is not plain");
    }
}
