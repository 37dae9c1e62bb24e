//! Imports run one way: a room imports only rooms that ARCHITECTURE.md lists below it.

use crate::architecture::{Architecture, is_in};
use crate::imports::{Arrow, Crate};
use crate::sources::{DIVIDED, architecture, assert_none, crates, folders, product_of};

/// The imports between rooms that run up. A room and a room within it are one.
fn upwards(krate: &Crate, architecture: &Architecture) -> Vec<String> {
    let is_up = |arrow: &Arrow| {
        let rooms = (architecture.room_of(&arrow.from), architecture.room_of(&arrow.to));
        let (Some((from_place, from)), Some((to_place, to))) = rooms else { return false };
        to_place < from_place && !is_in(from, to) && !is_in(to, from)
    };
    let up = krate.arrows().into_iter().filter(is_up);
    let say = |Arrow { from, to, name, line }: Arrow| {
        format!(
            "{from}:{line} imports `{name}` from {to}, a room above: move `{name}` below both, or hand it in"
        )
    };
    up.map(say).collect()
}

/// Files and folders that no room of the list holds, and rooms that are not there.
fn differences(architecture: &Architecture, files: &[String], folders: &[String]) -> Vec<String> {
    let rooms = &architecture.rooms;
    let homeless = files.iter().filter(|file| architecture.room_of(file).is_none());
    let unlisted = folders.iter().filter(|folder| !folder.ends_with("/src/"));
    let unlisted = unlisted.filter(|folder| !rooms.contains(folder));
    let gone = rooms.iter().filter(|room| !files.iter().any(|file| is_in(file, room)));
    let twice = rooms.iter().enumerate().filter(|(place, room)| rooms[..*place].contains(room));
    homeless
        .chain(unlisted)
        .map(|path| format!("{path} is in no room: give it a row in ARCHITECTURE.md"))
        .chain(gone.map(|room| format!("{room} has a row and is not there: take the row out")))
        .chain(twice.map(|(_, room)| format!("{room} has two rows: keep one")))
        .collect()
}

#[test]
fn rooms_import_only_rooms_below_them() {
    let up: Vec<String> = crates().iter().flat_map(|made| upwards(made, architecture())).collect();
    assert_none(&up, "imports against the order of ARCHITECTURE.md");
}

#[test]
fn the_rooms_of_the_architecture_are_the_folders_of_the_tree() {
    let files = crates().iter().flat_map(|krate| krate.modules.values());
    let files: Vec<String> = files.map(|module| module.file.clone()).collect();
    assert_none(&differences(architecture(), &files, &folders()), "ARCHITECTURE.md and the tree");
    // What no `mod` leads to is read by none of the checks.
    let product = DIVIDED.iter().flat_map(|member| product_of(member)).map(|source| source.path);
    let lost: Vec<String> = product.filter(|path| !files.contains(path)).collect();
    assert_none(&lost, "files that no `mod` leads to");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::made_of;

    fn listed(rooms: &[&str]) -> Architecture {
        let rooms = rooms.iter().map(|room| format!("made/src/{room}")).collect();
        Architecture { rooms, ..Architecture::default() }
    }

    #[test]
    fn an_import_from_a_room_above_is_found() {
        let rooms = listed(&["lib.rs", "run/", "core/", "core/table/"]);
        let tree = |core: &str| {
            let files = [
                ("lib.rs", "mod run; mod core;"),
                ("run/mod.rs", "use crate::core::Row; pub struct Run;"),
                ("core/mod.rs", "pub(crate) mod table; pub(crate) struct Row;"),
                ("core/table/mod.rs", core),
            ];
            upwards(&made_of(&files), &rooms)
        };
        assert!(tree("use super::Row;").is_empty(), "a room and the one within it are one");
        assert_eq!(
            tree("\nuse crate::run::Run;"),
            ["made/src/core/table/mod.rs:2 imports `Run` from made/src/run/mod.rs, a room above: \
             move `Run` below both, or hand it in"]
        );
    }

    #[test]
    fn a_folder_without_a_row_and_a_row_without_a_folder_are_found() {
        let paths = |paths: &[&str]| -> Vec<String> {
            paths.iter().map(|path| format!("made/src/{path}")).collect()
        };
        let differ = |rooms: &[&str]| {
            let files = paths(&["lib.rs", "core/mod.rs"]);
            differences(&listed(rooms), &files, &paths(&["", "core/"])).len()
        };
        assert_eq!(differ(&["lib.rs", "core/"]), 0);
        assert_eq!(differ(&["lib.rs", "core/mod.rs"]), 1, "a folder needs a row of its own");
        assert_eq!(differ(&["core/"]), 1);
        assert_eq!(differ(&["lib.rs", "core/", "apply/"]), 1);
        assert_eq!(differ(&["lib.rs", "core/", "core/"]), 1);
    }
}
