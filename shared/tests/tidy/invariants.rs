//! Every invariant of ARCHITECTURE.md is cited where the code keeps it, and no other is.

use std::collections::BTreeSet;

use crate::sources::{architecture, assert_none, sources};

fn cited_in(text: &str) -> BTreeSet<String> {
    let after = text.split("INV-").skip(1);
    let numbers = after.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect());
    let numbers = numbers.filter(|number: &String| !number.is_empty());
    numbers.map(|number| format!("INV-{number}")).collect()
}

#[test]
fn every_invariant_is_kept_by_code_and_every_cited_one_exists() {
    let defined: BTreeSet<String> = architecture().invariants.iter().cloned().collect();
    assert!(!defined.is_empty(), "ARCHITECTURE.md numbers its invariants as `- **INV-1**`");
    let code = sources().iter().filter(|source| !source.is_tidy());
    let cited: BTreeSet<String> = code.flat_map(|source| cited_in(&source.text)).collect();
    let unknown = cited.difference(&defined).map(|inv| format!("{inv} is cited, not defined"));
    let unkept = defined.difference(&cited).map(|inv| format!("{inv} is defined, not cited"));
    assert_none(&unknown.chain(unkept).collect::<Vec<_>>(), "invariants and code differ");
}

#[test]
fn a_citation_is_its_whole_number() {
    let cited: Vec<String> = cited_in("keeps INV-1 and INV-14, an INV-n").into_iter().collect();
    assert_eq!(cited, ["INV-1", "INV-14"]);
}
