//! Every invariant of ARCHITECTURE.md is cited where the code keeps it, and no other is.

use std::collections::BTreeSet;

use crate::architecture::quoted;
use crate::sources::{architecture, assert_none, read, sources};

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

/// Invariants that name no test, or one that is not in its file.
fn untested(text: &str, read: impl Fn(&str) -> String) -> Vec<String> {
    let invariants = text.split("\n- **INV-").skip(1);
    let untested = invariants.filter_map(|invariant| {
        let number = invariant.split('*').next().unwrap_or_default();
        let paragraph = invariant.split("\n\n").next().unwrap_or_default();
        let test = paragraph.split_once("Test:").map_or("", |(_, test)| test);
        let mut named = quoted(test);
        let (name, file) = (named.next().unwrap_or_default(), named.next().unwrap_or_default());
        let is_in =
            |text: &str| ["(", "<"].iter().any(|end| text.contains(&format!("fn {name}{end}")));
        let is_there = !file.is_empty() && is_in(&read(&file));
        (!is_there).then(|| format!("INV-{number}: no test `{name}` in `{file}`"))
    });
    untested.collect()
}

#[test]
fn every_invariant_names_a_test_that_is_there() {
    assert_none(&untested(&read("ARCHITECTURE.md"), read), "invariants without a test");
}

#[test]
fn an_invariant_without_its_test_is_found() {
    let text = "Kept:\n\n- **INV-1** One. Test: `a` in `a.rs`.\n- **INV-2** Two. Test: `b` in `a.rs`.\n\
                - **INV-3** Three.\n\nTest: `a` in `a.rs`.";
    let found = untested(text, |_| "fn a() {}".to_owned());
    assert_eq!(found, ["INV-2: no test `b` in `a.rs`", "INV-3: no test `` in ``"]);
}

#[test]
fn a_citation_is_its_whole_number() {
    let cited: Vec<String> = cited_in("keeps INV-1 and INV-14, an INV-n").into_iter().collect();
    assert_eq!(cited, ["INV-1", "INV-14"]);
}
