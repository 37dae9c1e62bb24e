//! A column's type as the catalogue of MySQL or MariaDB describes it, and the JSON that fits it.

use crate::core::table::calendar::{Calendar, Eras};
use crate::core::table::{ColumnKind, Float, Length};

/// What the catalogue says of a column's type.
pub(super) struct CatalogType<'a> {
    /// Its name alone.
    pub(super) name: &'a str,
    /// The whole type, as SQL spells it.
    pub(super) sql_type: &'a str,
    /// A decimal's scale, how many bits there are, or how many digits of a second.
    pub(super) size: u32,
    /// How long a text or bytes may be.
    pub(super) length: usize,
    /// A text's character set.
    pub(super) letters: Option<&'a str>,
}

impl CatalogType<'_> {
    /// The kind of such a column.
    pub(super) fn kind(&self) -> ColumnKind {
        let Self { name, sql_type, size, length, letters } = *self;
        // Of 64 bits without a sign, the upper half of the range is out of reach.
        let natural = |bits: u32| ColumnKind::Integer(0..=i64::MAX >> 63_u32.saturating_sub(bits));
        let integer = |bits: u32| {
            if sql_type.contains("unsigned") {
                return natural(bits);
            }
            ColumnKind::Integer(-1 << (bits - 1)..=!(-1 << (bits - 1)))
        };
        match name {
            "tinyint" if sql_type.starts_with("tinyint(1)") => ColumnKind::Boolean,
            "tinyint" => integer(8),
            "smallint" => integer(16),
            "mediumint" => integer(24),
            "int" => integer(32),
            "bigint" => integer(64),
            "bit" if size == 1 => ColumnKind::Boolean,
            "bit" => natural(size),
            "decimal" => ColumnKind::Numeric(Some(size as i32)),
            "float" | "double" => ColumnKind::Float(Float {
                single: name == "float",
                scale: sql_type.contains('(').then_some(size as i32),
            }),
            "varchar" => ColumnKind::Short(Length::Characters(length)),
            "tinytext" | "text" | "mediumtext" => short(length, letters),
            "char" | "longtext" => ColumnKind::Text,
            "binary" => ColumnKind::Bytes(Some(length)),
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                ColumnKind::Bytes(None)
            }
            "timestamp" => ColumnKind::Instant(size),
            "json" => ColumnKind::Json,
            "date" => ColumnKind::Calendar(Calendar::Date(Eras::Common)),
            "time" => ColumnKind::Calendar(Calendar::Duration),
            "datetime" => ColumnKind::Calendar(Calendar::Timestamp(Eras::Common)),
            // A year of one or two digits would get a century.
            "year" => ColumnKind::Ordinal(1901..=2155),
            "enum" | "set" => {
                ColumnKind::Labels { labels: labels(sql_type), several: name == "set" }
            }
            _ => ColumnKind::Notation,
        }
    }
}

/// A text of at most `bytes` bytes. Spaces beyond them would be cut off without a word, except where
/// each takes several bytes.
fn short(bytes: usize, letters: Option<&str>) -> ColumnKind {
    match letters {
        Some(letters) if letters.starts_with("utf8") => ColumnKind::Short(Length::Bytes(bytes)),
        Some("latin1" | "ascii") => ColumnKind::Short(Length::Characters(bytes)),
        Some("ucs2" | "utf16" | "utf16le" | "utf32") | None => ColumnKind::Text,
        Some(_) => ColumnKind::Short(Length::Encoded(bytes)),
    }
}

/// The labels in `enum('ok','it''s')`, without the catalogue's escapes.
fn labels(sql_type: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut letters = sql_type.trim_start_matches(|letter: char| letter != '\'').chars().peekable();
    while letters.next() == Some('\'') {
        let mut label = String::new();
        while let Some(letter) = letters.next() {
            label.push(match letter {
                '\'' if letters.next_if_eq(&'\'').is_none() => break,
                '\\' => match letters.next() {
                    Some('0') => '\0',
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some(letter) => letter,
                    None => break,
                },
                letter => letter,
            });
        }
        labels.push(label);
        // The comma.
        letters.next();
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(name: &str, sql_type: &str, size: u32) -> ColumnKind {
        CatalogType { name, sql_type, size, length: 9, letters: Some("utf8mb4") }.kind()
    }

    #[test]
    fn integers_have_the_range_of_their_type() {
        for (type_name, sql_type, size, range) in [
            ("tinyint", "tinyint(4)", 0, -128..=127),
            ("smallint", "smallint(5) unsigned", 0, 0..=65_535),
            ("mediumint", "mediumint", 0, -8_388_608..=8_388_607),
            ("int", "int unsigned zerofill", 0, 0..=4_294_967_295),
            ("bigint", "bigint(20)", 0, i64::MIN..=i64::MAX),
            ("bigint", "bigint(20) unsigned", 0, 0..=i64::MAX),
            ("bit", "bit(3)", 3, 0..=7),
            ("bit", "bit(64)", 64, 0..=i64::MAX),
            ("int", "int(5) unsigned zerofill", 0, 0..=4_294_967_295),
        ] {
            let kind = kind_of(type_name, sql_type, size);
            assert_eq!(kind, ColumnKind::Integer(range), "{sql_type}");
        }
        assert_eq!(kind_of("tinyint", "tinyint(1)", 0), ColumnKind::Boolean);
        assert_eq!(kind_of("bit", "bit(1)", 1), ColumnKind::Boolean);
    }

    #[test]
    fn labels_are_read_as_they_are_spelled() {
        let sql_type = "enum('ok','it''s','a,b','','''','x'',''y')";
        assert_eq!(labels(sql_type), ["ok", "it's", "a,b", "", "'", "x','y"]);
        let sql_type = r"set('a\\b','x\ny','\r','\\','\\''','c')";
        assert_eq!(labels(sql_type), [r"a\b", "x\ny", "\r", r"\", r"\'", "c"]);
        assert_eq!(labels("set()"), [""; 0]);
    }
}
