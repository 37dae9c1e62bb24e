//! What the foreign keys and triggers of a database say about the rows of one table: whether they
//! refer to each other, and whether deleting one reaches others.
//!
//! Pure. The databases' catalogues tell the facts.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::table::OwnReference;

/// A foreign key whose rows are deleted or changed when the row that they refer to is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeleteAction {
    /// The table whose rows it changes.
    pub(super) child: String,
    /// The table that they refer to.
    pub(super) parent: String,
    /// Whether it deletes them: CASCADE.
    pub(super) cascades: bool,
}

/// The tables that lose rows when `table` does, itself included.
pub(super) fn losing_rows(table: &str, actions: &[DeleteAction]) -> BTreeSet<String> {
    let mut losing = BTreeSet::from([table.to_owned()]);
    let mut next = vec![table.to_owned()];
    while let Some(parent) = next.pop() {
        for action in actions.iter().filter(|action| action.cascades && action.parent == parent) {
            if losing.insert(action.child.clone()) {
                next.push(action.child.clone());
            }
        }
    }
    losing
}

/// Whether a delete in `table` may delete or change other rows of it, by referential actions alone.
pub(super) fn reach_back(table: &str, actions: &[DeleteAction]) -> bool {
    let losing = losing_rows(table, actions);
    actions.iter().any(|action| action.child == table && losing.contains(&action.parent))
}

/// Whether the body of a trigger or function names `table`, or runs SQL that it builds itself.
pub(super) fn may_touch(body: &str, table: &str) -> bool {
    let words = body.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
    let is_word = |name: &str| name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    let mut names = words.filter(|word| !word.is_empty());
    names.any(|word| word.eq_ignore_ascii_case(table) || word.eq_ignore_ascii_case("execute"))
        || !is_word(table) && body.contains(table)
}

/// Whether the body of a trigger or function may change rows of `table`: it names the table in a
/// statement that writes, or runs SQL that it builds itself.
pub(super) fn may_change(body: &str, table: &str) -> bool {
    const WRITES: [&str; 4] = ["update", "into", "delete", "truncate"];
    let words = body.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
    let words: Vec<_> = words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    let is_word = words.iter().any(|word| *word == table.to_lowercase());
    if words.iter().any(|word| word == "execute") || !is_word {
        // A name that is no word can't be followed.
        return may_touch(body, table);
    }
    // Between the two stand ONLY, FROM, TABLE, OR IGNORE, or a schema.
    let writes = |before: &[String]| before.iter().any(|word| WRITES.contains(&&**word));
    let places = words.iter().enumerate().filter(|(_, word)| **word == table.to_lowercase());
    places.into_iter().any(|(at, _)| writes(&words[at.saturating_sub(3)..at]))
}

/// The foreign keys of a table to itself, from rows of their name, column and referenced column.
pub(super) fn own_references(
    parts: impl IntoIterator<Item = (String, String, String)>,
) -> Vec<OwnReference> {
    let mut references: BTreeMap<String, OwnReference> = BTreeMap::new();
    for (name, column, referenced) in parts {
        let none = || OwnReference { columns: Vec::new(), referenced: Vec::new() };
        let reference = references.entry(name).or_insert_with(none);
        reference.columns.push(column);
        reference.referenced.push(referenced);
    }
    references.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(all: &[(&str, &str, bool)]) -> Vec<DeleteAction> {
        let action = |(child, parent, cascades): &(&str, &str, bool)| DeleteAction {
            child: (*child).to_owned(),
            parent: (*parent).to_owned(),
            cascades: *cascades,
        };
        all.iter().map(action).collect()
    }

    #[test]
    fn a_delete_reaches_back_by_any_chain_of_cascades_that_ends_at_the_table() {
        for (all, expected) in [
            (&[][..], false),
            (&[("t", "t", true)], true),
            (&[("t", "t", false)], true),
            (&[("t", "parents", true)], false),
            (&[("children", "t", true)], false),
            (&[("children", "t", true), ("t", "children", false)], true),
            (&[("children", "t", false), ("t", "children", true)], false),
            (&[("a", "t", true), ("b", "a", true), ("t", "b", true)], true),
            (&[("a", "t", true), ("b", "a", true), ("a", "b", true)], false),
        ] {
            assert_eq!(reach_back("t", &actions(all)), expected, "{all:?}");
        }
        let chain = actions(&[("a", "t", true), ("b", "a", true), ("c", "b", false)]);
        assert_eq!(losing_rows("t", &chain), ["a", "b", "t"].map(str::to_owned).into());
    }

    #[test]
    fn a_body_that_names_the_table_or_builds_its_sql_may_touch_it() {
        for (body, table, expected) in [
            ("BEGIN DELETE FROM seats WHERE below = old.id; RETURN old; END", "seats", true),
            ("delete from public.\"Seats\"", "seats", true),
            ("INSERT INTO seats_audit VALUES (old.id)", "seats", false),
            ("EXECUTE format('DELETE FROM %I', tg_table_name)", "seats", true),
            ("SELECT executed FROM log", "seats", false),
            ("DELETE FROM \"odd name\"", "odd name", true),
            ("DELETE FROM odd", "odd name", false),
            ("", "seats", false),
        ] {
            assert_eq!(may_touch(body, table), expected, "{body}");
        }
    }

    #[test]
    fn a_body_that_only_reads_the_table_changes_no_row_of_it() {
        for (body, table, expected) in [
            ("BEGIN UPDATE seats SET at = now() WHERE id = new.id; END", "seats", true),
            ("UPDATE ONLY public.Seats SET at = now()", "seats", true),
            ("update or ignore seats set n = 1", "seats", true),
            ("INSERT INTO \"seats\" VALUES (1)", "seats", true),
            ("DELETE FROM public.seats", "seats", true),
            ("TRUNCATE TABLE seats", "seats", true),
            ("EXECUTE format('UPDATE %I', tg_table_name)", "seats", true),
            ("UPDATE \"odd name\" SET n = 1", "odd name", true),
            ("INSERT INTO sums SELECT count(*) FROM seats", "seats", false),
            (
                "IF (SELECT count(*) FROM seats) > 9 THEN RAISE EXCEPTION 'full'; END IF",
                "seats",
                false,
            ),
            ("UPDATE seats_left SET n = n - 1", "seats", false),
        ] {
            assert_eq!(may_change(body, table), expected, "{body}");
        }
    }
}
