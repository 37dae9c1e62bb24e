//! A type's name means one thing in a crate: no two files show types of the same name.

use std::collections::BTreeMap;

use crate::imports::Crate;
use crate::sources::{assert_none, crates};

fn doubles(krate: &Crate) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for module in krate.modules.values() {
        for declared in module.scope.declared.iter().filter(|declared| declared.is_shared_type) {
            let place = format!("{}:{}", module.file, declared.line);
            places.entry(&declared.name).or_default().push(place);
        }
    }
    let doubles = places.iter().filter(|(_, places)| places.len() > 1);
    let say = |(name, places): (&&str, &Vec<String>)| {
        let places = places.join(" and ");
        format!("`{name}` is declared in {places}: give each the name of what it is")
    };
    doubles.map(say).collect()
}

#[test]
fn a_type_that_files_share_has_a_name_of_its_own() {
    let doubles: Vec<String> = crates().iter().flat_map(doubles).collect();
    assert_none(&doubles, "names of two types");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::made_of;

    #[test]
    fn two_types_of_one_name_are_found_unless_one_is_private() {
        let tree = |b: &str| {
            let a = ("a.rs", "pub(crate) struct Row;");
            doubles(&made_of(&[("lib.rs", "mod a; mod b; pub use a::Row;"), a, ("b.rs", b)]))
        };
        for shared in [
            "pub(super) enum Row { A }",
            "pub trait Row {}",
            "pub(crate) type Row = u8;",
            "pub(crate) mod inner { pub(crate) struct Row; }",
        ] {
            assert_eq!(
                tree(shared),
                [
                    "`Row` is declared in made/src/a.rs:1 and made/src/b.rs:1: give each the name of \
                 what it is"
                ]
            );
        }
        for private in [
            "struct Row;",
            "pub(crate) fn Row() {}",
            "fn f() { pub struct Row; }",
            "#[cfg(test)] mod tests { pub(crate) struct Row; }",
            "struct S; impl Iterator for S { type Item = Row; }",
        ] {
            assert_eq!(tree(private), [""; 0], "{private}");
        }
    }
}
