//! What a user may do in the database, and what no route may name.

use std::collections::BTreeMap;

use write_behind_shared::table_name::Name;

use crate::core::table::Table;
use crate::store::StoreError;
use crate::store::schema::is_bookkeeping;

/// A right that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// What it is a right on, as SQL spells it.
    pub table: String,
    /// Such as `INSERT`.
    pub right: String,
}

/// The statements that grant what is missing to `user`: one for all that lack the same rights.
#[must_use]
pub fn grants(missing: &[MissingRight], user: &str) -> String {
    let mut rights_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for MissingRight { table, right } in missing {
        let rights = rights_of.entry(table).or_default();
        if !rights.contains(&&**right) {
            rights.push(right);
        }
    }
    let mut places_of: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (place, rights) in rights_of {
        let same = places_of
            .iter_mut()
            .find(|(these, places)| *these == rights && is_table(place) && is_table(places[0]));
        match same {
            Some((_, places)) => places.push(place),
            None => places_of.push((rights, vec![place])),
        }
    }
    let statements = places_of.iter().map(|(rights, places)| {
        format!("GRANT {} ON {} TO {user};", rights.join(", "), places.join(", "))
    });
    statements.collect::<Vec<_>>().join(" ")
}

/// Whether a statement may name it beside others: no schema and no sequence.
fn is_table(place: &str) -> bool {
    !place.starts_with("SCHEMA ") && !place.starts_with("SEQUENCE ")
}

/// Refuses a bookkeeping table as a route's.
pub(super) fn not_bookkeeping(table: &str) -> Result<(), StoreError> {
    let is_ours = Name::parse(table).is_ok_and(|name| is_bookkeeping(&name.table));
    if !is_ours {
        return Ok(());
    }
    Err(StoreError::Stop(format!(
        "{table} is a bookkeeping table, which only write-behind itself writes; correct the route's \
         `table`"
    )))
}

/// Why nothing was written to a table that changed since it was described.
pub(super) fn table_changed(table: &Table) -> String {
    format!("{} is not the table that was described: it was just changed", table.sql_name)
}

/// The error of creating the bookkeeping tables, with what to do about it.
pub(super) fn not_created(error: StoreError) -> StoreError {
    match error {
        StoreError::Stop(why) => StoreError::Stop(format!(
            "the bookkeeping tables can't be created or brought up to date: {why}; or let a user who \
             may run `write-behind init`, and start with --no-init"
        )),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_granted_in_as_few_statements_as_possible() {
        let missing = |table: &str, right: &str| MissingRight {
            table: table.to_owned(),
            right: right.to_owned(),
        };
        let all = [
            missing("SEQUENCE ids", "USAGE"),
            missing("SCHEMA public", "USAGE"),
            missing("a", "INSERT"),
            missing("a", "SELECT"),
            missing("b", "SELECT"),
            missing("c", "INSERT"),
            missing("c", "SELECT"),
            missing("c", "SELECT"),
        ];
        assert_eq!(
            grants(&all, "writer"),
            "GRANT USAGE ON SCHEMA public TO writer; GRANT USAGE ON SEQUENCE ids TO writer; \
             GRANT INSERT, SELECT ON a, c TO writer; GRANT SELECT ON b TO writer;"
        );
    }
}
