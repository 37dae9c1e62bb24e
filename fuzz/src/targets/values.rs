//! F6, rows: a value that is judged to fit its column is one that the column's kind can hold.

use std::str::FromStr as _;

use bigdecimal::{BigDecimal, Zero as _};
use serde_json::value::RawValue;
use write_behind_consumer::core::table::calendar::{Calendar, Eras};
use write_behind_consumer::core::table::row::{Row, RowCell};
use write_behind_consumer::core::table::{Column, ColumnKind, Float, Length, Table};
use write_behind_shared::key::KeyKind;
use write_behind_shared::record;

use crate::outcome::told;
use crate::targets::Target;

pub const TARGET: Target = Target {
    name: "values",
    what: "a value, or a delta, that is judged to fit its column is within what the column's kind holds",
    run,
    words: &[
        "\"",
        "[",
        "]",
        "{",
        "}",
        ",",
        "(",
        ")",
        "null",
        "true",
        "1.5",
        "1e400",
        "\"NaN\"",
        "\"2024-02-30\"",
        "\"24:00:00\"",
        "\"2024-02-29 23:59:60+00\"",
        "\"2024-02-29T10:00:00Z\"",
        "\"infinity\"",
        "now",
        "\"[1,5)\"",
        "\"empty\"",
        "\"AA==\"",
        "\"red,green\"",
        "-838:59:59",
        " BC",
        "\\u0000",
        "'",
        ";",
    ],
    examples: &[
        "a7",
        "b1.25",
        "c\"x\"",
        "d\"2024-02-29\"",
        "e[1,null,3]",
        "f\"[1,5)\"",
        "g\"(1,x)\"",
        "h\"AA==\"",
        "i\"red,green\"",
        "j{\"a\":null}",
        "k1e400",
        "l\"2024-02-29T10:00:00.5+01:00\"",
        "A7",
        "B0.005",
    ],
};

fn kinds() -> Vec<ColumnKind> {
    use ColumnKind as Kind;
    let labels = |several| {
        let labels = ["red", "green", ""].map(str::to_owned).to_vec();
        Kind::Labels { labels, several }
    };
    let small = || Kind::Integer(-32_768..=32_767);
    vec![
        small(),
        Kind::Numeric(Some(2)),
        Kind::Text,
        Kind::Calendar(Calendar::Date(Eras::All)),
        Kind::Array(Box::new(Kind::Integer(0..=255)), ','),
        Kind::Range(Box::new(Kind::Calendar(Calendar::Date(Eras::All)))),
        Kind::Composite(vec![small(), Kind::Text, Kind::Calendar(Calendar::Timestamp(Eras::All))]),
        Kind::Bytes(Some(1)),
        labels(true),
        Kind::Json,
        Kind::Float(Float::DOUBLE),
        Kind::Instant(6),
        Kind::Ordinal(1901..=2155),
        Kind::Numeric(None),
        Kind::Numeric(Some(-2)),
        Kind::Significant(15),
        Kind::Float(Float { single: true, scale: Some(2) }),
        Kind::Boolean,
        Kind::Short(Length::Characters(3)),
        Kind::Short(Length::Bytes(3)),
        Kind::Notation,
        Kind::Calendar(Calendar::Time),
        Kind::Calendar(Calendar::ZonedTime),
        Kind::Calendar(Calendar::Instant),
        Kind::Calendar(Calendar::Duration),
        Kind::Affine(Box::new(Kind::Text)),
        Kind::Multirange(Box::new(small())),
        labels(false),
        Kind::Bytes(None),
        Kind::Array(Box::new(Kind::Array(Box::new(Kind::Text), ',')), ','),
    ]
}

fn column(name: &str, kind: ColumnKind) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        sql_type: "x".to_owned(),
        required: false,
        takes_null: true,
        default_acts: false,
        counts_from_nothing: true,
        whole_digits: Some(4),
    }
}

fn table(kind: ColumnKind) -> Table {
    let range = i64::MIN..=i64::MAX;
    let columns = vec![column("id", ColumnKind::Integer(range.clone())), column("v", kind)];
    Table::plain("t", KeyKind::Integer(range), columns)
}

/// Whether a column of this kind can hold the text.
fn holds(kind: &ColumnKind, text: &str) -> bool {
    let decimal = || BigDecimal::from_str(text).ok();
    match kind {
        ColumnKind::Integer(range) | ColumnKind::Ordinal(range) => {
            text.parse().is_ok_and(|it: i64| range.contains(&it))
        }
        ColumnKind::Numeric(scale) => decimal().is_some_and(|it| {
            let (_, found) = it.normalized().as_bigint_and_exponent();
            it.is_zero() || scale.is_none_or(|scale| found <= i64::from(scale))
        }),
        ColumnKind::Significant(_) => decimal().is_some(),
        ColumnKind::Float(_) => text.parse::<f64>().is_ok_and(f64::is_finite),
        ColumnKind::Boolean => matches!(text, "true" | "false" | "0" | "1"),
        ColumnKind::Short(Length::Characters(most)) => text.trim_end().chars().count() <= *most,
        ColumnKind::Short(Length::Bytes(most)) => text.trim_end().len() <= *most,
        ColumnKind::Calendar(calendar) => calendar.reads(text),
        ColumnKind::Json => serde_json::from_str::<&RawValue>(text).is_ok(),
        ColumnKind::Labels { labels, several: false } => labels.iter().any(|it| it == text),
        ColumnKind::Labels { labels, several: true } => {
            text.is_empty() || text.split(',').all(|it| labels.iter().any(|label| label == it))
        }
        ColumnKind::Affine(inner) => holds(inner, text),
        // A text, or one in a notation of the database's.
        _ => !text.contains('\0'),
    }
}

fn run(input: &[u8]) -> u64 {
    let Some((which, value)) = input.split_first() else { return 0 };
    let kinds = kinds();
    let at = usize::from(which & 0x1f).wrapping_sub(1) % kinds.len();
    let kind = kinds[at].clone();
    let add = which.is_ascii_uppercase().then_some("v");
    let document = [b"{\"v\":", value, b"}"].concat();
    let Ok(change) = record::decode(Some(&document), add) else { return 1 };
    let table = table(kind.clone());
    let row = match Row::judge(&table, b"7", &change) {
        Ok(row) => row,
        Err(why) => return told(why, &[at, usize::from(add.is_some())]),
    };
    let cells = row.write.as_deref().unwrap_or_default();
    for (column, cell) in cells.iter().filter(|(column, _)| *column == 1) {
        assert_eq!(*column, 1);
        match cell {
            RowCell::Set(Some(text)) => assert!(holds(&kind, text), "{text:?} in {kind:?}"),
            RowCell::Set(None) => assert!(add.is_none()),
            RowCell::Add(text) => {
                assert!(BigDecimal::from_str(text).is_ok(), "{text:?} is added in {kind:?}");
            }
        }
    }
    let length = cells.iter().filter_map(|(_, cell)| cell.text()).map(str::len).sum();
    told("", &[at, usize::from(add.is_some()), cells.len(), length])
}
