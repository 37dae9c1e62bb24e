//! What a column's declared type means in SQLite, whose types are advice.

use crate::key::KeyKind;

/// The type that a column was declared with, by SQLite's own rules of affinity, and a few common
/// names beyond them (boolean, date, uuid, json).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqliteType {
    /// An integer.
    Integer,
    /// A binary float.
    Float,
    /// Any other number: a binary float where a value is no integer.
    Numeric,
    /// 1 and 0.
    Boolean,
    /// Text.
    Text,
    /// A uuid, stored as text.
    Uuid,
    /// A date, stored as text.
    Date,
    /// Text in another notation, such as a time.
    Notation,
    /// A JSON document, stored as text.
    Json,
    /// Bytes.
    Bytes,
}

impl SqliteType {
    /// The type of a column that was declared as `declared`, in any case.
    #[must_use]
    pub fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |parts: &[&str]| parts.iter().any(|part| declared.contains(part));
        match &*declared {
            "UUID" => Self::Uuid,
            "DATE" => Self::Date,
            _ if has(&["DATE", "TIME", "UUID"]) => Self::Notation,
            _ if has(&["BOOL"]) => Self::Boolean,
            _ if has(&["JSON"]) => Self::Json,
            _ if has(&["INT"]) => Self::Integer,
            "" | "ANY" => Self::Text,
            _ if has(&["CHAR", "CLOB", "TEXT"]) => Self::Text,
            _ if has(&["BLOB"]) => Self::Bytes,
            _ if has(&["REAL", "FLOA", "DOUB"]) => Self::Float,
            _ => Self::Numeric,
        }
    }

    /// Whether a column that was declared as `declared` makes a number of a text that looks like
    /// one, whatever it is called: its affinity is neither that of texts nor none. A column of type
    /// ANY does so except in a STRICT table.
    #[must_use]
    pub fn makes_numbers(declared: &str) -> bool {
        let declared = declared.to_ascii_uppercase();
        let has = |parts: &[&str]| parts.iter().any(|part| declared.contains(part));
        has(&["INT"]) || !(declared.is_empty() || has(&["CHAR", "CLOB", "TEXT", "BLOB"]))
    }

    /// What a key column of the type holds. `None` if the column cannot be a key, because it treats
    /// different texts as equal.
    #[must_use]
    pub fn key_kind(self) -> Option<KeyKind> {
        match self {
            Self::Integer => Some(KeyKind::Integer(i64::MIN..=i64::MAX)),
            Self::Boolean => Some(KeyKind::Boolean),
            Self::Text => Some(KeyKind::Text),
            Self::Uuid => Some(KeyKind::Uuid),
            Self::Date => Some(KeyKind::Date),
            Self::Float | Self::Numeric | Self::Notation | Self::Json | Self::Bytes => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_type_is_judged_by_its_parts_and_the_first_rule_that_fits_counts() {
        for (declared, expected) in [
            ("INTEGER", SqliteType::Integer),
            ("unsigned big int", SqliteType::Integer),
            ("FLOATING POINT", SqliteType::Integer),
            ("double precision", SqliteType::Float),
            ("NUMERIC(30,10)", SqliteType::Numeric),
            ("bool", SqliteType::Boolean),
            ("VARCHAR(9)", SqliteType::Text),
            ("", SqliteType::Text),
            ("any", SqliteType::Text),
            ("date", SqliteType::Date),
            ("DATETIME", SqliteType::Notation),
            ("UUID", SqliteType::Uuid),
            ("jsonb", SqliteType::Json),
            ("BLOB", SqliteType::Bytes),
        ] {
            assert_eq!(SqliteType::of(declared), expected, "{declared}");
        }
    }

    #[test]
    fn a_column_makes_numbers_of_texts_unless_its_type_speaks_of_texts_or_of_nothing() {
        for declared in ["TIME", "DATE", "timestamp", "UUID", "JSON", "ANY", "CHARINT", "DECIMAL"] {
            assert!(SqliteType::makes_numbers(declared), "{declared}");
        }
        for declared in ["", "TEXT", "varchar(9)", "DATETEXT", "CLOB", "JSON BLOB"] {
            assert!(!SqliteType::makes_numbers(declared), "{declared}");
        }
    }
}
