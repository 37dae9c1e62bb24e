//! A row of MySQL or MariaDB as the JSON object that a record would have.

use serde_json::Value;
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;
use write_behind_shared::key::KeyKind;

use crate::error::LoadError;
use crate::load::as_json;
use crate::load::table_plan::TableColumn;

/// The form that a column's values have in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MySqlForm {
    /// Integers and exact decimals.
    Number,
    /// A float of single precision.
    Single,
    /// A float of double precision.
    Double,
    /// True or false.
    Boolean,
    /// Base64.
    Bytes,
    /// A document.
    Json,
    /// Date and time without a zone.
    Local,
    /// An instant, kept in UTC.
    Instant,
    /// A text, and what has a notation as text.
    Text,
}

/// What the catalogue says of a column's type: its name, and the whole type as SQL spells it.
pub(super) struct MySqlType<'a> {
    pub(super) name: &'a str,
    pub(super) sql_type: &'a str,
    /// How many bits there are.
    pub(super) bits: u32,
    /// MariaDB keeps documents as texts that a constraint checks.
    pub(super) is_document: bool,
}

impl MySqlType<'_> {
    /// The form of such a column's values.
    pub(super) fn form(&self) -> MySqlForm {
        match self.name {
            _ if self.is_document => MySqlForm::Json,
            "json" => MySqlForm::Json,
            "tinyint" if self.sql_type.starts_with("tinyint(1)") => MySqlForm::Boolean,
            "bit" if self.bits == 1 => MySqlForm::Boolean,
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "bit" | "decimal"
            | "year" => MySqlForm::Number,
            "float" => MySqlForm::Single,
            "double" => MySqlForm::Double,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                MySqlForm::Bytes
            }
            "datetime" => MySqlForm::Local,
            "timestamp" => MySqlForm::Instant,
            _ => MySqlForm::Text,
        }
    }

    /// What a key of such a column holds. None: it cannot be a key.
    pub(super) fn key_kind(&self) -> Option<KeyKind> {
        let bits = match self.name {
            "tinyint" if self.sql_type.starts_with("tinyint(1)") => return Some(KeyKind::Boolean),
            "tinyint" => 8,
            "smallint" => 16,
            "mediumint" => 24,
            "int" => 32,
            "bigint" => 64,
            "varchar" => return Some(KeyKind::Text),
            "uuid" => return Some(KeyKind::Uuid),
            "date" => return Some(KeyKind::Date),
            _ => return None,
        };
        Some(KeyKind::Integer(if self.sql_type.contains("unsigned") {
            // Of 64 bits without a sign, the upper half of the range is out of reach.
            0..=i64::MAX >> 63_u32.saturating_sub(bits)
        } else {
            -1 << (bits - 1)..=!(-1 << (bits - 1))
        }))
    }
}

impl MySqlForm {
    /// What a statement selects for a column, whatever the session's settings are. Floats and bytes
    /// come as they are, everything else as text.
    pub(super) fn selected(self, column: &str) -> String {
        match self {
            MySqlForm::Single | MySqlForm::Double | MySqlForm::Bytes => column.to_owned(),
            // A ZEROFILL column's text begins with zeros, and a string of bits is not its number.
            MySqlForm::Number => format!("CAST({column} + 0 AS char)"),
            MySqlForm::Boolean => format!(
                "CASE WHEN {column} IS NULL THEN NULL WHEN {column} THEN 'true' ELSE 'false' END"
            ),
            MySqlForm::Local => format!("replace(CAST({column} AS char), ' ', 'T')"),
            // The seconds since 1970 are the same in each session's time zone.
            MySqlForm::Instant => format!(
                "concat(replace('1970-01-01 00:00:00' + INTERVAL unix_timestamp({column}) SECOND, \
                 ' ', 'T'), 'Z')"
            ),
            MySqlForm::Json | MySqlForm::Text => {
                format!("CAST({column} AS char CHARACTER SET utf8mb4)")
            }
        }
    }

    /// The value at this place as JSON.
    fn json(self, name: &str, row: &MySqlRow, at: usize) -> Result<Option<String>, LoadError> {
        Ok(match self {
            MySqlForm::Single => get::<f32>(row, at)?.map(single),
            MySqlForm::Double => get::<f64>(row, at)?.map(|float| Value::from(float).to_string()),
            MySqlForm::Bytes => get::<&[u8]>(row, at)?.map(as_json::bytes),
            MySqlForm::Number | MySqlForm::Boolean => get::<String>(row, at)?,
            MySqlForm::Local | MySqlForm::Instant | MySqlForm::Text => {
                get::<&str>(row, at)?.map(as_json::text)
            }
            MySqlForm::Json => match get::<String>(row, at)? {
                Some(text) => Some(as_json::document(name, text)?),
                None => None,
            },
        })
    }
}

/// The row as a JSON object.
pub(super) fn object(
    row: &MySqlRow,
    columns: &[TableColumn<MySqlForm>],
) -> Result<Vec<u8>, LoadError> {
    as_json::object(columns, |column, at| column.form.json(&column.name, row, at))
}

fn get<'r, T>(row: &'r MySqlRow, at: usize) -> Result<Option<T>, LoadError>
where
    T: sqlx::Decode<'r, sqlx::MySql>,
{
    // A column's own type may be any of several that hold the same.
    row.try_get_unchecked(at).map_err(LoadError::new)
}

/// The fewest digits that tell it from its neighbours of single precision.
fn single(float: f32) -> String {
    serde_json::to_string(&float).unwrap_or_else(|_| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(name: &'a str, sql_type: &'a str, bits: u32) -> MySqlType<'a> {
        MySqlType { name, sql_type, bits, is_document: false }
    }

    #[test]
    fn a_columns_type_says_what_its_values_are_in_records() {
        for (name, sql_type, bits, form) in [
            ("tinyint", "tinyint(1)", 0, MySqlForm::Boolean),
            ("tinyint", "tinyint(4)", 0, MySqlForm::Number),
            ("bit", "bit(1)", 1, MySqlForm::Boolean),
            ("bit", "bit(8)", 8, MySqlForm::Number),
            ("decimal", "decimal(10,2)", 10, MySqlForm::Number),
            ("float", "float", 0, MySqlForm::Single),
            ("timestamp", "timestamp(6)", 0, MySqlForm::Instant),
            ("datetime", "datetime", 0, MySqlForm::Local),
            ("json", "json", 0, MySqlForm::Json),
            ("enum", "enum('a')", 0, MySqlForm::Text),
            ("time", "time", 0, MySqlForm::Text),
            ("longblob", "longblob", 0, MySqlForm::Bytes),
        ] {
            assert_eq!(of(name, sql_type, bits).form(), form, "{sql_type}");
        }
        let kept_as_text = MySqlType { is_document: true, ..of("longtext", "longtext", 0) };
        assert_eq!(kept_as_text.form(), MySqlForm::Json);
    }

    #[test]
    fn keys_have_the_range_of_their_column() {
        let kind = |name, sql_type| of(name, sql_type, 0).key_kind();
        assert_eq!(kind("tinyint", "tinyint(1)"), Some(KeyKind::Boolean));
        assert_eq!(kind("tinyint", "tinyint(4)"), Some(KeyKind::Integer(-128..=127)));
        assert_eq!(kind("int", "int(10) unsigned"), Some(KeyKind::Integer(0..=u32::MAX.into())));
        assert_eq!(kind("bigint", "bigint(20)"), Some(KeyKind::Integer(i64::MIN..=i64::MAX)));
        assert_eq!(kind("bigint", "bigint unsigned"), Some(KeyKind::Integer(0..=i64::MAX)));
        assert_eq!(kind("varchar", "varchar(9)"), Some(KeyKind::Text));
        assert_eq!(kind("char", "char(9)"), None);
    }
}
