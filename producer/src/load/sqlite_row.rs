//! A row of SQLite as the JSON object that a record would have.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};
use write_behind_shared::sqlite_type::SqliteType;

use crate::error::LoadError;
use crate::load::as_json::{self, bytes, document, text};
use crate::load::table_plan::TableColumn;

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq)]
enum Stored {
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// The row as a JSON object.
pub(super) fn object(
    row: &SqliteRow,
    columns: &[TableColumn<SqliteType>],
) -> Result<Vec<u8>, LoadError> {
    as_json::object(columns, |column, at| {
        let stored = stored(row, at).map_err(LoadError::new)?;
        stored.map(|stored| json(&column.name, column.form, stored)).transpose()
    })
}

/// The value at this place, by the type it is stored as.
fn stored(row: &SqliteRow, at: usize) -> Result<Option<Stored>, sqlx::Error> {
    let value = row.try_get_raw(at)?;
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some(match value.type_info().name() {
        "INTEGER" => Stored::Integer(row.try_get_unchecked(at)?),
        "REAL" => Stored::Real(row.try_get_unchecked(at)?),
        "TEXT" => Stored::Text(row.try_get_unchecked(at)?),
        _ => Stored::Blob(row.try_get_unchecked(at)?),
    }))
}

/// What is stored as JSON. A value whose type is not the declared one, as SQLite allows, is given
/// as what it is.
fn json(name: &str, form: SqliteType, stored: Stored) -> Result<String, LoadError> {
    Ok(match (form, stored) {
        (SqliteType::Boolean, Stored::Integer(integer)) => (integer != 0).to_string(),
        (form, Stored::Integer(integer)) if is_text(form) => text(&integer.to_string()),
        (form, Stored::Real(real)) if is_text(form) => text(&number(real)),
        (_, Stored::Integer(integer)) => integer.to_string(),
        (_, Stored::Real(real)) if real.is_finite() => number(real),
        (_, Stored::Real(real)) => text(if real > 0.0 { "Infinity" } else { "-Infinity" }),
        (SqliteType::Boolean, Stored::Text(word)) if word == "true" || word == "false" => word,
        (SqliteType::Json, Stored::Text(written)) => document(name, written)?,
        (_, Stored::Text(letters)) => text(&letters),
        (_, Stored::Blob(blob)) => bytes(&blob),
    })
}

/// Text, and what has a notation as text.
fn is_text(form: SqliteType) -> bool {
    use SqliteType::{Date, Notation, Text, Uuid};
    matches!(form, Text | Uuid | Date | Notation)
}

/// With all the digits that tell it from its neighbours.
fn number(real: f64) -> String {
    serde_json::Value::from(real).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_form_of_its_declared_type_if_it_is_stored_so() {
        let text = |text: &str| Stored::Text(text.to_owned());
        for (declared, stored, expected) in [
            ("INTEGER", Stored::Integer(i64::MIN), "-9223372036854775808"),
            ("BIGINT", Stored::Integer(7), "7"),
            ("DOUBLE PRECISION", Stored::Real(0.1 + 0.2), "0.30000000000000004"),
            ("REAL", Stored::Real(1.0), "1.0"),
            ("REAL", Stored::Real(f64::INFINITY), r#""Infinity""#),
            ("NUMERIC(30,10)", Stored::Integer(3), "3"),
            ("DECIMAL", Stored::Real(1.5), "1.5"),
            ("DECIMAL", text("NaN"), r#""NaN""#),
            ("BOOLEAN", Stored::Integer(1), "true"),
            ("bool", Stored::Integer(0), "false"),
            ("TEXT", text("a\"b\u{1}"), r#""a\"b\u0001""#),
            ("VARCHAR(9)", text("7"), r#""7""#),
            ("", Stored::Integer(7), r#""7""#),
            ("DATE", text("2013-01-01"), r#""2013-01-01""#),
            ("DATETIME", Stored::Integer(2013), r#""2013""#),
            ("UUID", text("a"), r#""a""#),
            ("JSON", text(r#"{"b": [1, 2]}"#), r#"{"b": [1, 2]}"#),
            ("JSON", text("null"), "null"),
            ("JSON", Stored::Integer(5), "5"),
            ("BLOB", Stored::Blob(vec![0, 255]), r#""AP8=""#),
            ("TEXT", Stored::Blob(vec![0, 255]), r#""AP8=""#),
        ] {
            let found = json("c", SqliteType::of(declared), stored.clone()).unwrap();
            assert_eq!(found, expected, "{declared} {stored:?}");
        }
    }

    #[test]
    fn a_document_that_is_none_is_an_error_that_names_its_column() {
        let stored = Stored::Text("{".to_owned());
        let error = json("c", SqliteType::Json, stored).unwrap_err().to_string();
        assert!(error.contains(r#"the column "c" holds what is not JSON"#), "{error}");
    }
}
