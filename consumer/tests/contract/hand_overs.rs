//! A hand-over in the database: whole, and only from where the plan was made for.

use write_behind_consumer::core::dead_letters::Filter;
use write_behind_consumer::core::hand_over::HandOver;
use write_behind_consumer::store::hand_over::hand_over;
use write_behind_consumer::store::letters;

use super::claims::target;
use super::offsets::COUNTER;
use super::*;

fn plan(from: &BookkeepingKey, to: &BookkeepingKey, seen: &[(i32, i64)]) -> HandOver {
    let place = |(partition, next): &(i32, i64)| (Partition(*partition), NextOffset(*next));
    HandOver {
        from: from.clone(),
        to: to.clone(),
        seen: seen.iter().map(place).collect(),
        begins: None,
        partitions: 3,
        moves: Vec::new(),
        lines: Vec::new(),
    }
}

/// Where the pipeline stands: partition, offset, number of partitions.
async fn stands<L: Lab>(bench: &mut Bench<L>, scope: &BookkeepingKey) -> Vec<(i32, i64, i32)> {
    let known = bench.store.known(scope).await.unwrap();
    known.iter().map(|known| (known.partition.0, known.next.0, known.partitions)).collect()
}

async fn letters_of<L: Lab>(bench: &mut Bench<L>, pipeline: &str) -> usize {
    let all = Filter::default();
    letters::find(&mut bench.store, pipeline, &all, None, 10).await.unwrap().len()
}

/// A pipeline that has written a row and set a record aside.
async fn written<L: Lab>(lab: L) -> Bench<L> {
    let mut bench = Bench::with(lab, COUNTER).await;
    write_behind_consumer::apply::claim::claim(&mut bench.store, &target("t")).await.unwrap();
    let letters = [letter(0)];
    let outcome = bench
        .run(&[("1", Change::new().add("n", 1))], |transaction| {
            transaction.partitions = 2;
        })
        .await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    let (scope, spans) = (scope(), [span(0, 1, 2)]);
    let transaction =
        Transaction { dead_letters: &letters, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    bench
}

pub async fn what_goes_on_takes_offsets_letters_and_the_table_along(lab: impl Lab) {
    let mut bench = written(lab).await;
    let (old, new) = (scope(), BookkeepingKey { pipeline: "new".to_owned(), ..scope() });
    let plan = plan(&old, &new, &[(0, 2), (1, 0)]);
    hand_over(&mut bench.store, &bench.table, &plan).await.unwrap();
    assert_eq!(stands(&mut bench, &old).await, []);
    assert_eq!(stands(&mut bench, &new).await, [(0, 2, 3), (1, 0, 3)]);
    assert_eq!(letters_of(&mut bench, "p").await, 0);
    assert_eq!(letters_of(&mut bench, "new").await, 1);
    let claims = bench.store.claims(&bench.table, &new).await.unwrap();
    assert_eq!(claims.iter().map(|claim| &claim.scope).collect::<Vec<_>>(), [&new]);
    assert_eq!(bench.table(&["n"]).await, ["1"], "the table itself stays as it is");
}

pub async fn what_begins_forgets_what_the_offsets_said(lab: impl Lab) {
    let mut bench = written(lab).await;
    let begins = Some(vec![
        (Partition(0), NextOffset(4)),
        (Partition(1), NextOffset(0)),
        (Partition(2), NextOffset(0)),
    ]);
    let plan = HandOver { begins, ..plan(&scope(), &scope(), &[(0, 2), (1, 0)]) };
    hand_over(&mut bench.store, &bench.table, &plan).await.unwrap();
    assert_eq!(stands(&mut bench, &scope()).await, [(0, 4, 3), (1, 0, 3), (2, 0, 3)]);
    assert_eq!(letters_of(&mut bench, "p").await, 0);
    assert_eq!(bench.store.claims(&bench.table, &scope()).await.unwrap().len(), 1);
}

pub async fn a_partition_that_is_moved_stands_there_and_the_others_where_they_stood(lab: impl Lab) {
    let mut bench = written(lab).await;
    // One that the database knows, and one that it does not.
    let moves = vec![(Partition(0), NextOffset(7)), (Partition(2), NextOffset(3))];
    let (old, new) = (scope(), BookkeepingKey { pipeline: "new".to_owned(), ..scope() });
    let plan = HandOver { moves, ..plan(&old, &new, &[(0, 2), (1, 0)]) };
    hand_over(&mut bench.store, &bench.table, &plan).await.unwrap();
    assert_eq!(stands(&mut bench, &new).await, [(0, 7, 3), (1, 0, 3), (2, 3, 3)]);
    assert_eq!(letters_of(&mut bench, "new").await, 1);
}

pub async fn nothing_is_handed_over_once_the_offsets_have_moved(lab: impl Lab) {
    let mut bench = written(lab).await;
    let (old, new) = (scope(), BookkeepingKey { pipeline: "new".to_owned(), ..scope() });
    for seen in [&[(0, 1), (1, 0)][..], &[(0, 2)], &[(0, 2), (1, 0), (2, 0)]] {
        let refused = hand_over(&mut bench.store, &bench.table, &plan(&old, &new, seen)).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{seen:?}: {refused:?}");
        assert_eq!(stands(&mut bench, &old).await, [(0, 2, 2), (1, 0, 2)]);
        assert_eq!(stands(&mut bench, &new).await, []);
    }
}
