//! Refusals whose code says nothing certain: a trigger's, an extension's, a parser's. What is
//! written beside them decides whose fault they are.

use serde_json::json;
use write_behind_consumer::core::verdict::{OnUncertain, SAMPLE};

use super::rows::set;
use super::*;

const COLUMNS: &str = "id integer PRIMARY KEY, doc varchar(9)";

fn doc(text: &str) -> Change {
    set(&json!({ "doc": text }))
}

fn options(on_uncertain: OnUncertain) -> WriteOptions {
    WriteOptions { on_uncertain, ..WRITE_OPTIONS }
}

/// Nine rows, of which those at `bad` are refused.
fn nine(bad: &[usize]) -> Vec<(String, Change)> {
    let text = |at: usize| if bad.contains(&at) { "bad" } else { "{}" };
    (0..9).map(|at| ((at + 1).to_string(), doc(text(at)))).collect()
}

pub async fn take_apart(bench: &mut Bench<impl Lab>, rows: &[(String, Change)]) -> Outcome {
    let rows: Vec<_> = rows.iter().map(|(key, change)| (&**key, change.clone())).collect();
    let apart = |transaction: &mut Transaction<'_>| {
        transaction.options = options(OnUncertain::TakeApart);
    };
    bench.run(&rows, apart).await.unwrap()
}

/// Single records, each the only one of its row.
pub async fn record_by_record(
    bench: &mut Bench<impl Lab>,
    on_uncertain: OnUncertain,
    records: &[(&str, Change)],
) -> Outcome {
    bench.described_again().await;
    let rows: Vec<_> = (0..)
        .zip(records)
        .map(|(offset, (key, change))| (record(offset, key, "{}"), bench.row(key, change)))
        .collect();
    let (scope, spans) = (scope(), [span(0, 0, records.len() as i64)]);
    let transaction = Transaction {
        row_by_row: &rows,
        options: options(on_uncertain),
        ..moving(&scope, &spans, &bench.table)
    };
    bench.store.apply(&transaction).await.unwrap()
}

pub async fn an_uncertain_refusal_is_first_an_error_of_the_whole(lab: impl Lab) {
    let mut bench = with_trigger(lab, false).await;
    let outcome = bench.run(&[("1", doc("{}")), ("2", doc("bad"))], |_| {}).await;
    let Err(StoreError::Uncertain(code)) = outcome else { panic!("{outcome:?}") };
    assert!(!code.is_empty() && code.len() <= 5, "only the code, as messages quote values: {code}");
    bench.store = bench.another_store().await;
    assert_eq!(bench.stands_at().await, 0);
    assert_eq!(bench.table(&["id"]).await, [""; 0]);
}

pub async fn rows_refused_for_an_uncertain_reason_are_found_wherever_they_stand(lab: impl Lab) {
    let mut bench = with_trigger(lab, false).await;
    for bad in [&[0][..], &[8], &[3, 4, 5], &[0, 1, 2, 3, 4, 5, 6, 7, 8]] {
        let outcome = take_apart(&mut bench, &nine(bad)).await;
        assert!(matches!(&outcome, Outcome::Rejected(places) if places == bad), "{outcome:?}");
        assert_eq!(bench.stands_at().await, 0);
    }
    assert_eq!(bench.table(&["id"]).await, [""; 0]);
    let outcome = take_apart(&mut bench, &nine(&[])).await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}

pub async fn a_record_refused_alone_is_bad_only_beside_one_that_is_written(lab: impl Lab) {
    let mut bench = with_trigger(lab, false).await;
    let delete = || ("7", Change::delete());
    for alone in [vec![("1", doc("bad"))], vec![("1", doc("bad")), delete(), ("2", doc("bad"))]] {
        let outcome = record_by_record(&mut bench, OnUncertain::TakeApart, &alone).await;
        assert!(matches!(outcome, Outcome::Doubtful(_)), "{outcome:?}");
        assert_eq!(bench.stands_at().await, 0);
    }
    let beside = [("1", doc("bad")), ("2", doc("{}")), ("3", doc("bad"))];
    let outcome = record_by_record(&mut bench, OnUncertain::TakeApart, &beside).await;
    let Outcome::Committed { set_aside, .. } = outcome else { panic!("{outcome:?}") };
    let offsets: Vec<_> = set_aside.iter().map(|letter| letter.record.offset.0).collect();
    assert_eq!(offsets, [0, 2]);
    assert!(set_aside.iter().all(|letter| letter.sqlstate.is_some()), "{set_aside:?}");
    assert_eq!(bench.table(&["id"]).await, ["2"]);
}

pub async fn a_record_that_others_speak_against_is_set_aside_alone(lab: impl Lab) {
    let mut bench = with_trigger(lab, false).await;
    let alone = [("1", doc("bad"))];
    let outcome = record_by_record(&mut bench, OnUncertain::SetAside, &alone).await;
    assert!(
        matches!(&outcome, Outcome::Committed { set_aside, .. } if set_aside.len() == 1),
        "{outcome:?}"
    );
    assert_eq!(bench.stands_at().await, 1);
}

pub async fn where_no_row_can_be_written_none_is_blamed(lab: impl Lab) {
    let mut bench = with_trigger(lab, true).await;
    let many: Vec<_> = (0..=SAMPLE).map(|at| (format!("{at}"), doc("{}"))).collect();
    let outcome = take_apart(&mut bench, &many).await;
    assert!(matches!(outcome, Outcome::Doubtful(_)), "{outcome:?}");
    let records = [("1", doc("{}")), ("2", doc("{}"))];
    let outcome = record_by_record(&mut bench, OnUncertain::TakeApart, &records).await;
    assert!(matches!(outcome, Outcome::Doubtful(_)), "{outcome:?}");
    assert_eq!((bench.stands_at().await, bench.table(&["id"]).await), (0, vec![]));
}

pub async fn a_row_that_stays_as_it_was_proves_nothing<L: Lab>(lab: L) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, doc varchar(9), v integer").await;
    bench.lab.sql("INSERT INTO t VALUES (7, '{}', 5)").await;
    bench.lab.sql(L::REFUSE_ALL).await;
    let nothing = [("7", Change::new()), ("1", doc("{}"))];
    let outcome = record_by_record(&mut bench, OnUncertain::TakeApart, &nothing).await;
    assert!(matches!(outcome, Outcome::Doubtful(_)), "{outcome:?}");
    let mut many: Vec<_> = (0..=SAMPLE).map(|at| (format!("{at}"), doc("{}"))).collect();
    many[7].1 = Change::new();
    let outcome = take_apart(&mut bench, &many).await;
    assert!(matches!(outcome, Outcome::Doubtful(_)), "{outcome:?}");

    bench.table = bench.table.with_version("v").unwrap();
    let of_version = |version: i64| set(&json!({ "doc": "{}", "v": version }));
    let older = [("7", of_version(4)), ("1", of_version(4))];
    let outcome = record_by_record(&mut bench, OnUncertain::TakeApart, &older).await;
    assert!(matches!(outcome, Outcome::Doubtful(_)), "{outcome:?}");
    let newer = [("7", of_version(6)), ("1", of_version(4))];
    let outcome = record_by_record(&mut bench, OnUncertain::TakeApart, &newer).await;
    assert!(
        matches!(&outcome, Outcome::Committed { set_aside, .. } if set_aside.len() == 1),
        "{outcome:?}"
    );
}

pub async fn a_transaction_tells_whether_it_wrote_a_row(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, doc varchar(9), v integer").await;
    let plain = bench.table.clone();
    let versioned = bench.table.clone().with_version("v").unwrap();
    let of = |v: i64| set(&json!({ "v": v }));
    // What is written, whether rows have versions, whether a row is written then, how many are older.
    for (at, (change, has_version, expected)) in (0..).zip([
        (Change::new(), false, (true, 0)),
        (Change::new(), false, (false, 0)),
        (doc("{}"), false, (true, 0)),
        (doc("{}"), false, (true, 0)),
        (Change::delete(), false, (false, 0)),
        (Change::delete(), false, (false, 0)),
        (of(5), true, (true, 0)),
        (of(5), true, (true, 0)),
        (of(4), true, (false, 1)),
        (Change::delete(), true, (false, 0)),
    ]) {
        bench.table = if has_version { versioned.clone() } else { plain.clone() };
        // As a single record, and in a batch.
        for (key, single, start) in [("1", true, 2 * at), ("2", false, 2 * at + 1)] {
            let row = bench.row(key, &change);
            let record = [(record(start, key, "{}"), row.clone())];
            let (rows, scope, spans) = ([row], scope(), [span(0, start, start + 1)]);
            let moving = moving(&scope, &spans, &bench.table);
            let transaction = if single {
                Transaction { row_by_row: &record, ..moving }
            } else {
                Transaction { rows: &rows, ..moving }
            };
            let outcome = bench.store.apply(&transaction).await;
            let Ok(Outcome::Committed { has_written, older, .. }) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!((has_written, older), expected, "{change:?} {single}");
        }
    }
}

async fn with_trigger<L: Lab>(lab: L, refuse_all: bool) -> Bench<L> {
    let bench = Bench::with(lab, COLUMNS).await;
    bench.lab.sql(if refuse_all { L::REFUSE_ALL } else { L::REFUSE_BAD }).await;
    bench
}
