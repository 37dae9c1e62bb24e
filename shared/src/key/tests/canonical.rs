//! A key has one spelling, and every other is refused.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn column(name: &str, kind: KeyKind) -> KeyColumn {
    KeyColumn { name: name.to_owned(), kind }
}

const INT4: RangeInclusive<i64> = i32::MIN as i64..=i32::MAX as i64;

#[derive(Serialize)]
struct PlayerId(u64);

#[derive(Serialize)]
struct Seat {
    tenant: &'static str,
    id: i64,
}

#[test]
fn keys_have_these_golden_bytes() {
    assert_eq!(encode(&42).unwrap(), b"42");
    assert_eq!(encode(&PlayerId(7)).unwrap(), b"7");
    assert_eq!(encode("abc").unwrap(), b"abc");
    assert_eq!(encode(&true).unwrap(), b"true");
    assert_eq!(encode(&Seat { tenant: "a\"\n", id: 7 }).unwrap(), br#"{"id":7,"tenant":"a\"\n"}"#);
    let uuid = Uuid::parse_str("0011AABB-2233-4455-8677-8899AABBCCDD").unwrap();
    assert_eq!(encode(&uuid).unwrap(), b"0011aabb-2233-4455-8677-8899aabbccdd");
}

#[test]
fn names_are_sorted_by_utf_16_units() {
    // The example of RFC 8785: U+FB33 sorts after U+1F600 in UTF-16, but before it in UTF-8.
    let key = BTreeMap::from([("\u{fb33}", 1), ("\u{1f600}", 2)]);
    assert_eq!(encode(&key).unwrap(), "{\"\u{1f600}\":2,\"\u{fb33}\":1}".as_bytes());
}

#[test]
fn a_value_without_a_canonical_text_is_not_a_key() {
    assert!(matches!(encode(&1.5), Err(KeyError::NotAKey(_))));
    assert!(matches!(encode(&()), Err(KeyError::NotAKey(_))));
    assert!(matches!(encode(&vec![1, 2]), Err(KeyError::NotAKey(_))));
    assert_eq!(encode(&(1, 2)), Err(KeyError::NoColumnNames));
    assert!(matches!(encode(&BTreeMap::from([("a", 1.5)])), Err(KeyError::NotAKey(_))));
    assert_eq!(encode("a\0b"), Err(KeyError::Nul));
    assert_eq!(encode(&BTreeMap::from([("a", "\0")])), Err(KeyError::Nul));
}

#[test]
fn only_the_canonical_text_of_the_type_is_read() {
    let accepts = |kind: KeyKind, text: &str| decode(text.as_bytes(), &[column("k", kind)]).is_ok();
    for (text, good) in
        [("42", true), ("-1", true), ("0", true), ("042", false), ("+1", false), ("-0", false)]
    {
        assert_eq!(accepts(KeyKind::Integer(INT4), text), good, "{text:?}");
    }
    assert!(!accepts(KeyKind::Integer(INT4), "2147483648"));
    assert!(!accepts(KeyKind::Integer(INT4), ""));
    assert!(accepts(KeyKind::Uuid, "0011aabb-2233-4455-8677-8899aabbccdd"));
    assert!(!accepts(KeyKind::Uuid, "0011AABB-2233-4455-8677-8899aabbccdd"));
    assert!(!accepts(KeyKind::Uuid, "0011aabb223344558677 8899aabbccdd"));
    assert!(accepts(KeyKind::Boolean, "true"));
    assert!(!accepts(KeyKind::Boolean, "t"));
    assert!(accepts(KeyKind::Date, "2024-02-29"));
    assert!(!accepts(KeyKind::Date, "2023-02-29"));
    assert!(!accepts(KeyKind::Date, "2023-2-9"));
    assert!(accepts(KeyKind::Text, ""));
    assert!(!accepts(KeyKind::Text, "a\0"));
    assert_eq!(decode(b"\xff", &[column("k", KeyKind::Text)]), Err(KeyError::NotUtf8));
}

#[test]
fn a_composite_key_must_be_canonical_and_complete() {
    let columns = [column("tenant", KeyKind::Text), column("id", KeyKind::Integer(INT4))];
    let read = |text: &str| decode(text.as_bytes(), &columns);
    assert_eq!(read(r#"{"id":7,"tenant":"a"}"#).unwrap(), ["a", "7"]);
    for text in [
        r#"{"tenant":"a","id":7}"#,
        r#"{"id": 7,"tenant":"a"}"#,
        r#"{"id":7,"tenant":"\u0061"}"#,
        r#"{"id":7.0,"tenant":"a"}"#,
        r#"{"id":"7","tenant":"a"}"#,
        r#"{"id":7}"#,
        r#"{"id":7,"tenant":"a","x":1}"#,
        r#"{"id":7,"other":"a"}"#,
        r#"{"id":7,"id":7,"tenant":"a"}"#,
        r#"{"id":null,"tenant":"a"}"#,
        "7",
        "",
    ] {
        assert!(read(text).is_err(), "{text:?} must be refused");
    }
}

proptest! {
    #[test]
    fn a_composite_key_is_read_as_it_was_written(tenant in "[^\0]{0,12}", id in any::<i32>()) {
        let columns = [column("tenant", KeyKind::Text), column("id", KeyKind::Integer(INT4))];
        let key = encode(&serde_json::json!({ "tenant": tenant, "id": id })).unwrap();
        prop_assert_eq!(decode(&key, &columns).unwrap(), [tenant, id.to_string()]);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(key: Vec<u8>) {
        let _ = decode(&key, &[column("k", KeyKind::Date)]);
        let _ = decode(&key, &[column("a", KeyKind::Text), column("b", KeyKind::Uuid)]);
    }
}

#[test]
fn a_key_that_no_index_takes_is_refused_by_both_sides() {
    let column = KeyColumn { name: "k".to_owned(), kind: KeyKind::Text };
    let longest = "k".repeat(KEY_BYTES_MAX);
    assert_eq!(encode(&longest).as_deref(), Ok(longest.as_bytes()));
    assert!(decode(longest.as_bytes(), std::slice::from_ref(&column)).is_ok());
    let longer = longest + "k";
    assert_eq!(encode(&longer), Err(KeyError::TooLong));
    assert_eq!(decode(longer.as_bytes(), &[column]), Err(KeyError::TooLong));
}
