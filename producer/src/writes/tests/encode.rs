//! Tests of what is sent, and of what is refused before anything changes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;
use write_behind_shared::Number;

use super::*;

fn encoder(key_columns: &[&str]) -> Encoder {
    let key_columns = key_columns.iter().map(|name| Box::from(*name)).collect();
    Encoder { key_columns, ..Encoder::plain(12, 1_000, 10_000) }
}

fn refused(row: &impl Serialize) -> Refusal {
    encoder(&[]).put(&7, row).unwrap_err()
}

#[test]
fn a_row_is_sent_as_serde_writes_it_under_its_canonical_key() {
    let write = encoder(&[]).put(&7, &json!({"n": 1, "t": "x"})).unwrap();
    assert_eq!(&*write.key, b"7");
    assert_eq!(write.value(), Some(br#"{"n":1,"t":"x"}"#.as_slice()));
    assert_eq!(write.partition, partition::partition_of(b"7", 12));
    assert_eq!(write.add, None);
}

#[test]
fn sets_and_increments_travel_in_one_record() {
    let change = Change::new().set("a", &1).unwrap().add("b", 2);
    let write = encoder(&[]).change(&"k", change).unwrap();
    assert_eq!(write.value(), Some(br#"{"a":1,"b":2}"#.as_slice()));
    assert_eq!(write.add.as_deref(), Some("b"));
    assert!(encoder(&[]).change(&"k", Change::delete()).unwrap().value().is_none());
}

#[test]
fn what_no_consumer_can_apply_is_refused() {
    assert_eq!(refused(&[1, 2]), Refusal::NotAnObject);
    assert_eq!(refused(&"text"), Refusal::NotAnObject);
    assert_eq!(refused(&json!({"t": "a\0b"})), Refusal::Nul);
    let nested = (0..70).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(refused(&json!({"deep": nested})), Refusal::TooDeep);
    assert_eq!(refused(&BTreeMap::from([("x", f64::NAN)])), Refusal::NotFinite);
    let keyed = encoder(&[]).put(&1.5, &json!({}));
    assert!(matches!(keyed, Err(Refusal::Key(_))));
    let change = Change::new().add("a,b", 1);
    assert_eq!(encoder(&[]).change(&1, change).unwrap_err(), Refusal::ColumnName("a,b".to_owned()));
    let twice = Change::new().set("a", &1).unwrap().add("a", Number::from(1));
    assert_eq!(encoder(&[]).change(&1, twice).unwrap_err(), Refusal::NotOneRecord);
}

#[test]
fn what_is_too_large_for_a_record_or_for_the_limit_is_refused() {
    let large = json!({"t": "x".repeat(1_000)});
    assert!(matches!(refused(&large), Refusal::TooLarge { limit: 1_000, .. }));
    let tight = Encoder { pending_bytes: 300, ..encoder(&[]) };
    let refusal = tight.put(&7, &json!({"n": 1})).unwrap_err();
    assert!(matches!(refusal, Refusal::TooLarge { limit: 300, .. }));
}

#[derive(Serialize)]
struct Seat {
    tenant: String,
    id: i64,
}

#[derive(Serialize)]
struct SeatId(Seat);

fn seat() -> SeatId {
    SeatId(Seat { tenant: "a".to_owned(), id: 7 })
}

/// A put, an update and an increment, each of `column` alone.
fn each_kind<K: Serialize + ?Sized>(
    encoder: &Encoder,
    key: &K,
    column: &str,
    value: &serde_json::Value,
) -> [Result<Prepared, Refusal>; 3] {
    let row = BTreeMap::from([(column, value), ("other", &serde_json::Value::Null)]);
    let change = Change::new().set(column, value).unwrap().add("n", 1);
    [encoder.put(key, &row), encoder.update(key, &row), encoder.change(key, change)]
}

#[track_caller]
fn holds_to<K: Serialize + ?Sized>(
    encoder: &Encoder,
    key: &K,
    column: &str,
    (agreeing, other): (serde_json::Value, serde_json::Value),
) {
    for written in each_kind(encoder, key, column, &agreeing) {
        written.unwrap();
    }
    for other in [other, json!(null), json!([1]), json!(1.5)] {
        for written in each_kind(encoder, key, column, &other) {
            let refusal = written.unwrap_err();
            let expected =
                Refusal::KeyColumn { column: column.to_owned(), says: other.to_string() };
            assert_eq!(refusal, expected);
        }
    }
    let added = encoder.change(key, Change::new().add(column, 1)).unwrap_err();
    assert!(matches!(&added, Refusal::KeyColumn { column: at, .. } if at == column), "{added}");
}

#[test]
fn a_key_column_is_repeated_as_it_is_in_the_key_or_refused() {
    let uuid = Uuid::from_u128(7);
    let one = encoder(&["id"]);
    holds_to(&one, &7, "id", (json!(7), json!(8)));
    holds_to(&one, &7, "id", (json!("7"), json!("07")));
    holds_to(&one, "a\"b", "id", (json!("a\"b"), json!("a")));
    holds_to(&one, &uuid, "id", (json!(uuid), json!(Uuid::nil())));
    holds_to(&one, &true, "id", (json!(true), json!(false)));
    let two = encoder(&["tenant", "id"]);
    holds_to(&two, &("a", 7), "id", (json!(7), json!(8)));
    holds_to(&two, &("a", 7), "tenant", (json!("a"), json!("b")));
    holds_to(&two, &seat(), "tenant", (json!("a"), json!("b")));
}

#[test]
fn a_struct_or_a_map_knows_its_columns_itself() {
    let unnamed = encoder(&[]);
    holds_to(&unnamed, &seat(), "id", (json!(7), json!(8)));
    holds_to(&unnamed, &seat().0, "tenant", (json!("a"), json!("b")));
    holds_to(&unnamed, &BTreeMap::from([("a", 1), ("b", 2)]), "b", (json!(2), json!(1)));
}

#[test]
fn what_only_looks_like_a_key_column_is_let_through() {
    let named = encoder(&["id"]);
    for row in [json!({"id2": 8}), json!({"a": {"id": 8}}), json!({"a": "id"}), json!({"a": "\\"})]
    {
        named.put(&7, &row).unwrap();
    }
    // Nobody said what the column is called, so nothing can be held against it.
    encoder(&[]).put(&7, &json!({"id": 8})).unwrap();
}

#[test]
fn a_tuple_needs_names_for_its_columns_and_says_which_setting_gives_them() {
    let written = encoder(&["tenant", "id"]).put(&("a", 7), &json!({})).unwrap();
    assert_eq!(&*written.key, br#"{"id":7,"tenant":"a"}"#);
    for refusal in [
        encoder(&[]).put(&("a", 7), &json!({})).unwrap_err(),
        encoder(&["tenant", "id"]).put(&("a", 7, 8), &json!({})).unwrap_err(),
        encoder(&["tenant", "id"]).delete(&7).unwrap_err(),
        encoder(&["owner", "id"]).delete(&seat()).unwrap_err(),
    ] {
        assert!(refusal.to_string().contains("`key_columns`"), "{refusal}");
    }
}

#[test]
fn a_field_that_is_none_is_null_and_one_that_is_skipped_is_left_alone() {
    #[derive(Serialize)]
    struct Fields {
        name: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        score: Option<i64>,
    }
    let sent = |name, score| {
        let write = encoder(&[]).update(&7, &Fields { name, score }).unwrap();
        String::from_utf8(write.value().unwrap().to_vec()).unwrap()
    };
    assert_eq!(sent(None, None), r#"{"name":null}"#);
    assert_eq!(sent(Some("a"), Some(1)), r#"{"name":"a","score":1}"#);
    let map = BTreeMap::from([("name", None::<i8>)]);
    let write = encoder(&[]).update(&7, &map).unwrap();
    assert_eq!(write.value(), Some(br#"{"name":null}"#.as_slice()));
}

#[test]
fn a_row_that_writes_another_row_while_it_is_written_disturbs_nothing() {
    struct Nosy;
    impl Serialize for Nosy {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            encoder(&[]).put(&8, &json!({"inner": "longer than the outer one"})).unwrap();
            serializer.collect_map([("a", 1)])
        }
    }
    let write = encoder(&[]).put(&7, &Nosy).unwrap();
    assert_eq!((&*write.key, write.value()), (&b"7"[..], Some(&br#"{"a":1}"#[..])));
}
