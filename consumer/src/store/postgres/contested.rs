//! The columns by which two rows of a Postgres table can conflict: those of unique keys other than
//! the route's key, and of exclusion constraints.

use std::collections::BTreeMap;

use sqlx::postgres::types::Oid;
use sqlx::{PgConnection, Row as _};
use write_behind_shared::key::KeyColumn;

/// The columns of each such index, of the table and its partitions, those of its condition included.
/// `left_out`: what the column holds in a new row that does not name it is nothing that meets another.
const INDEXES: &str = "WITH tree AS (
        SELECT $1::oid AS oid UNION SELECT relid::oid FROM pg_partition_tree($1))
    SELECT i.indexrelid::bigint AS index, a.attname::text AS name,
        NOT (a.atthasdef OR a.attidentity <> '') AS left_out,
        i.indexprs IS NOT NULL OR a.attgenerated <> ''
            OR coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false') = 'true'
            OR EXISTS (SELECT FROM pg_trigger g JOIN tree ON g.tgrelid = tree.oid
                WHERE NOT g.tgisinternal AND g.tgtype & 3 = 3) AS unclear
    FROM pg_index i JOIN tree ON i.indrelid = tree.oid
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0 AND (a.attnum = ANY (i.indkey)
        OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
    WHERE i.indisunique OR i.indisexclusion";

/// Their names. `None`: a row may be in another's way although it names none of them.
pub(super) async fn of(
    connection: &mut PgConnection,
    oid: Oid,
    key: &[KeyColumn],
) -> Result<Option<Vec<String>>, sqlx::Error> {
    let mut indexes: BTreeMap<i64, Vec<(String, bool)>> = BTreeMap::new();
    for row in sqlx::query(INDEXES).bind(oid).fetch_all(connection).await? {
        if row.try_get("unclear")? {
            return Ok(None);
        }
        let column = (row.try_get("name")?, row.try_get("left_out")?);
        indexes.entry(row.try_get("index")?).or_default().push(column);
    }
    Ok(contested(indexes.into_values(), key))
}

/// The columns of these indexes, each with whether a new row may leave it out.
fn contested(
    indexes: impl Iterator<Item = Vec<(String, bool)>>,
    key: &[KeyColumn],
) -> Option<Vec<String>> {
    let is_key = |name: &str| key.iter().any(|column| column.name == name);
    let mut names = Vec::new();
    for index in indexes {
        let is_the_key = index.len() == key.len() && index.iter().all(|(name, _)| is_key(name));
        if is_the_key {
            continue;
        }
        if !index.iter().any(|(name, left_out)| *left_out && !is_key(name)) {
            return None;
        }
        names.extend(index.into_iter().map(|(name, _)| name));
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use write_behind_shared::key::KeyKind;

    use super::*;

    #[test]
    fn a_row_that_names_no_column_of_a_unique_key_is_in_no_way_unless_a_default_or_its_key_is() {
        let key = ["a", "b"].map(|name| KeyColumn { name: name.to_owned(), kind: KeyKind::Text });
        let index = |columns: &[(&str, bool)]| {
            columns.iter().map(|(name, left_out)| ((*name).to_owned(), *left_out)).collect()
        };
        for (indexes, expected) in [
            (vec![index(&[("b", true), ("a", true)])], Some(vec![])),
            (vec![index(&[("mail", true)])], Some(vec!["mail"])),
            (vec![index(&[("a", true), ("mail", true)])], Some(vec!["a", "mail"])),
            (vec![index(&[("place", false), ("mail", true)])], Some(vec!["place", "mail"])),
            (vec![index(&[("place", false)])], None),
            (vec![index(&[("b", true)])], None),
            (vec![index(&[("mail", true)]), index(&[("a", true)])], None),
        ] {
            let expected = expected.map(|names| names.into_iter().map(str::to_owned).collect());
            assert_eq!(contested(indexes.clone().into_iter(), &key), expected, "{indexes:?}");
        }
    }
}
