//! The increments of one column, summed, and what tells whether each of them fits the column.
//!
//! What becomes of a delta must not depend on the others that it is summed with: `0.005` twice is
//! `0.01`, but a column of two digits after the point takes neither of them. Column types are not
//! known here, so a sum keeps the deltas that are hardest to take. A column that takes these takes
//! all of them.

use std::fmt;

use crate::number::{Number, significant_digits};

/// The sum of one or more increments.
#[derive(Clone, Debug)]
pub struct Increments {
    total: Number,
    /// `None`: there is one increment, the total.
    hardest: Option<Box<Hardest>>,
}

/// The deltas that are hardest to take. Of equal ones the first is kept, so that any grouping of
/// the same deltas keeps the same ones.
#[derive(Clone, Debug)]
struct Hardest {
    least: Number,
    greatest: Number,
    /// The one of the largest scale, and that scale.
    finest: (Number, i64),
    /// Of the decimals, if there are any.
    decimals: Option<Box<HardestDecimals>>,
}

#[derive(Clone, Debug)]
struct HardestDecimals {
    /// The one with the most significant digits.
    longest: Number,
    /// The one that is nearest to 0 without being 0.
    smallest: Number,
}

impl Increments {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> &Number {
        &self.total
    }

    /// The single increments that are hardest to take, if there are several.
    pub fn hardest(&self) -> impl Iterator<Item = &Number> {
        self.hardest.iter().flat_map(|hardest| hardest.all())
    }

    /// Adds the increments that come after these. Integers are added without an allocation, except
    /// for the second one.
    pub fn add(&mut self, later: &Increments) {
        let first = || Box::new(Hardest::of(&self.total));
        let mut hardest = self.hardest.take().unwrap_or_else(first);
        match &later.hardest {
            None => hardest.consider(&later.total),
            Some(others) => others.all().for_each(|delta| hardest.consider(delta)),
        }
        self.hardest = Some(hardest);
        self.total = self.total.plus(&later.total);
    }

    /// The heap memory it holds, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let hardest = self.hardest.as_ref().map_or(0, |hardest| hardest.heap_bytes());
        self.total.heap_bytes() + hardest
    }
}

impl Hardest {
    fn of(delta: &Number) -> Self {
        let decimals = HardestDecimals::of(delta);
        let finest = (delta.clone(), delta.scale());
        Self { least: delta.clone(), greatest: delta.clone(), finest, decimals }
    }

    fn all(&self) -> impl Iterator<Item = &Number> {
        let decimals = self.decimals.iter().flat_map(|of| [&of.longest, &of.smallest]);
        [&self.least, &self.greatest, &self.finest.0].into_iter().chain(decimals)
    }

    fn consider(&mut self, delta: &Number) {
        if delta.is_less_than(&self.least) {
            self.least = delta.clone();
        } else if self.greatest.is_less_than(delta) {
            self.greatest = delta.clone();
        }
        // No integer is finer than one that does not end in 0.
        let may_be_finer = self.finest.1 < 0 || matches!(delta, Number::Decimal(_));
        if may_be_finer && delta.scale() > self.finest.1 {
            self.finest = (delta.clone(), delta.scale());
        }
        match &mut self.decimals {
            None => self.decimals = HardestDecimals::of(delta),
            Some(decimals) => decimals.consider(delta),
        }
    }

    fn heap_bytes(&self) -> usize {
        let of_decimals = size_of::<HardestDecimals>();
        size_of::<Self>()
            + self.decimals.as_ref().map_or(0, |_| of_decimals)
            + self.all().map(Number::heap_bytes).sum::<usize>()
    }
}

impl HardestDecimals {
    fn of(delta: &Number) -> Option<Box<Self>> {
        let both = || Self { longest: delta.clone(), smallest: delta.clone() };
        matches!(delta, Number::Decimal(_)).then(|| Box::new(both()))
    }

    fn consider(&mut self, delta: &Number) {
        if let Number::Integer(_) = delta {
            return;
        }
        // An integer of 64 bits is exact in every column, however long it is.
        let length = |text: &str| (text.parse::<i64>().is_err(), significant_digits(text));
        if length(&delta.to_string()) > length(&self.longest.to_string()) {
            self.longest = delta.clone();
        }
        let amount = |digits: i64| if digits == i64::MIN { i64::MAX } else { digits };
        if amount(delta.whole_digits()) < amount(self.smallest.whole_digits()) {
            self.smallest = delta.clone();
        }
    }
}

impl From<Number> for Increments {
    fn from(delta: Number) -> Self {
        Self { total: delta, hardest: None }
    }
}

impl fmt::Display for Increments {
    /// The sum, as plain digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.total.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(deltas: &[&str]) -> Increments {
        let mut deltas =
            deltas.iter().map(|delta| Increments::from(delta.parse::<Number>().unwrap()));
        let mut sum = deltas.next().unwrap();
        deltas.for_each(|delta| sum.add(&delta));
        sum
    }

    fn hardest(deltas: &[&str]) -> Vec<String> {
        sum(deltas).hardest().map(Number::to_string).collect()
    }

    #[test]
    fn the_deltas_that_are_hardest_to_take_stay_with_their_sum() {
        assert_eq!(sum(&["3", "-5", "7"]).to_string(), "5");
        assert_eq!(hardest(&["30", "-5", "7", "0"]), ["-5", "30", "-5"]);
        assert_eq!(hardest(&["100", "500", "70"]), ["70", "500", "70"]);
        assert_eq!(hardest(&["0.005", "1", "0.005"]), ["0.005", "1", "0.005", "0.005", "0.005"]);
        assert_eq!(hardest(&["1.25", "0.00001", "2"])[2..], ["0.00001", "1.25", "0.00001"]);
        assert_eq!(hardest(&["0.0", "1e-30", "2.5"])[4..], [format!("0.{:0>30}", 1)]);
        assert_eq!(hardest(&["4"]), [""; 0], "one delta is its own sum");
    }

    #[test]
    fn zeros_at_the_end_make_a_delta_neither_finer_nor_longer() {
        assert_eq!(hardest(&["1.50000", "0.25"])[2], "0.25");
        let longest = &hardest(&["9e18", "0.1234567890123456"])[3];
        assert_eq!(longest, "0.1234567890123456", "9e18 is an integer of 64 bits");
    }
}
