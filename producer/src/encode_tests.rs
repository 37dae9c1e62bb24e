//! Tests of what is sent, and of what is refused before anything changes.

use serde::Serialize;
use serde_json::json;
use write_behind_shared::Number;

use super::*;

const LIMITS: Limits = Limits { partitions: 12, record_bytes: 1_000, pending_bytes: 10_000 };

fn refused(row: &impl Serialize) -> Refusal {
    LIMITS.put(&7, row).unwrap_err()
}

#[test]
fn a_row_is_sent_as_serde_writes_it_under_its_canonical_key() {
    let write = LIMITS.put(&7, &json!({"n": 1, "t": "x"})).unwrap();
    assert_eq!(&*write.key, b"7");
    assert_eq!(write.value.as_deref(), Some(br#"{"n":1,"t":"x"}"#.as_slice()));
    assert_eq!(write.partition, partition::partition_of(b"7", 12));
    assert_eq!(write.add, None);
}

#[test]
fn sets_and_increments_travel_in_one_record() {
    let change = Change::new().set("a", &1).unwrap().add("b", 2);
    let write = LIMITS.change(&"k", change).unwrap();
    assert_eq!(write.value.as_deref(), Some(br#"{"a":1,"b":2}"#.as_slice()));
    assert_eq!(write.add.as_deref(), Some("b"));
    assert!(LIMITS.change(&"k", Change::delete()).unwrap().value.is_none());
}

#[test]
fn what_no_consumer_can_apply_is_refused() {
    assert_eq!(refused(&[1, 2]), Refusal::NotAnObject);
    assert_eq!(refused(&"text"), Refusal::NotAnObject);
    assert_eq!(refused(&json!({"t": "a\0b"})), Refusal::Nul);
    let nested = (0..70).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(refused(&json!({"deep": nested})), Refusal::TooDeep);
    assert_eq!(refused(&std::collections::BTreeMap::from([("x", f64::NAN)])), Refusal::NotFinite);
    let keyed = LIMITS.put(&1.5, &json!({}));
    assert!(matches!(keyed, Err(Refusal::Key(_))));
    let change = Change::new().add("a,b", 1);
    assert_eq!(LIMITS.change(&1, change).unwrap_err(), Refusal::ColumnName("a,b".to_owned()));
    let twice = Change::new().set("a", &1).unwrap().add("a", Number::from(1));
    assert_eq!(LIMITS.change(&1, twice).unwrap_err(), Refusal::NotOneRecord);
}

#[test]
fn what_is_too_large_for_a_record_or_for_the_limit_is_refused() {
    let large = json!({"t": "x".repeat(1_000)});
    assert!(matches!(refused(&large), Refusal::TooLarge { limit: 1_000, .. }));
    let tight = Limits { pending_bytes: 300, ..LIMITS };
    let refusal = tight.put(&7, &json!({"n": 1})).unwrap_err();
    assert!(matches!(refusal, Refusal::TooLarge { limit: 300, .. }));
}
