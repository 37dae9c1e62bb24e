//! SQL that the three dialects share: a statement's columns, the clauses of a snapshot.

use write_behind_shared::key::KeyColumn;
use write_behind_shared::table_name::quoted;

use crate::core::table::Table;

/// What [`compared`](super::snapshot::compared) reads, and the condition under which a row differs.
/// `g` is the expected row, `t` the table's; `shape` has, for each column, whether it differs and
/// both its texts.
pub(super) fn comparison(table: &Table, at: &str, shape: &[[String; 3]]) -> (String, String) {
    let missing = format!("t.{} IS NULL", quoted(&table.key[0].name));
    let told = [at, &missing].into_iter().chain(shape.iter().flatten().map(String::as_str));
    let told = told.collect::<Vec<_>>().join(", ");
    let wrong = std::iter::once(&missing).chain(shape.iter().map(|[differs, ..]| differs));
    let wrong = wrong.cloned().collect::<Vec<_>>().join(" OR ");
    (told, wrong)
}

/// Reads the next keys, under the condition `after`. `text` makes a text of a key's column.
pub(super) fn next_keys(
    table: &Table,
    text: impl Fn(&KeyColumn, &str) -> String,
    after: Option<String>,
    limit: usize,
) -> String {
    // By the table's columns: a text of one may have the same name in the answer.
    let names: Vec<String> =
        table.key.iter().map(|key| format!("t.{}", quoted(&key.name))).collect();
    let texts = table.key.iter().zip(&names).map(|(key, name)| text(key, name));
    let after = after.map(|after| format!("WHERE {after}")).unwrap_or_default();
    format!(
        "SELECT {} FROM {} AS t {after} ORDER BY {} LIMIT {limit}",
        texts.collect::<Vec<_>>().join(", "),
        table.sql_name,
        names.join(", "),
    )
}

/// The places in the table of a statement's columns: the key's, then the shape's.
pub(super) fn places(
    table: &Table,
    shape: &[(usize, bool)],
) -> impl Iterator<Item = (usize, bool)> {
    let key = table.key.iter().filter_map(|key| table.column(&key.name));
    key.map(|at| (at, false)).chain(shape.iter().copied())
}

/// The key's columns, quoted.
pub(super) fn key_list(table: &Table) -> String {
    table.key.iter().map(|key| quoted(&key.name)).collect::<Vec<_>>().join(", ")
}

/// That the table's row `t` has the key of the given row `g`.
pub(super) fn same_key(table: &Table) -> String {
    let same = table.key.iter().map(|key| {
        let name = quoted(&key.name);
        format!("t.{name} = g.{name}")
    });
    same.collect::<Vec<_>>().join(" AND ")
}

/// That the table's row `t` has no newer version than the given row `g`, whose value has the
/// column's type or affinity.
pub(super) fn not_newer(table: &Table) -> String {
    let Some(place) = table.version else { return String::new() };
    let name = quoted(&table.columns[place].name);
    format!(" AND (t.{name} IS NULL OR t.{name} <= g.{name})")
}
