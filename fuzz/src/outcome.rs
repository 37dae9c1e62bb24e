//! What came of an input, as a number: an input is worth keeping if its number is new.

use std::fmt::{self, Write};

/// How much of a message tells outcomes apart.
const LETTERS_MAX: usize = 48;

/// Sums up what is written to it: letters alone, so that values don't make every outcome new.
struct Summed {
    sum: u64,
    letters: usize,
}

impl Summed {
    fn take(&mut self, byte: u8) {
        // FNV-1a.
        self.sum = (self.sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

impl Write for Summed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().filter(u8::is_ascii_alphabetic) {
            if self.letters == LETTERS_MAX {
                return Ok(());
            }
            self.letters += 1;
            self.take(byte);
        }
        Ok(())
    }
}

/// The outcome that a message tells, and what else tells outcomes apart.
#[must_use]
pub fn told(message: impl fmt::Display, beside: &[usize]) -> u64 {
    let mut summed = Summed { sum: 0xcbf2_9ce4_8422_2325, letters: 0 };
    // Writing to a sum can't fail.
    let _ = write!(summed, "{message}");
    for number in beside {
        summed.take(grade(*number));
    }
    summed.sum
}

/// A number, roughly: one more of what there are many of is nothing new.
fn grade(number: usize) -> u8 {
    if number < 4 { number as u8 } else { 2 + number.ilog2() as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_make_no_outcome_new_and_reasons_do() {
        assert_eq!(told("7 is not a date", &[]), told("8 is not a date", &[]));
        assert_ne!(told("7 is not a date", &[]), told("7 is not a time", &[]));
        assert_ne!(told("", &[1]), told("", &[2]));
        assert_eq!(told("", &[900]), told("", &[1_000]));
    }
}
