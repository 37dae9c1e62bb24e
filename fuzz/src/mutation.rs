//! Inputs from inputs: a piece is cut out, doubled, overwritten, or taken from another one.

/// The longest input.
pub const LENGTH_MAX: usize = 2_048;
/// Numbers at which things tend to change.
const EDGES: [&str; 12] = [
    "0",
    "-1",
    "127",
    "256",
    "32768",
    "2147483648",
    "-9223372036854775808",
    "9223372036854775808",
    "1e400",
    "0.1",
    "-0",
    "1e-7",
];

/// A generator that repeats itself from a seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, among: usize) -> usize {
        if among < 2 { 0 } else { (self.number() % among as u64) as usize }
    }

    /// A number up to `most`, small ones more often.
    fn small(&mut self, most: usize) -> usize {
        let bits = self.below(1 + most.max(1).ilog2() as usize);
        self.below((2 << bits).min(most + 1))
    }
}

/// Changes `input` at some places. `words`: what such inputs are made of.
pub fn change(input: &mut Vec<u8>, random: &mut Random, words: &[&str], other: &[u8]) {
    for _ in 0..=random.small(4) {
        change_once(input, random, words, other);
    }
    input.truncate(LENGTH_MAX);
}

fn change_once(input: &mut Vec<u8>, random: &mut Random, words: &[&str], other: &[u8]) {
    let at = random.below(input.len() + 1);
    let end = (at + random.small(16)).min(input.len());
    match random.below(12) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.number() as u8,
        // What may be text stays text more often so.
        2 if at < input.len() => input[at] = b' ' + random.below(95) as u8,
        3 | 4 => drop(input.drain(at..end)),
        5 => {
            let piece = input[at..end].to_vec();
            let most = if random.below(8) == 0 { 200 } else { 4 };
            let times = 1 + random.small(most);
            let more: Vec<u8> = piece.iter().copied().cycle().take(piece.len() * times).collect();
            drop(input.splice(at..at, more));
        }
        6 | 7 if !words.is_empty() => {
            let word = words[random.below(words.len())].bytes();
            let upto = if random.below(2) == 0 { at } else { end };
            drop(input.splice(at..upto, word));
        }
        8 => {
            let digits =
                |from: usize| input[from..].iter().take_while(|b| b.is_ascii_digit()).count();
            let upto = at + digits(at);
            drop(input.splice(at..upto, EDGES[random.below(EDGES.len())].bytes()));
        }
        9 if !other.is_empty() => {
            let from = random.below(other.len());
            let piece = &other[from..(from + 1 + random.small(64)).min(other.len())];
            drop(input.splice(at..end, piece.iter().copied()));
        }
        10 => input.truncate(at),
        _ => {
            let more: Vec<u8> = (0..=random.small(8)).map(|_| random.number() as u8).collect();
            drop(input.splice(at..at, more));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_none_is_too_long() {
        let made = |seed| {
            let mut random = Random(seed);
            let mut input = b"{\"a\":1}".to_vec();
            for _ in 0..2_000 {
                change(&mut input, &mut random, &["null", "\"a\""], b"other");
                assert!(input.len() <= LENGTH_MAX);
            }
            (random.number(), input)
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }
}
