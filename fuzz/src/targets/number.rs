//! F4, exact numbers: what is taken is a JSON number of a bounded size, and sums are exact.

use std::str::FromStr as _;

use bigdecimal::BigDecimal;
use write_behind_shared::number::{DIGITS_MAX, NotANumber, SCALE_MAX, significant_digits};
use write_behind_shared::{Increments, Number};

use crate::outcome::told;
use crate::targets::Target;

/// Sums of longer numbers are not asked for: they are exact, and take a while.
const DIGITS_SUMMED: i64 = 2_000;

pub const TARGET: Target = Target {
    name: "number",
    what: "a JSON number within the limits is taken and nothing else; sums and comparisons are those of big decimals",
    run,
    words: &[
        " ",
        "-",
        "+",
        ".",
        "e",
        "E-",
        "e+",
        "0",
        "1",
        "9",
        "131071",
        "16383",
        "1e131071",
        "1e-16383",
        "170141183460469231731687303715884105727",
        "-170141183460469231731687303715884105728",
        "9223372036854775807",
        "000",
        "Infinity",
        "NaN",
        "1_0",
    ],
    examples: &[
        "1 2",
        "-0.50 1e3",
        "1e131071 1",
        "1e999999999 0.1",
        "170141183460469231731687303715884105727 1",
    ],
};

fn is_json_number(text: &str) -> bool {
    let is_scalar =
        text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
    is_scalar && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

fn is_short(number: &Number) -> bool {
    number.whole_digits() < DIGITS_SUMMED && number.scale() < DIGITS_SUMMED
}

fn exact(number: &Number) -> BigDecimal {
    BigDecimal::from_str(&number.to_string()).expect("a number is written as one")
}

fn read(text: &str) -> Result<Number, NotANumber> {
    let read = text.parse::<Number>();
    if let Ok(number) = &read {
        assert!(is_json_number(text), "{text} is no JSON number");
        assert!(number.whole_digits() <= DIGITS_MAX && number.scale() <= SCALE_MAX);
        assert!(number.heap_bytes() < 128 << 10, "{text} takes {} bytes", number.heap_bytes());
        let _ = significant_digits(text);
        if is_short(number) {
            let given = BigDecimal::from_str(text).expect("a JSON number is one");
            assert_eq!(exact(number), given, "{text} is written as {number}");
            let again: Number = number.to_string().parse().expect("what is written is read");
            assert!(!again.is_less_than(number) && !number.is_less_than(&again));
        }
    } else {
        let has_exponent = text.contains(['e', 'E']);
        assert!(has_exponent || text.len() > 16_000 || !is_json_number(text), "{text} is refused");
    }
    read
}

fn run(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    let numbers: Vec<Number> = text.split(' ').filter_map(|text| read(text).ok()).collect();
    let short: Vec<&Number> = numbers.iter().filter(|number| is_short(number)).take(4).collect();
    let mut sums = 0;
    for (place, one) in short.iter().enumerate() {
        for other in &short[place..] {
            let sum = one.plus(other);
            assert_eq!(exact(&sum), exact(one) + exact(other), "{one} + {other}");
            assert_eq!(one.is_less_than(other), exact(one) < exact(other), "{one} < {other}");
            let (mut there, mut back) =
                (Increments::from((*one).clone()), Increments::from((*other).clone()));
            there.add(&Increments::from((*other).clone()));
            back.add(&Increments::from((*one).clone()));
            assert_eq!(exact(there.total()), exact(back.total()));
            assert_eq!(there.hardest().count(), back.hardest().count());
            sums += usize::from(matches!(sum, Number::Decimal(_))) + 1;
        }
    }
    let decimals = numbers.iter().filter(|one| matches!(one, Number::Decimal(_))).count();
    told("", &[numbers.len(), decimals, sums, text.split(' ').count()])
}
