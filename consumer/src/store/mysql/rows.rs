//! The rows of a MySQL statement, as JSON documents of limited size: the server drops a connection
//! over a packet that is too large.

use std::borrow::Cow;

use crate::core::table::row::Row;
use crate::core::table::{ColumnKind, Table};

/// Rows as JSON arrays of arrays of texts, the key's first, in their order: each of at most
/// `bytes_max` bytes, unless a single row is larger. With each, how many rows come before it.
pub(super) fn documents(
    table: &Table,
    rows: &[&Row<'_>],
    with_cells: bool,
    bytes_max: usize,
) -> Result<Vec<(usize, String)>, serde_json::Error> {
    let mut documents = Vec::new();
    let (mut open, mut begins) = (String::new(), 0);
    for (at, row) in rows.iter().enumerate() {
        let row = serde_json::to_string(&texts(table, row, with_cells))?;
        if !open.is_empty() && open.len() + row.len() + 2 > bytes_max {
            documents.push((begins, std::mem::take(&mut open) + "]"));
            begins = at;
        }
        open.push(if open.is_empty() { '[' } else { ',' });
        open.push_str(&row);
    }
    if !open.is_empty() {
        documents.push((begins, open + "]"));
    }
    Ok(documents)
}

fn texts<'a>(table: &Table, row: &'a Row<'_>, with_cells: bool) -> Vec<Option<Cow<'a, str>>> {
    let cells = row.write.as_deref().filter(|_| with_cells).unwrap_or_default();
    let cells = cells.iter().map(|(place, cell)| {
        let text = cell.text()?;
        Some(match table.columns[*place].kind {
            ColumnKind::Instant(_) => in_utc(text),
            ColumnKind::Labels { ref labels, several: true } => in_order(text, labels),
            _ => Cow::Borrowed(text),
        })
    });
    row.key.iter().map(|text| Some(Cow::Borrowed(&**text))).chain(cells).collect()
}

/// An instant in RFC 3339, as a session in UTC writes it. An impossible date is passed on as it is,
/// and the database refuses it.
fn in_utc(text: &str) -> Cow<'_, str> {
    match text.parse::<jiff::Timestamp>() {
        Ok(instant) => instant.strftime("%Y-%m-%d %H:%M:%S%.f").to_string().into(),
        Err(_) => text.into(),
    }
}

/// Labels as a `set` keeps them: in the column's order, each once.
fn in_order<'a>(text: &'a str, labels: &[String]) -> Cow<'a, str> {
    let given: Vec<&str> = text.split(',').collect();
    let kept = labels.iter().map(String::as_str).filter(|label| given.contains(label));
    kept.collect::<Vec<_>>().join(",").into()
}

#[cfg(test)]
mod tests {
    use write_behind_shared::Change;
    use write_behind_shared::key::KeyKind;

    use super::*;
    use crate::core::table::Column;

    fn table() -> Table {
        let columns = vec![
            Column::plain("id", ColumnKind::Text),
            Column::plain("at", ColumnKind::Instant(6)),
        ];
        Table::plain("", KeyKind::Text, columns)
    }

    fn row(key: &str, at: Option<&str>) -> Row<'static> {
        let change = Change::new().set("at", &at).unwrap();
        Row::judge(&table(), key.as_bytes(), &change).unwrap().into_owned()
    }

    #[test]
    fn instants_are_in_utc_and_what_is_in_no_calendar_is_left_to_the_database() {
        for (given, expected) in [
            ("2013-01-01T10:00:00+05:30", "2013-01-01 04:30:00"),
            ("2013-01-01 10:00:00.25z", "2013-01-01 10:00:00.25"),
            ("2013-12-31T23:30:00-00:45", "2014-01-01 00:15:00"),
            ("2013-02-30T10:00:00Z", "2013-02-30T10:00:00Z"),
        ] {
            let row = row("k", Some(given));
            let document = documents(&table(), &[&row], true, 1_000).unwrap();
            assert_eq!(document, [(0, format!(r#"[["k","{expected}"]]"#))]);
        }
    }

    #[test]
    fn documents_hold_all_rows_in_their_order_within_the_limit() {
        let rows: Vec<Row<'_>> =
            ["a", "b\"", "c", "ddddddddddddddddddddd"].map(|k| row(k, None)).into();
        let rows: Vec<&Row<'_>> = rows.iter().collect();
        let expected = [
            (0, r#"[["a",null],["b\"",null]]"#),
            (2, r#"[["c",null]]"#),
            (3, r#"[["ddddddddddddddddddddd",null]]"#),
        ];
        let expected = expected.map(|(before, text)| (before, text.to_owned()));
        assert_eq!(documents(&table(), &rows, true, 26).unwrap(), expected);
        assert_eq!(
            documents(&table(), &rows[..2], false, 1_000).unwrap(),
            [(0, r#"[["a"],["b\""]]"#.to_owned())]
        );
        assert_eq!(documents(&table(), &[], true, 9).unwrap(), []);
    }
}
