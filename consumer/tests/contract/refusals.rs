//! What the database refuses, and what becomes of it.

use serde_json::json;

use super::rows::set;
use super::*;

/// The primary key refuses nothing here; `short` refuses what is longer than three letters.
const SHORT: &str = "id integer PRIMARY KEY, short text CHECK (length(short) <= 3), n bigint";

fn short(text: &str) -> Change {
    set(&json!({ "short": text }))
}

pub async fn the_refused_rows_are_found_wherever_they_stand(lab: impl Lab) {
    let mut bench = Bench::with(lab, SHORT).await;
    // Nine keys of one digit, so that the order of their texts is that of their numbers.
    let keys: Vec<_> = (1..=9).map(|key: u32| key.to_string()).collect();
    for bad in [&[0][..], &[4], &[8], &[0, 8], &[3, 4, 5], &[0, 1, 2, 3, 4, 5, 6, 7, 8]] {
        let text = |at: usize| if bad.contains(&at) { "long" } else { "ok" };
        let rows: Vec<_> =
            keys.iter().enumerate().map(|(at, key)| (&**key, short(text(at)))).collect();
        assert_eq!(bench.refused(&rows).await, bad);
        assert_eq!(bench.table(&["id"]).await, [""; 0], "a refused batch writes nothing");
        assert_eq!(bench.stands_at().await, 0);
    }
    let rows: Vec<_> = keys.iter().map(|key| (&**key, short("ok"))).collect();
    bench.write(&rows).await;
    assert_eq!(bench.table(&["id"]).await.len(), 9);
}

pub async fn a_missing_required_column_is_refused_only_where_the_row_is_missing(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, name text NOT NULL, b text";
    let mut bench = Bench::with(lab, columns).await;
    bench.write(&[("1", set(&json!({"name": "x"})))]).await;
    let part = set(&json!({"b": "y"}));
    assert_eq!(bench.refused(&[("1", part.clone()), ("2", part.clone())]).await, [1]);
    assert_eq!(bench.refused(&[("1", Change::new()), ("2", Change::new())]).await, [1]);
    let mut reset = Change::delete();
    reset.fold(part);
    assert_eq!(bench.refused(&[("1", reset)]).await, [0]);
    assert_eq!(bench.refused(&[("1", set(&json!({"name": null})))]).await, [0]);
    assert_eq!(bench.table(&["id", "name", "b"]).await, ["1 x NULL"]);
}

pub async fn a_sum_out_of_range_is_refused_and_not_rounded(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n bigint").await;
    let most = set(&json!({ "n": i64::MAX }));
    bench.write(&[("1", most.clone()), ("2", most)]).await;
    let one = Change::new().add("n", 1);
    assert_eq!(bench.refused(&[("1", one.clone()), ("3", one)]).await, [0]);
    bench.write(&[("1", Change::new().add("n", -1))]).await;
    assert_eq!(bench.table(&["id", "n"]).await, ["1 9223372036854775806", "2 9223372036854775807"]);
}

pub async fn single_records_are_tried_in_their_order_and_only_the_bad_are_set_aside(lab: impl Lab) {
    let mut bench = Bench::with(lab, SHORT).await;
    let texts = ["a", "long", "b", "longer"];
    let mut row_by_row: Vec<_> = (0..)
        .zip(texts)
        .map(|(offset, text)| (record(offset, "1", text), bench.row("1", &short(text))))
        .collect();
    row_by_row.push((record(9, "1", "add"), bench.row("1", &Change::new().add("n", 3))));
    let rows = [bench.row("2", &short("ok"))];
    let (scope, spans) = (scope(), [span(0, 0, 10)]);
    let letters = [letter(7)];
    let transaction = Transaction {
        rows: &rows,
        row_by_row: &row_by_row,
        dead_letters: &letters,
        ..moving(&scope, &spans, &bench.table)
    };
    let outcome = bench.store.apply(&transaction).await.unwrap();
    let Outcome::Committed { set_aside, .. } = outcome else { panic!("{outcome:?}") };
    let offsets: Vec<_> = set_aside.iter().map(|letter| letter.record.offset.0).collect();
    assert_eq!(offsets, [1, 3]);
    assert!(set_aside.iter().all(|letter| letter.sqlstate.is_some()), "{set_aside:?}");
    assert_eq!(bench.table(&["id", "short", "n"]).await, ["1 b 3", "2 ok NULL"]);
    assert_eq!(bench.stands_at().await, 10);
    let query = "SELECT CAST(record_offset AS text), state, CAST(length(record_value) AS text) \
                 FROM write_behind_dead_letters WHERE \"sqlstate\" IS NOT NULL OR record_offset = 7 \
                 ORDER BY 1";
    let rows = bench.lab.rows(query).await;
    let expected = [["1", "open", "4"], ["3", "open", "6"], ["7", "open", "2"]];
    assert_eq!(rows, expected.map(|row| row.map(|text| Some(text.to_owned()))));
}

pub async fn nothing_is_set_aside_where_that_is_not_wanted(lab: impl Lab) {
    let mut bench = Bench::with(lab, SHORT).await;
    let row_by_row = [(record(1, "1", "long"), bench.row("1", &short("long")))];
    let letters = [letter(0)];
    let (scope, spans) = (scope(), [span(0, 0, 2)]);
    let rows = [bench.row("2", &short("ok"))];
    let transaction = Transaction {
        rows: &rows,
        row_by_row: &row_by_row,
        dead_letters: &letters,
        options: WriteOptions { set_aside_max: 0, ..WRITE_OPTIONS },
        ..moving(&scope, &spans, &bench.table)
    };
    let outcome = bench.store.apply(&transaction).await.unwrap();
    let Outcome::Bad(bad) = outcome else { panic!("{outcome:?}") };
    let offsets: Vec<_> = bad.iter().map(|letter| letter.record.offset.0).collect();
    assert_eq!(offsets, [0, 1]);
    assert_eq!(bench.table(&["id"]).await, [""; 0]);
    assert_eq!(bench.stands_at().await, 0);
}

pub async fn a_transaction_that_met_an_error_commits_nothing(lab: impl Lab) {
    let mut bench = Bench::with(lab, SHORT).await;
    bench.lab.sql("ALTER TABLE write_behind_dead_letters RENAME TO elsewhere").await;
    let letters = [letter(0)];
    let (scope, spans) = (scope(), [span(0, 0, 1)]);
    let rows = [bench.row("1", &short("ok"))];
    let transaction =
        Transaction { rows: &rows, dead_letters: &letters, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    assert!(matches!(outcome, Err(StoreError::Stop(_))), "{outcome:?}");
    bench.store = bench.another_store().await;
    assert_eq!(bench.stands_at().await, 0);
    assert_eq!(bench.table(&["id"]).await, [""; 0]);
}

pub async fn a_missing_reference_is_given_time_and_then_refused(lab: impl Lab) {
    lab.sql("CREATE TABLE parents (id integer PRIMARY KEY)").await;
    let columns = "id integer PRIMARY KEY, parent integer REFERENCES parents (id)";
    let mut bench = Bench::with(lab, columns).await;
    let child = [("1", set(&json!({"parent": 7}))), ("2", Change::new())];
    let outcome = bench
        .run(&child, |transaction| {
            transaction.options =
                WriteOptions { refuse_missing_references: false, ..WRITE_OPTIONS };
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::MissingReference(_))), "{outcome:?}");
    bench.store = bench.another_store().await;
    assert_eq!(bench.refused(&child).await, [0]);
    bench.lab.sql("INSERT INTO parents VALUES (7)").await;
    bench.write(&child).await;
}

pub async fn a_missing_table_is_for_a_person_to_mend(lab: impl Lab) {
    let mut bench = Bench::with(lab, SHORT).await;
    bench.lab.sql("ALTER TABLE t RENAME TO elsewhere").await;
    let outcome = bench.run(&[("1", short("ok"))], |_| {}).await;
    assert!(matches!(outcome, Err(StoreError::Stop(_))), "{outcome:?}");
    bench.store = bench.another_store().await;
    bench.lab.sql("ALTER TABLE elsewhere RENAME TO t").await;
    bench.lab.sql("DROP TABLE write_behind_offsets").await;
    let outcome = bench.store.positions(&scope(), &[Partition(0)]).await;
    assert!(matches!(outcome, Err(StoreError::Stop(_))), "{outcome:?}");
}
