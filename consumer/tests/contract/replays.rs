//! Dead letters as they are replayed: the row and the letter's state together or not at all.

use write_behind_consumer::core::dead_letters::{DeadLetterState, Filter, StoredDeadLetter};
use write_behind_consumer::store::replay::{Decision, Replayed, replay};
use write_behind_consumer::store::{StoreError, letters};
use write_behind_shared::record;

use super::offsets::cut_off;
use super::*;

/// Sets these records aside, from offset 0 on, and moves the offset behind them.
async fn set_aside<L: Lab>(bench: &mut Bench<L>, values: &[&str]) -> Vec<StoredDeadLetter> {
    let letters: Vec<DeadLetter> = (0..)
        .zip(values)
        .map(|(offset, value)| DeadLetter { record: record(offset, "1", value), ..letter(offset) })
        .collect();
    let (scope, end) = (scope(), values.len() as i64);
    let spans = [span(0, 0, end)];
    let transaction =
        Transaction { dead_letters: &letters, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    bench.next = end;
    stored(bench).await
}

async fn stored<L: Lab>(bench: &mut Bench<L>) -> Vec<StoredDeadLetter> {
    letters::find(&mut bench.store, "p", &Filter::default(), None, 999).await.unwrap()
}

async fn replayed<L: Lab>(
    bench: &mut Bench<L>,
    letter: &StoredDeadLetter,
    value: &str,
    add: Option<&str>,
) -> Result<Replayed, StoreError> {
    let change = record::decode(Some(value.as_bytes()), add).unwrap();
    let row = bench.row("1", &change);
    let decide = async |_| Ok::<_, StoreError>(Decision::Write(row));
    replay(&mut bench.store, &bench.table, letter, decide).await
}

pub async fn a_letter_is_replayed_with_its_state_or_not_at_all(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n bigint").await;
    let value = r#"{"n":1}"#;
    let letters = set_aside(&mut bench, &[value; 300]).await;
    let (mut moments, mut replays, mut cut_offs) = (1, 0, 0);
    for letter in &letters {
        let outcome = cut_off(moments, replayed(&mut bench, letter, value, Some("n"))).await;
        bench.store = bench.another_store().await;
        // What was cut off at COMMIT may be done a moment after we look: the next look waits for it.
        bench.lab.sql("UPDATE write_behind_offsets SET partitions = partitions").await;
        let closed = stored(&mut bench).await;
        let closed =
            closed.iter().filter(|letter| letter.state == DeadLetterState::Replayed).count();
        let counted = bench.table(&["n"]).await;
        let counted = counted.first().map_or(0, |n| n.parse().unwrap());
        assert_eq!(closed, counted, "cut off at moment {moments}: {outcome:?}");
        if let Some(outcome) = outcome {
            assert_eq!(outcome.unwrap(), Replayed::Closed(DeadLetterState::Replayed));
            (moments, replays) = (1, replays + 1);
        } else {
            (moments, cut_offs) = (moments + 1, cut_offs + 1);
        }
        // On a busy machine answers are there before they are waited for.
        if replays > 1 && cut_offs > 5 {
            return;
        }
    }
    panic!("{cut_offs} moments, {replays} replays");
}

pub async fn a_letter_is_replayed_once_and_a_refused_one_changes_nothing(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n bigint CHECK (n < 10)").await;
    let letters = set_aside(&mut bench, &[r#"{"n":11}"#, r#"{"n":1}"#]).await;
    let refused = replayed(&mut bench, &letters[0], r#"{"n":11}"#, None).await.unwrap();
    assert!(matches!(refused, Replayed::Rejected(_)), "{refused:?}");
    assert_eq!(bench.table(&["n"]).await, [""; 0]);
    let state = |at: usize, letters: &[StoredDeadLetter]| letters[at].state;
    assert_eq!(state(0, &stored(&mut bench).await), DeadLetterState::Open);
    for expected in [Replayed::Closed(DeadLetterState::Replayed), Replayed::NotOpen] {
        let outcome = replayed(&mut bench, &letters[1], r#"{"n":1}"#, Some("n")).await.unwrap();
        assert_eq!(outcome, expected);
        assert_eq!(bench.table(&["n"]).await, ["1"]);
    }
    assert_eq!(state(1, &stored(&mut bench).await), DeadLetterState::Replayed);
}

pub async fn no_letter_is_replayed_into_a_table_that_was_altered_since_it_was_described(
    lab: impl Lab,
) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n bigint").await;
    let value = r#"{"n":1}"#;
    let letters = set_aside(&mut bench, &[value]).await;
    bench.lab.sql("ALTER TABLE t ADD COLUMN more integer").await;
    let outcome = replayed(&mut bench, &letters[0], value, None).await;
    assert!(matches!(outcome, Err(StoreError::Conflict(_))), "{outcome:?}");
    assert_eq!(stored(&mut bench).await[0].state, DeadLetterState::Open);
    assert_eq!(bench.table(&["n"]).await, [""; 0]);
    bench.table = bench.store.describe("t", &[]).await.unwrap();
    let outcome = replayed(&mut bench, &letters[0], value, None).await.unwrap();
    assert_eq!(outcome, Replayed::Closed(DeadLetterState::Replayed));
    assert_eq!(bench.table(&["n"]).await, ["1"]);
}

pub async fn a_letter_of_an_older_version_is_superseded_by_the_row(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, v bigint, a text").await;
    bench.table = bench.table.clone().with_version("v").unwrap();
    let values = [4, 5, 6].map(|v| format!(r#"{{"v":{v},"a":"of the letter"}}"#));
    let letters = set_aside(&mut bench, &values.each_ref().map(String::as_str)).await;
    let change = record::decode(Some(br#"{"v":5,"a":"of the row"}"#), None).unwrap();
    bench.write(&[("1", change)]).await;
    for (at, state, row) in [
        (0, DeadLetterState::Superseded, "5 of the row"),
        (1, DeadLetterState::Replayed, "5 of the letter"),
        (2, DeadLetterState::Replayed, "6 of the letter"),
    ] {
        let outcome = replayed(&mut bench, &letters[at], &values[at], None).await.unwrap();
        assert_eq!(outcome, Replayed::Closed(state));
        assert_eq!(bench.table(&["v", "a"]).await, [row]);
        assert_eq!(stored(&mut bench).await[at].state, state);
    }
}
