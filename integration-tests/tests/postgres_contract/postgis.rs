//! `PostGIS`, whose errors say nothing certain and whose `geography` moves what lies beyond the globe.

use integration_tests::stack;
use serde_json::json;
use write_behind_consumer::core::verdict::OnUncertain;
use write_behind_consumer::store::Outcome;

use super::{Postgres, set};
use crate::contract::{Bench, Lab as _, doubts, types};

async fn lab() -> Postgres {
    Postgres::on(stack::postgis().await.unwrap(), "").await
}

#[tokio::test]
async fn every_line_of_the_documented_types_is_so() {
    types::every_line_under("postgis", lab().await).await;
}

#[tokio::test]
async fn a_geometry_that_cant_be_parsed_is_set_aside_beside_one_that_can_and_alone_blames_nobody() {
    let lab = lab().await;
    lab.sql("CREATE EXTENSION postgis").await;
    let mut bench =
        Bench::with(lab, "id integer PRIMARY KEY, at geometry, on_globe geography").await;
    for (column, bad) in [
        ("at", "POINT(1"),
        ("at", "0101"),
        ("on_globe", "POINT(1"),
        ("on_globe", "TRIANGLE((0 0,0 9,9 0,0 0))"),
    ] {
        let (good, bad) = (set(&json!({ (column): "POINT(1 2)" })), set(&json!({ (column): bad })));
        let alone = [("1", bad.clone())];
        let outcome = doubts::record_by_record(&mut bench, OnUncertain::TakeApart, &alone).await;
        assert!(matches!(outcome, Outcome::Doubtful(_)), "{outcome:?}");
        let rows = [("1".to_owned(), bad), ("2".to_owned(), good)];
        let outcome = doubts::take_apart(&mut bench, &rows).await;
        assert!(matches!(&outcome, Outcome::Rejected(places) if *places == [0]), "{outcome:?}");
    }
    assert_eq!(bench.table(&["id"]).await, [""; 0]);
}
