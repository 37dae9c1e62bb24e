//! Keys of every shape that serde knows, held against golden bytes and a model.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};

use proptest::prelude::*;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::key::encode;

/// The model: the key as a tree, the tree as canonical text.
fn model<K: Serialize + ?Sized>(key: &K) -> Result<String, KeyError> {
    let refused = |what: String| KeyError::NotAKey(what);
    let tree = serde_json::to_value(key).map_err(|error| refused(error.to_string()))?;
    let is_scalar = |value: &Value| match value {
        Value::String(_) | Value::Bool(_) => true,
        Value::Number(number) => !number.is_f64(),
        _ => false,
    };
    let text = match tree {
        Value::String(text) if text.contains('\0') => return Err(KeyError::Nul),
        Value::String(text) => return Ok(text),
        Value::Object(columns) if !columns.is_empty() && columns.values().all(is_scalar) => {
            let mut columns: Vec<_> = columns.into_iter().collect();
            columns.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            let members = columns
                .into_iter()
                .map(|(name, value)| format!("{}:{value}", Value::String(name)))
                .collect::<Vec<_>>();
            format!("{{{}}}", members.join(","))
        }
        scalar if is_scalar(&scalar) => scalar.to_string(),
        other => return Err(refused(other.to_string())),
    };
    if json::spells_nul(&text) { Err(KeyError::Nul) } else { Ok(text) }
}

/// Asserts that `key` is written as the model writes it, and refused as the model refuses it.
fn agrees<K: Serialize + ?Sized + fmt::Debug>(key: &K) {
    let written = encode(key).map(|text| String::from_utf8(text).unwrap());
    match (written, model(key)) {
        (Ok(written), Ok(expected)) => assert_eq!(written, expected, "{key:?}"),
        (Err(_), Err(_)) => {}
        (written, expected) => panic!("{key:?}: {written:?}, but {expected:?}"),
    }
}

#[derive(Serialize, Debug)]
struct Wrapped<'k, K> {
    z: i8,
    inner: &'k K,
    a: bool,
}

#[derive(Serialize, Debug)]
struct Newtype<'k, K>(&'k K);

/// Asserts the same of a key by itself, wrapped, and as a column.
fn agrees_anywhere<K: Serialize + fmt::Debug>(key: &K) {
    agrees(key);
    agrees(&Some(key));
    agrees(&Newtype(key));
    agrees(&BTreeMap::from([("z", key), ("a", key)]));
    agrees(&Wrapped { z: -1, inner: key, a: true });
}

#[derive(Serialize, Debug)]
struct Unit;

#[derive(Serialize, Debug)]
enum Choice {
    Nothing,
    One(i64),
    Two(i64, i64),
    Named { id: i64 },
}

/// Serializes itself by `Display`, as dates do.
#[derive(Debug)]
struct Shown(String);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}", self.0))
    }
}

/// A map that names a column twice, as two flattened structs can.
#[derive(Debug)]
struct Twice(i64, i64);

impl Serialize for Twice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for value in [self.0, self.1] {
            map.serialize_entry("id", &value)?;
        }
        map.end()
    }
}

#[test]
fn every_shape_is_written_or_refused_as_the_model_says() {
    agrees_anywhere(&());
    agrees_anywhere(&Unit);
    agrees_anywhere(&None::<i8>);
    agrees_anywhere(&Choice::Nothing);
    agrees_anywhere(&Choice::One(1));
    agrees_anywhere(&Choice::Two(1, 2));
    agrees_anywhere(&Choice::Named { id: 1 });
    agrees_anywhere(&Twice(1, 2));
    agrees_anywhere(&vec![1]);
    agrees_anywhere(&(1, "a"));
    agrees_anywhere(&[0_u8; 16]);
    agrees_anywhere(&f64::NAN);
    agrees_anywhere(&1.5_f32);
    agrees_anywhere(&i128::MAX);
    agrees_anywhere(&u128::MAX);
    agrees_anywhere(&i128::from(u64::MAX));
    agrees_anywhere(&i128::from(i64::MIN));
    agrees_anywhere(&HashMap::<String, i8>::new());
    agrees_anywhere(&serde_json::json!({"b": 1, "a": {"c": 2}}));
    agrees(&BTreeMap::from([(u128::MAX, 1)]));
    agrees(&BTreeMap::from([(true, 1), (false, 2)]));
    agrees(&BTreeMap::from([('\u{fb33}', 1), ('\u{1f600}', 2), ('a', 3)]));
    agrees(&BTreeMap::from([(Some("a"), 1)]));
    agrees(&BTreeMap::from([("a\0", 1)]));
}

#[test]
fn a_text_that_only_looks_like_an_escaped_nul_is_a_key() {
    assert_eq!(encode(r"a\u0000").unwrap(), br"a\u0000");
    agrees(&BTreeMap::from([("t", r"\u0000")]));
}

#[test]
fn a_writer_forgets_the_previous_key() {
    let mut writer = KeyWriter::default();
    assert_eq!(writer.write(&Twice(1, 2), &[]).unwrap(), br#"{"id":2}"#);
    assert!(writer.write(&(1, "\0"), &names(&["a", "b"])).is_err());
    assert_eq!(writer.write(&7, &[]).unwrap(), b"7");
    assert!(!writer.names_columns());
}

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| Box::from(*name)).collect()
}

fn written<K: Serialize>(key: &K, columns: &[&str]) -> Result<String, KeyError> {
    let mut writer = KeyWriter::default();
    writer.write(key, &names(columns)).map(|text| String::from_utf8(text.to_vec()).unwrap())
}

/// A key's bytes decide its partition, so they must never change. `golden.txt` holds each key by
/// itself, with one column named, as a column of a struct, and as a value of a tuple.
#[test]
fn keys_of_every_shape_have_these_bytes() {
    let mut keys = String::new();
    macro_rules! golden {
        ($($key:expr),* $(,)?) => {$(
            let in_struct = Wrapped { z: -1, inner: &$key, a: true };
            let all = [
                written(&$key, &[]),
                written(&$key, &["id"]),
                written(&in_struct, &["a", "z", "inner"]),
                written(&($key, "b\""), &["id", "\u{1f600}"]),
            ];
            let all = all.map(|key| key.unwrap_or_else(|why| {
                format!("{why:?}").split(['(', ' ']).take(1).collect()
            }));
            writeln!(keys, "{:?} | {}", $key, all.join(" | ")).unwrap();
        )*};
    }
    golden!(
        0,
        -7_i8,
        u64::MAX,
        i64::MIN,
        i128::from(u64::MAX),
        i128::MIN,
        u128::MAX,
        true,
        1.5,
        f64::NAN,
        '\u{fb33}',
        "",
        "a\"\\/\u{8}\u{c}\n\r\t\u{1f}\u{7f}\u{1f600}",
        "a\0b",
        Shown("2024-02-29\n".to_owned()),
        Shown("\0".to_owned()),
        Uuid::from_u128(0xab),
        (),
        Unit,
        None::<i8>,
        Some("a"),
        Newtype(&1),
        Choice::Nothing,
        Choice::One(1),
        Choice::Two(1, 2),
        Choice::Named { id: 1 },
        Twice(1, 2),
        Vec::<i8>::new(),
        vec![1, 2],
        vec![(1, 2)],
        [0_u8; 2],
        (1, "a"),
        ("a", (1, 2)),
        ("a",),
        [0_u8; 0],
        Wrapped { z: 1, inner: &"", a: true },
        BTreeMap::from([("id", 1), ("a", 2)]),
        BTreeMap::from([(-3, 'x'), (20, 'y'), (100, 'z')]),
        BTreeMap::from([('\u{fb33}', 1), ('\u{1f600}', 2), ('"', 3)]),
        BTreeMap::from([(false, 1)]),
        BTreeMap::from([(u128::MAX, 1)]),
        BTreeMap::from([(Some("a"), 1)]),
        BTreeMap::from([("a\0", 1)]),
        BTreeMap::from([("a", BTreeMap::from([("b", 1)]))]),
        serde_json::json!({"b": 1, "a": "c"}),
        serde_json::json!([1, 2]),
        serde_json::json!(-1),
    );
    assert_eq!(keys, include_str!("golden.txt"));
}

#[derive(Serialize)]
struct Seat {
    tenant: &'static str,
    id: i64,
}

#[test]
fn a_tuple_gets_the_names_given_for_it() {
    #[derive(Serialize)]
    struct Pair(&'static str, u8);
    let both = ["tenant", "id"];
    assert_eq!(written(&("a", 7), &both).unwrap(), r#"{"id":7,"tenant":"a"}"#);
    assert_eq!(written(&Pair("a\"", 7), &both).unwrap(), r#"{"id":7,"tenant":"a\""}"#);
    assert_eq!(written(&("a", Uuid::nil(), true), &["z", "y", "x"]).unwrap(), {
        r#"{"x":true,"y":"00000000-0000-0000-0000-000000000000","z":"a"}"#
    });
    assert_eq!(written(&("a", 7), &[]), Err(KeyError::NoColumnNames));
    assert_eq!(written(&("a", 7, 8), &both), Err(KeyError::ColumnCount { named: 2, parts: 3 }));
    assert_eq!(written(&("a",), &both), Err(KeyError::ColumnCount { named: 2, parts: 1 }));
    let refused = written(&("a", 7), &[]).unwrap_err().to_string();
    assert!(refused.contains("`key_columns`"), "{refused}");
    assert!(
        matches!(written(&("a", 1.5), &both), Err(KeyError::NotAKey(what)) if what.contains("id"))
    );
}

#[test]
fn one_named_column_is_plain_text_whatever_holds_it() {
    #[derive(Serialize)]
    struct Id {
        id: &'static str,
    }
    assert_eq!(written(&7, &["id"]).unwrap(), "7");
    assert_eq!(written(&("a\"b",), &["id"]).unwrap(), "a\"b");
    assert_eq!(written(&Id { id: "a\"b" }, &["id"]).unwrap(), "a\"b");
    assert_eq!(written(&Shown("x".to_owned()), &["id"]).unwrap(), "x");
    assert_eq!(written(&7, &["a", "b"]), Err(KeyError::ColumnCount { named: 2, parts: 1 }));
    assert_eq!(written(&Shown("x".to_owned()), &["a", "b"]), {
        Err(KeyError::ColumnCount { named: 2, parts: 1 })
    });
}

#[test]
fn a_struct_must_have_exactly_the_columns_named() {
    let seat = Seat { tenant: "a", id: 7 };
    assert_eq!(written(&seat, &["tenant", "id"]).unwrap(), r#"{"id":7,"tenant":"a"}"#);
    assert_eq!(written(&seat, &["id", "tenant"]).unwrap(), r#"{"id":7,"tenant":"a"}"#);
    for other in [&["id"] as &[&str], &["id", "owner"], &["id", "tenant", "x"]] {
        let refused = written(&seat, other).unwrap_err();
        assert!(matches!(refused, KeyError::OtherColumns { .. }), "{refused}");
    }
}

#[test]
fn a_key_column_in_a_row_is_compared_with_the_key() {
    let mut writer = KeyWriter::default();
    writer.write(&("a\"b", 7, true), &names(&["t", "n", "b"])).unwrap();
    for (name, value) in [("t", r#""a\"b""#), ("t", r#""a\u0022b""#), ("n", "7"), ("n", r#""7""#)] {
        assert!(!writer.disagrees(name, value), "{name}: {value}");
    }
    assert!(!writer.disagrees("other", "1"));
    for (name, value) in
        [("t", r#""a""#), ("t", "null"), ("n", "8"), ("n", "7.0"), ("b", "false"), ("n", "[7]")]
    {
        assert!(writer.disagrees(name, value), "{name}: {value}");
    }
    writer.write("null", &names(&["id"])).unwrap();
    assert!(!writer.disagrees("id", r#""null""#));
    assert!(writer.disagrees("id", "null"), "SQL's NULL is not the text");
    assert!(writer.may_repeat(r#"{"id":1}"#) && writer.may_repeat(r#"{"i\u0064":1}"#));
    assert!(!writer.may_repeat(r#"{"name":1}"#));
}

proptest! {
    #[test]
    fn integers_and_booleans_are_written_as_the_model_says(
        signed: i64, unsigned: u64, small: i8, wide: i128, boolean: bool
    ) {
        agrees_anywhere(&signed);
        agrees_anywhere(&unsigned);
        agrees_anywhere(&small);
        agrees_anywhere(&wide);
        agrees_anywhere(&boolean);
        agrees(&BTreeMap::from([(signed, small)]));
    }

    #[test]
    fn texts_are_written_as_the_model_says(text in any::<String>(), char: char, uuid: u128) {
        agrees_anywhere(&text);
        agrees_anywhere(&char);
        agrees_anywhere(&Uuid::from_u128(uuid));
        agrees_anywhere(&Shown(text));
    }

    #[test]
    fn columns_are_sorted_and_spelled_as_the_model_says(
        texts in prop::collection::hash_map(any::<String>(), any::<String>(), 0..6),
        floats in prop::collection::vec(any::<f64>(), 0..3),
        numbers in prop::collection::hash_map("[a-c\u{e000}\u{10000}\"\\\\\n\u{7f}]{0,3}", any::<i64>(), 0..6),
    ) {
        agrees(&texts);
        agrees(&numbers);
        agrees(&floats);
    }

    /// Canonical text is unique: equal keys have equal bytes, however they are given.
    #[test]
    fn a_tuple_is_written_as_the_map_of_its_names(tenant in "\\PC{0,8}", id: u64) {
        let map = serde_json::json!({ "tenant": tenant, "id": id });
        let tuple = written(&(&tenant, id), &["tenant", "id"]).unwrap();
        prop_assert_eq!(tuple.into_bytes(), encode(&map).unwrap());
    }
}
