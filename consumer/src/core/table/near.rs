//! The table that was meant: the one whose name is nearest to a name that no table has.

/// A table's name, and how a configuration spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name alone.
    pub name: String,
    /// With its schema, where it needs one.
    pub spelled: String,
}

/// A hint at the table that was meant by `wanted`, in parentheses behind a space; empty, if no name
/// is near.
#[must_use]
pub fn hint(wanted: &str, names: &[Named]) -> String {
    let distance =
        |named: &&Named| edits(&wanted.trim().to_lowercase(), &named.name.to_lowercase());
    let nearest = names.iter().min_by_key(distance);
    let is_near = |named: &&Named| distance(named) <= wanted.chars().count() / 4;
    let said = |named: &Named| format!(" (there is a {})", named.spelled);
    nearest.filter(is_near).map(said).unwrap_or_default()
}

/// How many letters must be added, removed or replaced to make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for place in 0..b.len() {
            let replaced = diagonal + usize::from(b[place] != letter);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_hinted_at_if_it_is_near() {
        let named = |name: &str, spelled: &str| Named {
            name: name.to_owned(),
            spelled: spelled.to_owned(),
        };
        let names = [named("scores", "scores"), named("t2", "t2"), named("seats", "other.seats")];
        assert_eq!(hint("T2", &names), " (there is a t2)");
        assert_eq!(hint("t2 ", &names), " (there is a t2)");
        assert_eq!(hint("score", &names), " (there is a scores)");
        assert_eq!(hint("seats", &names), " (there is a other.seats)");
        assert_eq!(hint("t3", &names), "", "it is as near to any other short name");
        assert_eq!(hint("players", &names), "");
        assert_eq!(hint("players", &[]), "");
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, count) in [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edits(a, b), count, "{a} {b}");
            assert_eq!(edits(b, a), count, "{b} {a}");
        }
    }
}
