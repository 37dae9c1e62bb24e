//! Values of any kind in columns of every documented type: what is taken is read back equal.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use write_behind_consumer::core::table::ColumnKind;
use write_behind_consumer::store::snapshot::Snapshot as _;
use write_behind_shared::Number;

use super::types::{setting, table_of_every_type};
use super::*;

/// How many values each column is given.
const VALUES: usize = 8;

/// JSON that may fit a column of this kind, or only nearly.
fn json(kind: &ColumnKind) -> BoxedStrategy<String> {
    let number = "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?(e[+-]?[0-9]{1,2})?";
    let short = "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,3})?(e-?[0-3])?";
    let number = prop_oneof![number, short, "-?[1-9][0-9]{0,9}"].boxed();
    let moment = "(20[0-4][0-9]-[01][0-9]-[0-3][0-9])?[T ]?([012][0-9]:[0-5][0-9](:[0-6][0-9]\
                  (\\.[0-9]{1,9})?)?)?(Z|[+-]0[0-9](:[0-5]0)?)?";
    let text = prop_oneof![
        2 => "[a-zA-Zé😀 .'\\\\\"]{0,6}",
        1 => "[0-9+.e -]{0,5}",
        1 => "(sad|ok|a|b|x|US)[ ,]?(a|b)?",
    ];
    let texts =
        prop_oneof![text, number.clone(), moment].prop_map(|text| Value::from(text).to_string());
    let texts = texts.boxed();
    match kind {
        ColumnKind::Integer(_)
        | ColumnKind::Ordinal(_)
        | ColumnKind::Numeric(_)
        | ColumnKind::Significant(_)
        | ColumnKind::Float(_) => {
            let quoted = number.clone().prop_map(|number| format!("\"{number}\""));
            prop_oneof![3 => number, 1 => quoted].boxed()
        }
        ColumnKind::Boolean => prop_oneof!["true", "false", "0", "1"].boxed(),
        ColumnKind::Affine(kind) => json(kind),
        ColumnKind::Json => {
            let array = prop::collection::vec(number.clone(), 0..3);
            let array = array.prop_map(|numbers| format!("{{\"a\":[{}]}}", numbers.join(",")));
            prop_oneof![texts, number, array].boxed()
        }
        ColumnKind::Array(element, _) => prop::collection::vec(json(element), 0..4)
            .prop_map(|elements| format!("[{}]", elements.join(",")))
            .boxed(),
        ColumnKind::Bytes(_) => "\"([A-Za-z0-9+/]{4}){0,2}\"".boxed(),
        _ => texts,
    }
}

/// Whether a column of this kind that is `declared` so shows `json` as `text`; for a kind whose
/// notation is the database's own, it is left to the database's comparison.
fn shows(kind: &ColumnKind, declared: &str, json: &str, text: &str) -> bool {
    let plain = || match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        _ => json.to_owned(),
    };
    match kind {
        ColumnKind::Integer(_)
        | ColumnKind::Ordinal(_)
        | ColumnKind::Numeric(_)
        | ColumnKind::Significant(_) => {
            // ZEROFILL has no other zeros before a digit.
            let digits = text.trim_start_matches('0');
            let natural = digits.starts_with(|letter: char| letter.is_ascii_digit());
            let shown = if natural {
                digits
            } else if digits.is_empty() {
                "0"
            } else {
                text
            };
            shown.parse::<Number>().unwrap() == plain().parse().unwrap()
        }
        ColumnKind::Float(float) if float.single => {
            // A database may show fewer digits than tell it from its neighbours.
            let (shown, written): (f32, f32) = (text.parse().unwrap(), json.parse().unwrap());
            (shown - written).abs() <= written.abs() * 1e-5
        }
        ColumnKind::Float(_) => {
            let (shown, written): (f64, f64) = (text.parse().unwrap(), json.parse().unwrap());
            (shown - written).abs() <= written.abs() * 1e-14
        }
        ColumnKind::Boolean => ["true", "1"].contains(&text) == (json == "true"),
        ColumnKind::Text if declared.to_lowercase().starts_with("char(3)") => {
            plain().trim_end_matches(' ') == text.trim_end_matches(' ')
        }
        ColumnKind::Affine(kind) if **kind == ColumnKind::Json => {
            plain() == text || json == text || json.parse::<Number>() == text.parse::<Number>()
        }
        ColumnKind::Text
        | ColumnKind::Short(_)
        | ColumnKind::Affine(_)
        | ColumnKind::Labels { several: false, .. } => plain() == text,
        _ => true,
    }
}

pub async fn a_value_of_any_kind_is_read_back_equal_or_is_bad(lab: impl Lab) {
    let (mut bench, types) = table_of_every_type(lab).await;
    let mut runner = TestRunner::new(Config::default());
    let mut taken = 0;
    // Their errors are those of a statement's syntax: a row alone is not found to be their cause.
    let told_as_syntax = ["hstore", "jsonpath", "ltree", "tsquery", "tsvector"];
    for (column, declared) in types {
        if told_as_syntax.contains(&&*declared) {
            continue;
        }
        let Some(place) = bench.table.column(&column) else { continue };
        let kind = bench.table.columns[place].kind.clone();
        for _ in 0..VALUES {
            let json = json(&kind).new_tree(&mut runner).unwrap().current();
            if bench.is_bad("1", setting(&column, &json)).await {
                continue;
            }
            taken += 1;
            if !matches!(kind, ColumnKind::Bytes(_)) {
                let text = bench.table(&[&column]).await.remove(0);
                assert!(shows(&kind, &declared, &json, &text), "{declared} shows {json} as {text}");
            }
            let change = setting(&column, &json);
            let row = Row::judge(&bench.table, b"1", &change).unwrap();
            let differs = bench.store.compare(&bench.table, &[place], &[&row]).await.unwrap();
            assert_eq!(differs, [], "{declared} holds {json} as it was written");
        }
    }
    assert!(taken > 30, "{taken} values were taken");
}
