//! What ARCHITECTURE.md says in a form that a program can read: rooms, rules, invariants.

/// The rules that the tree is held to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Architecture {
    /// The first cells of the tables of rooms: each room stands above all that it imports.
    pub(crate) rooms: Vec<String>,
    /// The folders of the line `- **Pure:**`.
    pub(crate) pure: Vec<String>,
    /// A crate, and where it may be named, from the lines `- **Only here: …**`.
    pub(crate) only_here: Vec<(String, Vec<String>)>,
    /// The invariants `- **INV-n**`.
    pub(crate) invariants: Vec<String>,
}

impl Architecture {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines() {
            if line.starts_with("| `") {
                let cell = line[1..].split('|').next().unwrap_or_default();
                parsed.rooms.extend(quoted(cell).filter(|room| room.contains("/src/")));
            } else if let Some(pure) = line.strip_prefix("- **Pure:**") {
                parsed.pure.extend(quoted(pure));
            } else if let Some(rule) = line.strip_prefix("- **Only here:") {
                let mut names = quoted(rule);
                let krate = names.next().unwrap_or_default();
                parsed.only_here.push((krate, names.collect()));
            } else if let Some(rest) = line.strip_prefix("- **INV-") {
                let number = rest.split('*').next().unwrap_or_default();
                parsed.invariants.push(format!("INV-{number}"));
            }
        }
        parsed
    }

    /// The place of a file's room in the order, and its name: the longest that the file is in.
    pub(crate) fn room_of(&self, file: &str) -> Option<(usize, &str)> {
        let rooms = self.rooms.iter().map(String::as_str).enumerate();
        rooms.filter(|(_, room)| is_in(file, room)).max_by_key(|(_, room)| room.len())
    }
}

/// Whether a file is a room itself, or stands somewhere in the room's folder.
pub(crate) fn is_in(file: &str, room: &str) -> bool {
    file == room || (room.ends_with('/') && file.starts_with(room))
}

/// What stands between single backquotes.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[test]
fn the_architecture_is_read_from_its_tables_and_lists() {
    let parsed = Architecture::parse(
        "- **INV-1** Nothing pending is lost.\n\
         - **Only here: `rdkafka`** `a/src/kafka/`, `a/src/testing/`.\n\
         - **Pure:** `shared/src/`, `a/src/core/`.\n\
         | Room | What it is |\n\
         |---|---|\n\
         | `a/src/lib.rs` | see `a/src/core/` |\n\
         | `a/src/write.rs`, `a/src/read.rs` | both |\n\
         | `setting` | no room |",
    );
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        parsed,
        Architecture {
            rooms: of(&["a/src/lib.rs", "a/src/write.rs", "a/src/read.rs"]),
            pure: of(&["shared/src/", "a/src/core/"]),
            only_here: vec![("rdkafka".to_owned(), of(&["a/src/kafka/", "a/src/testing/"]))],
            invariants: of(&["INV-1"]),
        }
    );
}
