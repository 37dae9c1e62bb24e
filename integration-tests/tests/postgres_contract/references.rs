//! References and other constraints of Postgres that are checked once a batch has run, and triggers
//! on deletes.

use serde_json::json;
use write_behind_consumer::core::verdict::OnUncertain;
use write_behind_consumer::store::{Outcome, Store as _, StoreError, Transaction, WriteOptions};
use write_behind_shared::Change;

use super::{Postgres, bench, set};
use crate::contract::{Bench, Lab as _, WRITE_OPTIONS, moving, record, scope, span};

const DEFERRABLE: &str =
    "id integer PRIMARY KEY, name text, parent integer REFERENCES t (id) DEFERRABLE";

fn parent(id: i32) -> Change {
    set(&json!({ "parent": id }))
}

async fn shown(bench: &Bench<Postgres>) -> Vec<String> {
    bench.table(&["id", "parent", "name"]).await
}

#[tokio::test]
async fn a_cycle_of_deferrable_references_is_judged_once_all_has_run() {
    let mut bench = bench(DEFERRABLE).await;
    bench.write(&[("1", parent(2)), ("2", set(&json!({"parent": 1, "name": "x"})))]).await;
    assert_eq!(shown(&bench).await, ["1 2 NULL", "2 1 x"]);
}

#[tokio::test]
async fn a_cycle_is_not_refused_for_another_rows_missing_reference() {
    let mut bench = bench(DEFERRABLE).await;
    let named = |parent: i32| set(&json!({"parent": parent, "name": "x"}));
    let rows = [("1", parent(4)), ("2", parent(9)), ("3", named(1)), ("4", named(3))];
    assert_eq!(bench.refused(&rows).await, [1]);
    let good = [rows[0].clone(), rows[2].clone(), rows[3].clone()];
    let row_by_row: Vec<_> = (0..)
        .zip(&rows)
        .map(|(at, (key, change))| (record(at, key, ""), bench.row(key, change)))
        .collect();
    let (scope, spans) = (scope(), [span(0, 0, 4)]);
    let transaction =
        Transaction { row_by_row: &row_by_row, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await.unwrap();
    let Outcome::Committed { set_aside, .. } = outcome else { panic!("{outcome:?}") };
    let offsets: Vec<_> = set_aside.iter().map(|letter| letter.record.offset.0).collect();
    assert_eq!((offsets, shown(&bench).await.len()), (vec![1], good.len()));
}

#[tokio::test]
async fn a_record_is_not_blamed_for_what_the_rows_before_it_violate() {
    let mut bench = bench(DEFERRABLE).await;
    let rows = [bench.row("1", &parent(7))];
    let row_by_row = [(record(1, "2", ""), bench.row("2", &Change::new()))];
    let (scope, spans) = (scope(), [span(0, 0, 2)]);
    let transaction = Transaction {
        rows: &rows,
        row_by_row: &row_by_row,
        ..moving(&scope, &spans, &bench.table)
    };
    let outcome = bench.store.apply(&transaction).await.unwrap();
    assert!(matches!(&outcome, Outcome::Rejected(places) if *places == [0]), "{outcome:?}");
}

#[tokio::test]
async fn what_a_deferred_trigger_refuses_is_found() {
    let mut bench = bench("id integer PRIMARY KEY, n integer").await;
    bench
        .lab
        .sql(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF new.n < 0 THEN RAISE EXCEPTION 'negative'; END IF; RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER f AFTER INSERT OR UPDATE ON t
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()",
        )
        .await;
    let n = |n: i32| set(&json!({ "n": n }));
    assert_eq!(bench.refused(&[("1", n(1)), ("2", n(-1)), ("3", n(3))]).await, [1]);
    bench.write(&[("1", n(1)), ("3", n(3))]).await;
    // The same with a code that says nothing certain.
    let asserts = "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN ASSERT new.n >= 0; RETURN NULL; END $$";
    bench.lab.sql(asserts).await;
    let rows = [("1", n(1)), ("2", n(-1)), ("3", n(3))];
    let outcome = bench.run(&rows, |_| {}).await;
    assert!(matches!(outcome, Err(StoreError::Uncertain(_))), "{outcome:?}");
    bench.store = bench.another_store().await;
    let apart = |transaction: &mut Transaction<'_>| {
        transaction.options =
            WriteOptions { on_uncertain: OnUncertain::TakeApart, ..WRITE_OPTIONS };
    };
    let outcome = bench.run(&rows, apart).await.unwrap();
    assert!(matches!(&outcome, Outcome::Rejected(places) if *places == [1]), "{outcome:?}");
    let outcome = bench.run(&rows[1..2], apart).await.unwrap();
    assert!(matches!(&outcome, Outcome::Rejected(places) if *places == [0]), "{outcome:?}");
}

#[tokio::test]
async fn a_trigger_on_delete_that_may_touch_other_rows_is_known() {
    let mut bench = bench("id integer PRIMARY KEY, parent integer").await;
    bench.lab.sql("CREATE TABLE u (id integer PRIMARY KEY, t integer)").await;
    for (at, (on, body, reaches)) in [
        ("DELETE ON t", "DELETE FROM t WHERE parent = old.id;", true),
        ("DELETE ON t", "DELETE FROM public.\"t\" WHERE parent = old.id;", true),
        ("DELETE ON t", "EXECUTE 'DELETE FROM ' || tg_relid::regclass;", true),
        ("DELETE ON t", "INSERT INTO u VALUES (old.id);", false),
        ("INSERT OR UPDATE ON t", "DELETE FROM t WHERE parent = new.id;", false),
        ("DELETE ON u", "DELETE FROM t;", false),
    ]
    .into_iter()
    .enumerate()
    {
        bench
            .lab
            .sql(&format!(
                "CREATE FUNCTION f{at}() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN {body} RETURN NULL; END $$;
                 CREATE TRIGGER f AFTER {on} FOR EACH ROW EXECUTE FUNCTION f{at}()"
            ))
            .await;
        let table = bench.store.describe("t", &[]).await.unwrap();
        assert_eq!(table.deletes_reach_others, reaches, "{on}: {body}");
        bench.lab.sql("DROP TRIGGER IF EXISTS f ON t; DROP TRIGGER IF EXISTS f ON u").await;
    }
    // By way of a table that loses rows with it.
    bench
        .lab
        .sql(
            "ALTER TABLE u ADD FOREIGN KEY (t) REFERENCES t ON DELETE CASCADE;
             CREATE TRIGGER f AFTER DELETE ON u FOR EACH ROW EXECUTE FUNCTION f0()",
        )
        .await;
    assert!(bench.store.describe("t", &[]).await.unwrap().deletes_reach_others);
}
