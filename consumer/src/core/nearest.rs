//! The name that somebody meant: the nearest of those that exist.

use strsim::osa_distance;

/// A table's name, and how a configuration spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpelling {
    /// The name alone.
    pub name: String,
    /// With its schema, where it needs one.
    pub spelled: String,
}

/// The one of `names` that is nearest to `name`, if it is near enough to be meant.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let meant = plain(name);
    let distances = names.into_iter().map(|other| (osa_distance(&meant, &plain(other)), other));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (meant.chars().count() / 3).min(3)).then_some(nearest)
}

/// `; did you mean …?`, or nothing.
pub fn did_you_mean<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    nearest(name, names).map_or(String::new(), |meant| format!("; did you mean `{meant}`?"))
}

/// A hint at the table that was meant by `wanted`, in parentheses behind a space; empty, if no name
/// is near.
#[must_use]
pub fn hint_at_table(wanted: &str, tables: &[TableSpelling]) -> String {
    let meant = nearest(wanted, tables.iter().map(|table| &*table.name));
    let meant = tables.iter().find(|table| Some(&*table.name) == meant);
    meant.map_or_else(String::new, |table| format!(" (there is a {})", table.spelled))
}

/// `maxRows`, `max-rows` and `max_rows` are one name.
fn plain(name: &str) -> String {
    name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_found_and_none_where_none_is_near() {
        let names = ["max_rows", "max_bytes", "max_age", "table", "topic"];
        for (name, meant) in [
            ("max-rows", Some("max_rows")),
            ("maxRows", Some("max_rows")),
            ("MAX_ROWS", Some("max_rows")),
            ("max_row", Some("max_rows")),
            ("tabel", Some("table")),
            ("tpic", Some("topic")),
            ("schema", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names), meant, "{name:?}");
        }
        assert_eq!(did_you_mean("tabel", names), "; did you mean `table`?");
        assert_eq!(did_you_mean("schema", names), "");
        assert_eq!(nearest("a", []), None);
    }

    #[test]
    fn the_nearest_table_is_hinted_at_if_it_is_near() {
        let table = |name: &str, spelled: &str| TableSpelling {
            name: name.to_owned(),
            spelled: spelled.to_owned(),
        };
        let tables = [table("scores", "scores"), table("t2", "t2"), table("seats", "other.seats")];
        for (wanted, hint) in [
            ("T2", " (there is a t2)"),
            ("t2 ", " (there is a t2)"),
            ("score", " (there is a scores)"),
            ("seats", " (there is a other.seats)"),
            // It is as near to any other short name.
            ("t3", ""),
            ("players", ""),
        ] {
            assert_eq!(hint_at_table(wanted, &tables), hint, "{wanted}");
        }
        assert_eq!(hint_at_table("players", &[]), "");
    }
}
