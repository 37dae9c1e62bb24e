//! The offsets and what moves with them.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use uuid::Uuid;
use write_behind_shared::WriteId;

use super::*;

pub const COUNTER: &str = "id integer PRIMARY KEY, n bigint";

pub async fn the_bookkeeping_tables_can_be_created_twice(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    bench.store.init().await.unwrap();
    assert_eq!(bench.stands_at().await, 0);
}

pub async fn a_partition_is_unknown_until_it_begins_and_then_begins_once(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let asked = [Partition(0), Partition(7)];
    let known = bench.store.positions(&scope(), &asked).await.unwrap();
    assert_eq!(known, [at(0, 0)]);
    bench.store.begin_at(&scope(), &[at(0, 99), at(7, 42)]).await.unwrap();
    let known = bench.store.positions(&scope(), &asked).await.unwrap();
    assert_eq!(known, [at(0, 0), at(7, 42)], "what is known stays");
    let elsewhere = BookkeepingKey { topic: "other".to_owned(), ..scope() };
    assert_eq!(bench.store.positions(&elsewhere, &asked).await.unwrap(), []);
}

pub async fn a_transaction_moves_all_its_offsets_or_none(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let rows = [bench.row("1", &Change::new().add("n", 1))];
    let scope = scope();
    let spans = [span(0, 0, 5), span(1, 3, 9), span(7, 0, 1)];
    let transaction = Transaction { rows: &rows, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    let found = [Some(NextOffset(0)), Some(NextOffset(0)), None];
    assert!(matches!(&outcome, Ok(Outcome::Fenced(f)) if *f == found), "{outcome:?}");
    assert_eq!(bench.table(&["id"]).await, [""; 0], "a fenced transaction writes nothing");

    let spans = [span(0, 0, 5), span(1, 0, 9)];
    let transaction = Transaction { rows: &rows, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    let known = bench.store.positions(&scope, &[Partition(0), Partition(1)]).await.unwrap();
    assert_eq!(known, [at(0, 5), at(1, 9)]);
}

pub async fn a_transaction_that_was_committed_already_is_fenced(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let rows = [bench.row("1", &Change::new().add("n", 1))];
    let (scope, spans) = (scope(), [span(0, 0, 5)]);
    let transaction = Transaction { rows: &rows, ..moving(&scope, &spans, &bench.table) };
    let first = bench.store.apply(&transaction).await;
    assert!(matches!(first, Ok(Outcome::Committed { .. })), "{first:?}");
    let second = bench.store.apply(&transaction).await;
    let found = [Some(NextOffset(5))];
    assert!(matches!(&second, Ok(Outcome::Fenced(f)) if *f == found), "{second:?}");
    assert_eq!(bench.table(&["id", "n"]).await, ["1 1"], "it counts once");
}

pub async fn a_zombie_and_the_new_owner_write_a_span_once(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let mut zombie = bench.another_store().await;
    let rows = [bench.row("1", &Change::new().add("n", 1))];
    let scope = scope();
    for round in 0..20 {
        let spans = [span(0, round, round + 1)];
        let transaction = Transaction { rows: &rows, ..moving(&scope, &spans, &bench.table) };
        let both = tokio::join!(bench.store.apply(&transaction), zombie.apply(&transaction));
        let (one, other) = (both.0.unwrap(), both.1.unwrap());
        let committed = [&one, &other].map(|o| matches!(o, Outcome::Committed { .. }));
        let fenced = [&one, &other].map(|o| matches!(o, Outcome::Fenced(_)));
        assert!(committed[0] ^ committed[1], "{one:?}, {other:?}");
        assert!(fenced[0] ^ fenced[1], "{one:?}, {other:?}");
    }
    assert_eq!(bench.table(&["n"]).await, ["20"]);
}

fn seen(partition: i32, writer: Uuid, sequence: u64, at: i64) -> WriterSeen {
    let partition = Partition(partition);
    WriterSeen { partition, last: WriteId { writer, sequence }, at: Offset(at) }
}

/// Who is remembered in each of the two partitions, by when they were seen.
async fn remembered<L: Lab>(bench: &mut Bench<L>) -> [Vec<WriterSeen>; 2] {
    let known = bench.store.positions(&scope(), &[Partition(0), Partition(1)]).await.unwrap();
    let mut known = known.into_iter().map(|position| position.writers);
    let mut sorted = || {
        let mut writers = known.next().unwrap();
        writers.sort_by_key(|seen| seen.at.0);
        writers
    };
    [sorted(), sorted()]
}

pub async fn writers_are_forgotten_with_the_offsets_and_only_those_before(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let writer = Uuid::from_u128;
    let writers = [seen(0, writer(1), 7, 10), seen(0, writer(2), 9, 11), seen(0, writer(3), 4, 12)];
    let all = [&writers[..], &[seen(1, writer(1), 2, 5)]].concat();
    let (scope, first, second) = (scope(), [span(0, 0, 13), span(1, 0, 6)], [span(0, 13, 20)]);
    let noting = Transaction { writers: &all, ..moving(&scope, &first, &bench.table) };
    assert!(matches!(bench.store.apply(&noting).await, Ok(Outcome::Committed { .. })));
    // One goes on in the transaction that forgets, so it stays; one comes again after it was forgotten.
    let again = [seen(0, writer(1), 8, 15), seen(0, writer(2), 1, 16)];
    let forgetting = Transaction {
        writers: &again,
        forgotten: &[(Partition(0), Offset(11))],
        ..moving(&scope, &second, &bench.table)
    };
    let refused = [letter(14)];
    let no_room = WriteOptions { set_aside_max: 0, ..WRITE_OPTIONS };
    let fails = Transaction { dead_letters: &refused, options: no_room, ..forgetting };
    assert!(matches!(bench.store.apply(&fails).await, Ok(Outcome::Bad(_))));
    assert_eq!(remembered(&mut bench).await, [writers.to_vec(), vec![seen(1, writer(1), 2, 5)]]);
    let forgetting = Transaction {
        writers: &again,
        forgotten: &[(Partition(0), Offset(11))],
        ..moving(&scope, &second, &bench.table)
    };
    assert!(matches!(bench.store.apply(&forgetting).await, Ok(Outcome::Committed { .. })));
    let left = [vec![writers[2], again[0], again[1]], vec![seen(1, writer(1), 2, 5)]];
    assert_eq!(remembered(&mut bench).await, left);
}

pub async fn an_earlier_consumers_writers_are_the_first_to_be_forgotten(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let writer = Uuid::from_u128(7);
    let earlier = format!(
        "ALTER TABLE write_behind_writers DROP COLUMN last_offset; DROP TABLE write_behind_schema;
         INSERT INTO write_behind_writers (pipeline, cluster, topic, \"partition\", writer, last_sequence)
         VALUES ('p', 'c', 't', 0, '{writer}', 3)"
    );
    bench.lab.sql(&earlier).await;
    bench.store = bench.another_store().await;
    bench.store.init().await.unwrap();
    assert_eq!(remembered(&mut bench).await, [vec![seen(0, writer, 3, 0)], Vec::new()]);
}

pub async fn writers_never_go_back(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let writer = Uuid::from_u128(7);
    for sequence in [5, 3, 6, u64::MAX, 1] {
        let writers = [seen(0, writer, sequence, bench.next)];
        // Nothing of the transaction outlives the closure, so it is built by hand.
        let (scope, spans) = (scope(), [span(0, bench.next, bench.next + 1)]);
        let transaction = Transaction { writers: &writers, ..moving(&scope, &spans, &bench.table) };
        let outcome = bench.store.apply(&transaction).await;
        assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
        bench.next += 1;
        if sequence == 3 {
            let known = bench.store.positions(&scope, &[Partition(0)]).await.unwrap();
            assert_eq!(known[0].writers, [seen(0, writer, 5, 1)]);
        }
    }
    let known = bench.store.positions(&scope(), &[Partition(0)]).await.unwrap();
    let most = u64::try_from(i64::MAX).unwrap();
    assert_eq!(known[0].writers, [seen(0, writer, most, 4)]);
}

pub async fn dead_letters_are_stored_with_the_offsets_and_stay_as_they_are(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let letters = [letter(3), letter(4)];
    for state in ["discarded", "replayed"] {
        let (scope, spans) = (scope(), [span(0, bench.next, bench.next + 1)]);
        let transaction =
            Transaction { dead_letters: &letters, ..moving(&scope, &spans, &bench.table) };
        let outcome = bench.store.apply(&transaction).await;
        assert!(
            matches!(&outcome, Ok(Outcome::Committed { set_aside, .. }) if set_aside.is_empty()),
            "{outcome:?}"
        );
        bench.next += 1;
        let update = "UPDATE write_behind_dead_letters SET state =";
        bench.lab.sql(&format!("{update} '{state}' WHERE state = 'open'")).await;
    }
    let query = "SELECT CAST(record_offset AS text), state, reason, CAST(headers AS text) \
                 FROM write_behind_dead_letters ORDER BY 1";
    let rows = bench.lab.rows(query).await;
    assert_eq!(rows.len(), 2);
    let text = |at: usize| rows[0][at].as_deref().unwrap();
    assert_eq!((text(0), text(1), text(2)), ("3", "discarded", "a NUL \u{fffd} in it"));
    let headers: serde_json::Value = serde_json::from_str(text(3)).unwrap();
    let expected = serde_json::json!([
        {"name": "add", "value": "n"}, {"name": "raw", "base64": "AP8="},
        {"name": "empty", "value": null}
    ]);
    assert_eq!(headers, expected);
}

pub async fn an_answer_that_does_not_come_breaks_the_connection(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let impatient = Timeouts { answer: Duration::from_millis(200), ..Timeouts::STANDARD };
    bench.store = bench.lab.database().connect(&impatient).await.unwrap();
    let held = bench.lab.hold("UPDATE write_behind_offsets SET partitions = 3").await;
    let add = [("1", Change::new().add("n", 1))];
    let outcome = bench.run(&add, |_| {}).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    drop(held);
    let outcome = bench.run(&add, |_| {}).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "it is in an unknown state");
    bench.store = bench.another_store().await;
    bench.write(&add).await;
    assert_eq!(bench.table(&["n"]).await, ["1"]);
}

/// Lets `future` run to its `moments`th wait and drops it there; `None`: it was not done by then.
pub async fn cut_off<T>(mut moments: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => {
            moments -= 1;
            if moments == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// The end of a process, or of its connection, as the database sees it: before, inside and after
/// each statement, COMMIT included, whose answer is then lost.
pub async fn a_transaction_cut_off_at_any_moment_is_written_whole_or_not_at_all(lab: impl Lab) {
    // So many must be seen. How many a transaction has depends on who is quicker, it or we.
    const ENOUGH: u32 = 6;
    let mut bench = Bench::with(lab, COUNTER).await;
    let rows = [bench.row("1", &Change::new().add("n", 1))];
    let query = "SELECT CAST(next_offset AS text), CAST(coalesce((SELECT n FROM t), 0) AS text) \
                 FROM write_behind_offsets WHERE partition = 0";
    let (mut moments, mut cut_offs) = (1, 0);
    loop {
        let (scope, spans) = (scope(), [span(0, bench.next, bench.next + 1)]);
        let transaction = Transaction { rows: &rows, ..moving(&scope, &spans, &bench.table) };
        let outcome = cut_off(moments, bench.store.apply(&transaction)).await;
        let found = bench.lab.rows(query).await;
        assert_eq!(found[0][0], found[0][1], "cut off at moment {moments}: {outcome:?}");
        match outcome {
            Some(Ok(Outcome::Committed { .. })) if cut_offs >= ENOUGH => break,
            // On a busy machine answers are there before they are waited for.
            Some(Ok(Outcome::Committed { .. })) => moments = 1,
            None => (moments, cut_offs) = (moments + 1, cut_offs + 1),
            // The one before was committed after we had looked.
            Some(Ok(Outcome::Fenced(_))) => {}
            other => panic!("{other:?}"),
        }
        bench.store = bench.another_store().await;
        bench.next = bench.stands_at().await;
    }
}

pub async fn transactions_that_meet_in_many_rows_all_finish(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    let mut other = bench.another_store().await;
    let scope = scope();
    for round in 0..20 {
        // Every other time none of the rows is there.
        let ids = round / 2 * 200..(round / 2 + 1) * 200;
        let mut rows: Vec<_> =
            ids.map(|id| bench.row(&id.to_string(), &Change::new().add("n", 1))).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let (zero, one) = ([span(0, round, round + 1)], [span(1, round, round + 1)]);
        let with = |spans| Transaction { rows: &rows, ..moving(&scope, spans, &bench.table) };
        let (of_zero, of_one) = (with(&zero), with(&one));
        let both = tokio::join!(bench.store.apply(&of_zero), other.apply(&of_one));
        assert!(
            matches!(both, (Ok(Outcome::Committed { .. }), Ok(Outcome::Committed { .. }))),
            "{both:?}"
        );
    }
    let counted = bench.table(&["n"]).await;
    assert!(counted.len() == 2_000 && counted.iter().all(|n| n == "4"), "{counted:?}");
}

pub async fn the_last_record_is_noted_with_the_offsets_and_replaces_the_earlier_one(lab: impl Lab) {
    let mut bench = Bench::with(lab, COUNTER).await;
    // The later record may be older: its producer's clock counts.
    for (offset, timestamp) in [(4, 2_000), (9, 1_000)] {
        let partition = Partition(0);
        let last = LastRecord { partition, offset: Offset(offset), timestamp };
        let (scope, spans) = (scope(), [span(0, bench.next, offset + 1)]);
        let transaction =
            Transaction { last_records: &[last], ..moving(&scope, &spans, &bench.table) };
        let outcome = bench.store.apply(&transaction).await;
        assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
        bench.next = offset + 1;
        let fenced = bench.store.apply(&transaction).await;
        assert!(matches!(fenced, Ok(Outcome::Fenced(_))), "{fenced:?}");
        let known = bench.store.known(&scope).await.unwrap();
        let shown: Vec<_> = known.iter().map(|one| (one.next.0, one.last_record)).collect();
        assert_eq!(shown, [(offset + 1, Some(last)), (0, None)]);
    }
}
