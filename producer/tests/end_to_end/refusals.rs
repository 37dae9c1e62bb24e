//! What can never be accepted is refused, and then nothing has changed: not what is read, not the
//! log, not what is pending, not the room for others.

use std::collections::BTreeMap;

use prometheus::Registry;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use write_behind_producer::{
    BuildError, Builder, Change, Full, Refusal, WhenFull, WriteBehind, WriteError,
};
use write_behind_shared::key::KeyError;
use write_behind_shared::metrics::render;

use crate::embedded::{DEADLINE, Kafka, until};

/// A row of any shape, also of those that no row has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Row {
    Json(Value),
    Floats(BTreeMap<String, f64>),
}

/// Keys of any shape.
type Handle = WriteBehind<Value, Row>;

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

/// Everything that is refused for what it is, each with its refusal.
fn refuse_all(scores: &Handle) {
    let id = json!(7);
    let put = |row: Value| scores.try_put(&id, &Row::Json(row));
    let refused = |result: Result<_, WriteError>| match result {
        Err(WriteError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    };
    let nan = BTreeMap::from([("x".to_owned(), f64::NAN)]);
    assert_eq!(refused(put(json!([1]))), Refusal::NotAnObject);
    assert_eq!(refused(put(json!(null))), Refusal::NotAnObject);
    assert_eq!(refused(put(json!({"t": "a\0"}))), Refusal::Nul);
    assert_eq!(refused(put(json!({"t\0": 1}))), Refusal::Nul);
    assert_eq!(refused(put(json!({"t": deep(64)}))), Refusal::TooDeep);
    assert_eq!(refused(scores.try_put(&id, &Row::Floats(nan.clone()))), Refusal::NotFinite);
    let large = json!({"t": "x".repeat(2_000_000)});
    assert!(matches!(refused(put(large.clone())), Refusal::TooLarge { .. }));
    let other_key = refused(put(json!({"id": 8, "n": 1})));
    assert_eq!(other_key, Refusal::KeyColumn { column: "id".to_owned(), says: "8".to_owned() });

    assert_eq!(refused(scores.try_update(&id, &[1])), Refusal::NotAnObject);
    assert_eq!(refused(scores.try_update(&id, &nan)), Refusal::NotFinite);
    assert_eq!(refused(scores.try_update(&id, &json!({"t": "a\0"}))), Refusal::Nul);
    assert_eq!(refused(scores.try_update(&id, &json!({"t": deep(64)}))), Refusal::TooDeep);
    assert!(matches!(refused(scores.try_update(&id, &large)), Refusal::TooLarge { .. }));
    let other_key = refused(scores.try_update(&id, &json!({"id": "8"})));
    assert!(matches!(other_key, Refusal::KeyColumn { .. }), "{other_key}");
    let key_added = refused(scores.try_add(&id, "id", 1));
    assert!(matches!(key_added, Refusal::KeyColumn { .. }), "{key_added}");
    let comma = refused(scores.try_add(&id, "a,b", 1));
    assert_eq!(comma, Refusal::ColumnName("a,b".to_owned()));
    let twice = Change::new().set("a", &1).unwrap().add("a", 1);
    assert_eq!(refused(scores.try_change(&id, twice)), Refusal::NotOneRecord);

    let no_key = |key: Value| match refused(scores.try_delete(&key)) {
        Refusal::Key(error) => error,
        other => panic!("not refused for its key: {other}"),
    };
    assert_eq!(no_key(json!("a\0")), KeyError::Nul);
    for key in [json!(null), json!(1.5), json!([7]), json!({}), json!({"id": [7]})] {
        assert!(matches!(no_key(key), KeyError::NotAKey(_)));
    }
    assert!(matches!(no_key(json!({"other": 7})), KeyError::OtherColumns { .. }));
    let long = json!("x".repeat(2_000_000));
    assert_eq!(no_key(long), KeyError::TooLong);
}

/// How many further rows find room.
fn room(scores: &Handle) -> (i64, Full) {
    for id in 100.. {
        match scores.try_put(&json!(id), &Row::Json(json!({"n": 1}))) {
            Ok(_) => {}
            Err(WriteError::Overloaded(full)) => return (id - 100, full),
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("the room is bounded")
}

fn pending(registry: &Registry) -> Vec<String> {
    let text = render(registry).unwrap();
    let gauges = ["pending_rows{", "pending_bytes{", "in_flight{", "writes_total{"];
    let is_one = |line: &&str| gauges.iter().any(|gauge| line.contains(gauge));
    text.lines().filter(is_one).map(str::to_owned).collect()
}

async fn nothing_changes(limit: impl Fn(Builder<Value, Row>) -> Builder<Value, Row>) {
    let (kafka, registry) = (Kafka::start(2), Registry::new());
    let builder = kafka.builder(&[]).key_columns(["id"]).metrics(&registry);
    let scores: Handle = limit(builder).build().await.unwrap();
    let row = Row::Json(json!({"id": 7, "t": "there"}));
    let written = scores.put(&json!(7), &row).await.unwrap();
    written.replicated().await.unwrap();
    until("the metrics know the write and its answer", || {
        let lines = pending(&registry);
        let is = |gauge, value| lines.iter().any(|l| l.contains(gauge) && l.ends_with(value));
        is("pending_rows", " 1") && is("in_flight", " 0")
    })
    .await;
    let before = pending(&registry);
    for _ in 0..50 {
        refuse_all(&scores);
    }
    assert_eq!(scores.get(&json!(7)).await.unwrap(), Some(row));
    assert_eq!(pending(&registry), before);
    assert_eq!(kafka.log().len(), 1);
    let next = scores.put(&json!(7), &Row::Json(json!({"id": 7}))).await.unwrap();
    next.replicated().await.unwrap();

    let other_kafka = Kafka::start(2);
    let undisturbed: Handle =
        limit(other_kafka.builder(&[]).key_columns(["id"])).build().await.unwrap();
    for row in [json!({"id": 7, "t": "there"}), json!({"id": 7})] {
        let write = undisturbed.put(&json!(7), &Row::Json(row)).await.unwrap();
        write.replicated().await.unwrap();
    }
    assert_eq!(room(&scores), room(&undisturbed), "no permit was lost, none was given twice");
    scores.close(DEADLINE).await.unwrap();
    let mut sequences: Vec<_> =
        kafka.log().iter().map(|logged| (logged.partition, logged.write_id.sequence)).collect();
    sequences.sort_unstable();
    for pair in sequences.windows(2) {
        let follows = pair[1] == (pair[0].0, pair[0].1 + 1) || pair[1].1 == 0;
        assert!(follows, "a refused write took a sequence: {pair:?}");
    }
}

#[tokio::test]
async fn a_refused_write_changes_neither_reads_nor_the_log_nor_the_bytes_that_are_free() {
    nothing_changes(|builder| {
        builder.max_pending(5_000_000, WhenFull::Reject).max_pending_rows(40)
    })
    .await;
    nothing_changes(|builder| builder.max_pending(20_000, WhenFull::Reject)).await;
}

#[tokio::test]
async fn a_tuple_is_a_key_once_its_columns_are_named() {
    let kafka = Kafka::start(2);
    let builder: Builder<(String, i64), Row> = kafka.builder(&[]);
    let nameless = builder.build().await.unwrap();
    let (key, row) = (("acme".to_owned(), 7), Row::Json(json!({"n": 1})));
    let refused = nameless.try_put(&key, &row).unwrap_err();
    assert_eq!(refused, WriteError::Refused(Refusal::Key(KeyError::NoColumnNames)));
    assert!(refused.to_string().contains("`key_columns`"), "{refused}");
    assert!(nameless.get(&key).await.is_err());

    let builder: Builder<(String, i64), Row> = kafka.builder(&[]);
    let seats = builder.key_columns(["tenant", "id"]).build().await.unwrap();
    seats.put(&key, &row).await.unwrap().replicated().await.unwrap();
    assert_eq!(seats.get(&key).await.unwrap(), Some(row));
    assert_eq!(kafka.log()[0].key, r#"{"id":7,"tenant":"acme"}"#);
    let other = Row::Json(json!({"tenant": "other"}));
    assert!(matches!(
        seats.try_put(&key, &other),
        Err(WriteError::Refused(Refusal::KeyColumn { column, .. })) if column == "tenant"
    ));
}

#[tokio::test]
async fn key_columns_that_name_one_column_twice_are_refused_when_the_handle_is_built() {
    let kafka = Kafka::start(1);
    for (names, wrong) in [(["a", "a"], "a"), (["a", ""], "")] {
        let builder: Builder<(i64, i64), Row> = kafka.builder(&[]);
        let error = builder.key_columns(names).build().await.unwrap_err();
        assert!(matches!(error, BuildError::KeyColumns(name) if name == wrong));
    }
}
