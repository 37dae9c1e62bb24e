//! A record to try: values that fit the columns of a table, and a key that its key columns take.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use write_behind_shared::key::{self, KeyColumn, KeyError, KeyKind};

use crate::core::table::calendar::Calendar;
use crate::core::table::{Column, ColumnKind, Length, Table};

const UUID: &str = "0011aabb-2233-4455-8677-8899aabbccdd";
const DATE: &str = "2013-01-31";

/// A record to try, and the columns that it leaves out because only the database knows their notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The columns left out.
    pub left_out: Vec<String>,
}

impl Sample {
    /// One for `table`.
    ///
    /// # Errors
    /// [`KeyError`]: the name of a key column fits no key.
    pub(crate) fn of(table: &Table) -> Result<Self, KeyError> {
        let mut value = Map::new();
        let mut left_out = Vec::new();
        for column in table.columns.iter().filter(|column| !table.is_key(&column.name)) {
            match value_of(column) {
                Some(json) => {
                    value.insert(column.name.clone(), json);
                }
                None => left_out.push(column.name.clone()),
            }
        }
        let parts = table.key.iter().map(|part| (part.name.clone(), key_value(table, part)));
        let key = match &parts.collect::<Vec<_>>()[..] {
            [(_, part)] => key::encode(part)?,
            parts => key::encode(&parts.iter().cloned().collect::<Map<_, _>>())?,
        };
        let key = String::from_utf8_lossy(&key).into_owned();
        Ok(Self { key, value: Value::Object(value).to_string(), left_out })
    }
}

fn key_value(table: &Table, part: &KeyColumn) -> Value {
    match &part.kind {
        KeyKind::Integer(range) => json!(1.clamp(*range.start(), *range.end())),
        KeyKind::Text => {
            let column = table.columns.iter().find(|column| column.name == part.name);
            json!(fitting("ada", column.and_then(length_of)))
        }
        KeyKind::Uuid => json!(UUID),
        KeyKind::Boolean => json!(true),
        KeyKind::Date => json!(DATE),
    }
}

fn value_of(column: &Column) -> Option<Value> {
    match &column.kind {
        ColumnKind::Notation if column.sql_type.eq_ignore_ascii_case("uuid") => Some(json!(UUID)),
        // Its values are below 1.
        ColumnKind::Numeric(_) if column.whole_digits.is_some_and(|digits| digits < 1) => {
            Some(json!(0))
        }
        ColumnKind::Text => Some(json!(fitting("text", length_of(column)))),
        kind => value_of_kind(kind),
    }
}

/// The length that bounds a column's texts. Of a `char(n)` in Postgres only the database knows it; one
/// letter fits.
fn length_of(column: &Column) -> Option<usize> {
    let is_fixed = matches!(&*column.sql_type, "bpchar" | "character");
    length(&column.kind).or(is_fixed.then_some(1))
}

fn value_of_kind(kind: &ColumnKind) -> Option<Value> {
    Some(match kind {
        ColumnKind::Integer(range) | ColumnKind::Ordinal(range) => {
            json!(1.clamp(*range.start(), *range.end()))
        }
        // Below zero, the column puts that many zeros before the point.
        ColumnKind::Numeric(Some(scale)) if *scale < 0 => json!(0),
        ColumnKind::Numeric(_) | ColumnKind::Significant(_) | ColumnKind::Float(_) => json!(1),
        ColumnKind::Boolean => json!(true),
        ColumnKind::Text | ColumnKind::Short(_) => json!(fitting("text", length(kind))),
        ColumnKind::Calendar(calendar) => json!(moment(*calendar)),
        ColumnKind::Instant(_) => json!("2013-01-31T10:00:00Z"),
        ColumnKind::Json => json!({}),
        ColumnKind::Labels { labels, .. } => json!(labels.first()?),
        ColumnKind::Bytes(exactly) => json!(STANDARD.encode(vec![1; exactly.unwrap_or(3)])),
        ColumnKind::Affine(kind) => value_of_kind(kind)?,
        ColumnKind::Array(of, _) => json!([value_of_kind(of)?]),
        ColumnKind::Notation
        | ColumnKind::Range(_)
        | ColumnKind::Multirange(_)
        | ColumnKind::Composite(_)
        | ColumnKind::Lexemes
        | ColumnKind::Geometry { .. } => return None,
    })
}

fn moment(calendar: Calendar) -> &'static str {
    match calendar {
        Calendar::Date(_) => DATE,
        Calendar::Time | Calendar::Duration => "10:00:00",
        Calendar::ZonedTime => "10:00:00+05:30",
        Calendar::Timestamp(_) => "2013-01-31 10:00:00",
        Calendar::Instant => "2013-01-31 10:00:00+00",
    }
}

fn length(kind: &ColumnKind) -> Option<usize> {
    match kind {
        ColumnKind::Short(
            Length::Characters(most) | Length::Bytes(most) | Length::Encoded(most),
        ) => Some(*most),
        ColumnKind::Affine(kind) => length(kind),
        _ => None,
    }
}

/// As much of `text`, which is ASCII, as fits.
fn fitting(text: &'static str, most: Option<usize>) -> &'static str {
    &text[..text.len().min(most.unwrap_or(usize::MAX))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::table::Float;
    use crate::core::table::calendar::Eras;
    use crate::core::table::column::text_of;

    fn kinds() -> Vec<ColumnKind> {
        let labels = vec!["low".to_owned(), "high".to_owned()];
        let mut kinds = vec![
            ColumnKind::Integer(-5..=-2),
            ColumnKind::Integer(0..=i64::MAX),
            ColumnKind::Ordinal(1901..=2155),
            ColumnKind::Numeric(None),
            ColumnKind::Numeric(Some(2)),
            ColumnKind::Numeric(Some(-2)),
            ColumnKind::Significant(15),
            ColumnKind::Float(Float { single: true, scale: Some(0) }),
            ColumnKind::Boolean,
            ColumnKind::Text,
            ColumnKind::Short(Length::Characters(2)),
            ColumnKind::Short(Length::Bytes(0)),
            ColumnKind::Instant(6),
            ColumnKind::Json,
            ColumnKind::Labels { labels, several: true },
            ColumnKind::Bytes(None),
            ColumnKind::Bytes(Some(7)),
        ];
        kinds.extend([Calendar::Time, Calendar::ZonedTime].map(ColumnKind::Calendar));
        kinds.extend([Calendar::Instant, Calendar::Duration].map(ColumnKind::Calendar));
        for eras in [Eras::Common, Eras::All] {
            kinds.push(ColumnKind::Calendar(Calendar::Date(eras)));
            kinds.push(ColumnKind::Calendar(Calendar::Timestamp(eras)));
        }
        let arrays = kinds.iter().map(|kind| ColumnKind::Array(Box::new(kind.clone()), ','));
        let arrays: Vec<_> = arrays.collect();
        let affine = [ColumnKind::Text, ColumnKind::Calendar(Calendar::Time)];
        kinds.extend(affine.map(|kind| ColumnKind::Affine(Box::new(kind))));
        kinds.extend(arrays);
        kinds
    }

    #[test]
    fn a_sample_fits_its_column_whatever_the_columns_kind() {
        for kind in kinds() {
            let value = value_of_kind(&kind).unwrap().to_string();
            text_of(&kind, &value).unwrap_or_else(|why| panic!("{kind:?}: {value}: {why}"));
        }
    }

    #[test]
    fn a_sample_names_every_column_whose_notation_is_known_and_its_key_is_canonical() {
        let part = |name: &str, kind| KeyColumn { name: name.to_owned(), kind };
        let small = Column {
            whole_digits: Some(0),
            ..Column::plain("share", ColumnKind::Numeric(Some(2)))
        };
        let id =
            Column { sql_type: "uuid".to_owned(), ..Column::plain("run", ColumnKind::Notation) };
        let flag =
            Column { sql_type: "bpchar".to_owned(), ..Column::plain("flag", ColumnKind::Text) };
        let columns = vec![
            flag,
            Column::plain("tenant", ColumnKind::Short(Length::Characters(1))),
            Column::plain("at", ColumnKind::Notation),
            Column::plain("score", ColumnKind::Integer(0..=9)),
            small,
            id,
        ];
        let mut table = Table::plain("t", KeyKind::Text, columns);
        table.key = vec![part("tenant", KeyKind::Text), part("day", KeyKind::Date)];
        let sample = Sample::of(&table).unwrap();
        assert_eq!(sample.key, r#"{"day":"2013-01-31","tenant":"a"}"#);
        let value = format!(r#"{{"flag":"t","run":"{UUID}","score":1,"share":0}}"#);
        assert_eq!((sample.value, sample.left_out), (value, vec!["at".to_owned()]));
        for kind in [KeyKind::Integer(5..=9), KeyKind::Uuid, KeyKind::Boolean, KeyKind::Date] {
            table.key = vec![part("id", kind)];
            let sample = Sample::of(&table).unwrap();
            key::decode(sample.key.as_bytes(), &table.key).unwrap();
        }
    }
}
