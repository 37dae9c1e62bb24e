//! Files never import each other in a circle, whatever room they stand in.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Arrow, Crate};
use crate::sources::{assert_none, crates};

/// Each circle as one line: its files, and for each import within it the name.
fn circles(krate: &Crate) -> Vec<String> {
    let arrows = krate.arrows();
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for arrow in &arrows {
        let from = arrow.from.as_str();
        reached.entry(from).or_insert_with(|| reached_from(from, &arrows));
    }
    let mut circles = BTreeSet::new();
    for (file, reached_by_it) in &reached {
        let leads_back = |other: &&&str| reached.get(**other).is_some_and(|r| r.contains(file));
        let circle: BTreeSet<&str> = reached_by_it.iter().filter(leads_back).copied().collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().map(|circle| say(&circle, &arrows)).collect()
}

/// The files that a file imports, and those that they import.
fn reached_from<'a>(file: &'a str, arrows: &'a [Arrow]) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![file];
    while let Some(file) = ahead.pop() {
        for arrow in arrows.iter().filter(|arrow| arrow.from == file) {
            if reached.insert(arrow.to.as_str()) {
                ahead.push(&arrow.to);
            }
        }
    }
    reached
}

fn say(circle: &BTreeSet<&str>, arrows: &[Arrow]) -> String {
    let is_in_it = |a: &&Arrow| circle.contains(a.from.as_str()) && circle.contains(a.to.as_str());
    let mut names: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for arrow in arrows.iter().filter(is_in_it) {
        names.entry((&arrow.from, &arrow.to)).or_default().push(&arrow.name);
    }
    let imports = names.iter().map(|((from, to), names)| {
        let names = names.join("`, `");
        format!("{from} imports `{names}` from {to}")
    });
    let imports: Vec<String> = imports.collect();
    format!("{}: move what they share into a file that both import", imports.join("; "))
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles: Vec<String> = crates().iter().flat_map(circles).collect();
    assert_none(&circles, "circles");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::made_of;

    #[test]
    fn files_that_import_each_other_are_found_over_any_number_of_steps() {
        let tree = |c: &str| {
            circles(&made_of(&[
                ("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
                ("a.rs", "use crate::b::B; pub struct A;"),
                ("b.rs", "use crate::c::C; pub(crate) struct B;"),
                ("c.rs", c),
            ]))
        };
        assert!(tree("pub(crate) struct C;").is_empty());
        assert_eq!(
            tree("pub(crate) struct C(crate::A);"),
            ["made/src/a.rs imports `B` from made/src/b.rs; made/src/b.rs imports `C` from \
             made/src/c.rs; made/src/c.rs imports `A` from made/src/a.rs: move what they share \
             into a file that both import"]
        );
    }

    #[test]
    fn a_folder_that_shows_its_files_is_no_circle_and_one_that_uses_them_is() {
        let tree = |folder: &str| {
            let child = ("a/child.rs", "use super::Base; pub struct Child;");
            circles(&made_of(&[("lib.rs", "mod a;"), ("a/mod.rs", folder), child])).len()
        };
        assert_eq!(tree("mod child; pub use child::Child; pub struct Base;"), 0);
        assert_eq!(tree("mod child; use child::Child; pub struct Base;"), 1);
    }
}
