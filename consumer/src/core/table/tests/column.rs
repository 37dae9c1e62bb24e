//! Which values fit which column.

use super::*;
use crate::core::table::Length;
use crate::core::table::calendar::{Calendar, Eras};

fn fits(kind: &ColumnKind, json: &str) -> String {
    let text = text_of(kind, json).unwrap_or_else(|why| panic!("{json} must fit: {why}"));
    text.unwrap().into_owned()
}

fn refused(kind: &ColumnKind, jsons: &[&str]) {
    for json in jsons {
        assert!(text_of(kind, json).is_err(), "{json} must not fit {kind:?}");
    }
}

#[test]
fn null_fits_every_column() {
    for kind in [ColumnKind::Text, ColumnKind::Json, ColumnKind::Boolean, ColumnKind::Instant(6)] {
        assert_eq!(text_of(&kind, "null"), Ok(None));
    }
}

#[test]
fn an_integer_is_a_json_integer_or_its_text_in_the_columns_range() {
    let int2 = ColumnKind::Integer(-32768..=32767);
    assert_eq!(fits(&int2, "42"), "42");
    assert_eq!(fits(&int2, r#""-32768""#), "-32768");
    refused(&int2, &["32768", "1.0", "1e2", r#""042""#, r#""""#, "true", "[1]", "\"1\u{a0}\""]);
    let int8 = ColumnKind::Integer(i64::MIN..=i64::MAX);
    refused(&int8, &["9223372036854775808", "1e999999999"]);
}

#[test]
fn a_numeric_keeps_every_digit() {
    let numeric = ColumnKind::Numeric(None);
    assert_eq!(fits(&numeric, "0.10000000000000000000001"), "0.10000000000000000000001");
    assert_eq!(fits(&numeric, r#""12.50""#), "12.50");
    assert_eq!(fits(&numeric, "1e3"), "1e3");
    refused(&numeric, &[r#""NaN""#, "true", r#""1,5""#, "1e999999999"]);
}

#[test]
fn a_number_finer_than_the_column_is_refused_and_not_rounded() {
    let cents = ColumnKind::Numeric(Some(2));
    for kept in ["1.25", "1.250", "125e-2", "1e3", "-0.00"] {
        assert_eq!(fits(&cents, kept), kept);
    }
    refused(&cents, &["1.005", r#""0.001""#, "1e-3"]);
    let hundreds = ColumnKind::Numeric(Some(-2));
    assert_eq!(fits(&hundreds, "12300"), "12300");
    refused(&hundreds, &["12345", "0.5"]);
}

#[test]
fn a_text_that_its_column_would_cut_off_is_refused_spaces_at_its_end_included() {
    let two = ColumnKind::Short(Length::Characters(2));
    for kept in ["", "US", "é😀", "  "] {
        assert_eq!(fits(&two, &format!("{kept:?}")), kept);
    }
    refused(&two, &[r#""US ""#, r#""abc""#, r#""   ""#, "7"]);
    refused(&ColumnKind::Short(Length::Bytes(2)), &[r#""é ""#, r#""😀""#]);
    assert!(unfit_key(&two, "US ").is_some() && unfit_key(&two, "US").is_none());
}

#[test]
fn a_text_that_its_column_would_make_a_number_of_is_refused() {
    let time = ColumnKind::Affine(Box::new(ColumnKind::Notation));
    assert_eq!(fits(&time, r#""09:30""#), "09:30");
    refused(&time, &[r#""0930""#, r#""1e3""#, r#"" 7 ""#, r#"".5""#, "7"]);
    let json = ColumnKind::Affine(Box::new(ColumnKind::Json));
    for kept in ["7", "1.50", r#""0930""#, r#"{"a": 12345678901234567890123}"#] {
        assert_eq!(fits(&json, kept), kept);
    }
    refused(&json, &["12345678901234567890123", "0.1234567890123456", "1e400"]);
    assert!(unfit_key(&time, "0930").is_some() && unfit_key(&time, "x").is_none());
}

#[test]
fn nothing_is_added_to_an_ordinal() {
    let year = ColumnKind::Ordinal(1901..=2155);
    assert_eq!(fits(&year, "2013"), "2013");
    assert_eq!(fits(&year, r#""2013""#), "2013");
    refused(&year, &["70", r#""70""#, "0", r#""2013.0""#]);
}

#[test]
fn a_float_is_a_number_in_range() {
    let double = ColumnKind::Float(Float::DOUBLE);
    assert_eq!(fits(&double, "-1.5e-3"), "-1.5e-3");
    assert_eq!(fits(&double, "1e39"), "1e39");
    refused(&double, &["1e400", "1e-400", r#""1.5""#, r#""NaN""#]);
    refused(&ColumnKind::Float(Float { single: true, scale: None }), &["1e39", "1e-46"]);
    let cents = ColumnKind::Float(Float { single: false, scale: Some(2) });
    assert_eq!(fits(&cents, "1.230"), "1.230");
    refused(&cents, &["1.234", "1e-3"]);
}

#[test]
fn text_is_a_string_that_a_text_column_can_hold() {
    assert_eq!(fits(&ColumnKind::Text, r#""a\"\né\ud83d\ude00""#), "a\"\né😀");
    assert_eq!(fits(&ColumnKind::Text, r#""\\u0000""#), r"\u0000");
    refused(&ColumnKind::Text, &[r#""a\u0000""#, r#""\ud83d""#, "1", "{}"]);
    refused(&ColumnKind::Notation, &["20130101", r#""\u0000""#]);
}

#[test]
fn an_instant_is_rfc_3339_and_nothing_relative() {
    for json in [
        r#""2013-01-01T10:00:00Z""#,
        r#""2013-12-31t23:59:59.25+05:30""#,
        r#""2013-01-01 00:00:00z""#,
        r#""infinity""#,
        r#""-infinity""#,
    ] {
        let _ = fits(&ColumnKind::Instant(6), json);
    }
    let bad = [
        r#""now""#,
        r#""2013-01-01""#,
        r#""2013-01-01T10:00:00""#,
        r#""2013-13-01T10:00:00Z""#,
        r#""2013-01-01T10:00:00.Z""#,
        r#""2013-01-01T10:00:00+0530""#,
        r#""2013-12-31T23:59:60Z""#,
        "1357034400",
    ];
    refused(&ColumnKind::Instant(6), &bad);
}

#[test]
fn json_is_kept_as_written_unless_text_cannot_hold_it() {
    assert_eq!(fits(&ColumnKind::Json, r#"{"a":[1, 2.50]}"#), r#"{"a":[1, 2.50]}"#);
    assert_eq!(
        fits(&ColumnKind::Json, r#"["\ud83d\ude00","\\ud83d"]"#),
        r#"["\ud83d\ude00","\\ud83d"]"#
    );
    refused(&ColumnKind::Json, &[r#"{"a":"\u0000"}"#, r#"["\ud83d"]"#, r#"["\ude00\ud83d"]"#]);
}

#[test]
fn bytes_are_base64() {
    let bytes = ColumnKind::Bytes(None);
    assert_eq!(fits(&bytes, r#""AP+A""#), r"\x00ff80");
    assert_eq!(fits(&bytes, r#""""#), r"\x");
    refused(&bytes, &[r#""A""#, r#""!!""#, "[0]"]);
    refused(&ColumnKind::Bytes(Some(2)), &[r#""AP+A""#, r#""AA==""#]);
}

#[test]
fn an_arrays_elements_are_judged_and_quoted() {
    let array = |element| ColumnKind::Array(Box::new(element), ',');
    let texts = array(ColumnKind::Text);
    assert_eq!(fits(&texts, r#"["a,b", null, "NULL", "q\"\\"]"#), r#"{"a,b",NULL,"NULL","q\"\\"}"#);
    assert_eq!(fits(&texts, "[]"), "{}");
    let integers = array(ColumnKind::Integer(0..=9));
    assert_eq!(fits(&integers, "[[1,2],[3,4]]"), r#"{{"1","2"},{"3","4"}}"#);
    refused(&integers, &["[10]", r#"["a"]"#, "{}", "1", "[[]]"]);
    assert_eq!(fits(&array(ColumnKind::Json), "[[1],{}]"), r#"{"[1]","{}"}"#);
    assert_eq!(fits(&array(integers), "[[1,2],[]]"), r#"{"{\"1\",\"2\"}","{}"}"#);
    let boxes = ColumnKind::Array(Box::new(ColumnKind::Notation), ';');
    assert_eq!(
        fits(&boxes, r#"["(1,1),(0,0)","(2,2),(0,0)"]"#),
        r#"{"(1,1),(0,0)";"(2,2),(0,0)"}"#
    );
    let ranges = array(ColumnKind::Range(Box::new(ColumnKind::Instant(6))));
    assert!(text_of(&ranges, r#"["[2013-01-01T00:00:00Z,)", null]"#).is_ok());
    refused(&ranges, &[r#"["[now,)"]"#, r#"[["[2013-01-01,)"]]"#]);
}

#[test]
fn a_reason_shows_no_more_of_a_value_than_is_needed() {
    let why = text_of(&ColumnKind::Boolean, &format!("\"{}\"", "x".repeat(100_000)))
        .unwrap_err()
        .to_string();
    assert!(why.len() < 200, "{} bytes", why.len());
}

#[test]
fn a_date_is_one_that_does_not_depend_on_when_it_is_applied() {
    let date = ColumnKind::Calendar(Calendar::Date(Eras::All));
    assert_eq!(fits(&date, r#""2013-01-31""#), "2013-01-31");
    refused(&date, &[r#""now""#, r#""Today""#, r#""tomorrow 10:00""#, r#""yesterday""#, "7"]);
}

#[test]
fn what_a_column_of_floats_keeps_is_its_first_digits_or_a_whole_integer() {
    let fifteen = ColumnKind::Significant(15);
    for kept in
        ["0", "-12.5", "0.000123456789012345", "123456789012345e3", "1.50000000000000000000"]
    {
        assert_eq!(fits(&fifteen, kept), kept);
    }
    assert_eq!(fits(&fifteen, r#""9223372036854775807""#), "9223372036854775807");
    refused(&fifteen, &["0.1234567890123456", "9223372036854775808", "1e400", r#""x""#]);
}

#[test]
fn a_label_is_one_of_the_columns_and_a_set_is_several() {
    let kind = |several| {
        let labels = vec!["low".to_owned(), "high".to_owned()];
        ColumnKind::Labels { labels, several }
    };
    assert_eq!(fits(&kind(false), r#""low""#), "low");
    refused(&kind(false), &[r#""""#, r#""LOW""#, r#""low,high""#, "1"]);
    assert_eq!(fits(&kind(true), r#""low,high""#), "low,high");
    assert_eq!(fits(&kind(true), r#""""#), "");
    refused(&kind(true), &[r#""low,middle""#, r#"",""#]);
}
