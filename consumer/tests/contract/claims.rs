//! The claim on a table: whose it is, and that it is the table that the offsets speak of.

use std::sync::Arc;

use write_behind_consumer::apply::Target;
use write_behind_consumer::apply::claim::{claim, claim_again, judged};
use write_behind_consumer::apply::history::RouteHistory;
use write_behind_consumer::core::claim::ClaimVerdict;
use write_behind_consumer::core::flood::FloodLimits;
use write_behind_consumer::store::BookkeepingState;

use super::offsets::COUNTER;
use super::server::ServerLab;
use super::*;

pub fn target(table: &str) -> Target {
    Target {
        scope: scope(),
        partitions: 2,
        table: table.to_owned(),
        key: Vec::new(),
        columns: None,
        rename: Vec::new(),
        version: None,
        history: Arc::new(RouteHistory::new(FloodLimits::NONE)),
    }
}

async fn refused<L: Lab>(bench: &mut Bench<L>, target: &Target, says: &[&str]) {
    match claim(&mut bench.store, target).await {
        Err(StoreError::Refused(why)) => {
            for says in says {
                assert!(why.contains(says), "{says:?} is not in {why:?}");
            }
        }
        other => panic!("{} must be refused, not {other:?}", target.table),
    }
}

/// The table again, empty; it has another mark, which in MySQL counts seconds.
async fn create_again<L: Lab>(bench: &mut Bench<L>) {
    loop {
        bench.lab.sql(&format!("DROP TABLE t; CREATE TABLE t ({COUNTER})")).await;
        let now = bench.store.describe("t", &[]).await.unwrap();
        if now.identity != bench.table.identity {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub async fn a_table_belongs_to_the_topic_that_claims_it_first(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let mut other = target("t");
    "other".clone_into(&mut other.scope.topic);
    assert_eq!(bench.store.claims(&bench.table, &scope()).await.unwrap(), []);
    claim(&mut bench.store, &target("t")).await.unwrap();
    refused(&mut bench, &other, &["by a route of this pipeline", "--from-topic t"]).await;
    "q".clone_into(&mut other.scope.pipeline);
    refused(&mut bench, &other, &["pipeline \"p\"", "begin --from-pipeline p --from-topic t"])
        .await;
    "t".clone_into(&mut other.scope.topic);
    refused(&mut bench, &other, &["go-on --from-pipeline p"]).await;
    claim(&mut bench.store, &target("t")).await.unwrap();
    let claims = bench.store.claims(&bench.table, &other.scope).await.unwrap();
    assert_eq!(claims.iter().map(|claim| &claim.scope).collect::<Vec<_>>(), [&scope()]);
}

pub async fn offsets_speak_of_one_table_and_another_one_is_refused(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    bench.lab.sql(&format!("CREATE TABLE other ({COUNTER})")).await;
    claim(&mut bench.store, &target("other")).await.unwrap();
    // Nothing was written yet, so nothing would be missing.
    claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    let says = ["has written topic t to", "partition 0 up to offset 1", "would lack that", "go-on"];
    refused(&mut bench, &target("other"), &says).await;
    claim(&mut bench.store, &target("t")).await.unwrap();
}

pub async fn a_table_that_was_dropped_and_created_again_is_refused(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    claim(&mut bench.store, &target("t")).await.unwrap();
    create_again(&mut bench).await;
    // Nothing was written yet, so nothing would be missing.
    bench.table = claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    create_again(&mut bench).await;
    let says = ["partition 0 up to offset 1", "go-on", "hand-over begin"];
    refused(&mut bench, &target("t"), &says).await;
}

pub async fn a_table_that_truncate_has_emptied_is_told_once(lab: impl ServerLab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    bench.lab.sql("TRUNCATE TABLE t").await;
    let told = emptied(&mut bench).await.unwrap();
    assert!(told.contains("TRUNCATE") && told.contains("partition 0 up to offset 1"), "{told}");
    claim(&mut bench.store, &target("t")).await.unwrap();
    assert_eq!(emptied(&mut bench).await, None);
    bench.lab.sql("TRUNCATE TABLE t; INSERT INTO t (id) VALUES (7)").await;
    assert_eq!(emptied(&mut bench).await, None, "it has rows");
}

pub async fn a_claim_that_an_earlier_consumer_noted_is_noted_again_at_the_first_start<
    L: ServerLab,
>(
    lab: L,
) {
    let mut bench = Bench::with(lab, COUNTER).await;
    claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    let now = bench.store.describe("t", &[]).await.unwrap().identity;
    let (beside, mark, file) = (now.beside, now.mark, now.file);
    for noted in [format!("{beside}/{mark}"), format!("{beside}/{mark}/{file}")] {
        bench.lab.sql(&format!("UPDATE write_behind_tables SET identity = '{noted}'")).await;
        claim(&mut bench.store, &target("t")).await.unwrap();
        bench.lab.sql("TRUNCATE TABLE t").await;
        assert!(emptied(&mut bench).await.is_some(), "{noted}");
    }
}

/// What a person should know before the route goes on with an empty table.
async fn emptied<L: Lab>(bench: &mut Bench<L>) -> Option<String> {
    let table = bench.store.describe("t", &[]).await.unwrap();
    match judged(&mut bench.store, &target("t"), &table).await.unwrap() {
        ClaimVerdict::NoteEmptied(emptied) => Some(emptied.warning()),
        _ => None,
    }
}

pub async fn a_table_that_the_log_has_emptied_may_be_changed_under_a_route_at_work<L: Lab>(lab: L) {
    let mut bench = Bench::with(lab, COUNTER).await;
    claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    bench.write(&[("1", Change::delete())]).await;
    for statements in L::MAINTENANCE {
        bench.lab.sql(statements).await;
        bench.store = bench.another_store().await;
        let is_certain = bench.store.describe("t", &[]).await.unwrap().identity.is_certain;
        if is_certain {
            let claimed = claim(&mut bench.store, &target("t")).await;
            assert!(claimed.is_ok(), "{statements}: {claimed:?}");
        }
        let claimed = claim_again(&mut bench.store, &target("t")).await;
        assert!(claimed.is_ok(), "{statements}: {claimed:?}");
        // It was noted, so a start finds what it knows.
        claim(&mut bench.store, &target("t")).await.unwrap();
    }
}

pub async fn partitions_may_come_and_go_while_a_table_is_empty<L: ServerLab>(lab: L) {
    lab.sql("CREATE TABLE t (id integer PRIMARY KEY)").await;
    lab.sql(L::PARTITIONED).await;
    let mut bench = Bench::over(lab).await;
    claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new())]).await;
    bench.write(&[("1", Change::delete())]).await;
    for statement in [
        "CREATE TABLE t_next PARTITION OF t FOR VALUES FROM (10) TO (20)",
        "DROP TABLE t_first",
        "ALTER TABLE t DETACH PARTITION t_next",
        "ALTER TABLE t ATTACH PARTITION t_next FOR VALUES FROM (10) TO (20)",
    ] {
        bench.lab.sql(statement).await;
        assert_eq!(emptied(&mut bench).await, None, "{statement}");
        claim(&mut bench.store, &target("t")).await.unwrap();
    }
    bench.lab.sql("TRUNCATE TABLE t").await;
    assert!(emptied(&mut bench).await.is_some());
}

pub async fn nothing_is_written_to_a_table_that_was_replaced_since_it_was_described(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    create_again(&mut bench).await;
    let (rows, scope, spans) =
        ([bench.row("2", &Change::new())], scope(), [span(0, bench.next, bench.next + 1)]);
    let transaction = Transaction { rows: &rows, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    let says = "is not the table that was described";
    assert!(matches!(&outcome, Err(StoreError::Stop(why)) if why.contains(says)), "{outcome:?}");
    assert_eq!(bench.table(&["id"]).await, [""; 0]);
    assert_eq!(bench.stands_at().await, bench.next);
}

pub async fn maintenance_that_keeps_the_rows_stops_nobody<L: Lab>(lab: L) {
    let mut bench = Bench::with(lab, COUNTER).await;
    for statements in L::MAINTENANCE {
        claim(&mut bench.store, &target("t")).await.unwrap();
        bench.write(&[("1", Change::new().add("n", 1))]).await;
        bench.lab.sql(statements).await;
        bench.store = bench.another_store().await;
        let claimed = claim(&mut bench.store, &target("t")).await;
        assert!(claimed.is_ok(), "{statements}: {claimed:?}");
    }
    assert_eq!(bench.table(&["n"]).await, [L::MAINTENANCE.len().to_string()]);
}

pub async fn the_first_versions_tables_are_brought_up_to_date<L: Lab>(lab: L) {
    lab.sql(L::FIRST_VERSION).await;
    let name = format!("CREATE TABLE t ({COUNTER}); CREATE TABLE other ({COUNTER})");
    lab.sql(&name).await;
    let mut store = lab.database().connect(&Timeouts::STANDARD).await.unwrap();
    assert_eq!(store.bookkeeping().await.unwrap(), BookkeepingState::Older);
    let told = BookkeepingState::Older.usable();
    assert!(matches!(told, Err(StoreError::Stop(why)) if why.contains("write-behind init")));
    let table = store.describe("t", &[]).await.unwrap();
    let columns = "pipeline, cluster, topic";
    let claim_of = |name: &str| {
        format!(
            "INSERT INTO write_behind_tables (table_name, {columns}) \
             VALUES ('{name}', 'p', 'c', 't')"
        )
    };
    lab.sql(&claim_of(&table.sql_name)).await;
    store.begin_at(&scope(), &[at(0, 7), at(1, 0)]).await.unwrap();
    assert_eq!(store.init().await.unwrap(), BookkeepingState::Older);
    assert_eq!(store.bookkeeping().await.unwrap(), BookkeepingState::Ready);
    assert_eq!(store.init().await.unwrap(), BookkeepingState::Ready);
    let mut bench = Bench { lab, store, table, next: 7 };
    refused(&mut bench, &target("other"), &["partition 0 up to offset 7"]).await;
    // The table that was written to is taken for what it was, and remembered from now on.
    bench.table = claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    bench.lab.sql("DELETE FROM t").await;
    create_again(&mut bench).await;
    refused(&mut bench, &target("t"), &["hand-over"]).await;
}

pub async fn a_later_versions_tables_are_refused(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    bench.lab.sql("INSERT INTO write_behind_schema (version) VALUES (99)").await;
    assert_eq!(bench.store.bookkeeping().await.unwrap(), BookkeepingState::Newer(99));
    let said = bench.store.init().await;
    assert!(
        matches!(&said, Err(StoreError::Refused(why)) if why.contains("version 99")),
        "{said:?}"
    );
}

pub async fn the_bookkeeping_tables_are_no_target(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    for name in ["write_behind_offsets", "\"write_behind_tables\""] {
        let said = bench.store.describe(name, &[]).await;
        let is_told = |why: &str| why.contains("is a bookkeeping table");
        assert!(matches!(&said, Err(StoreError::Stop(why)) if is_told(why)), "{said:?}");
    }
}
