//! Dead letters as they are found, counted and closed.

use write_behind_consumer::dead_letters::{Filter, State};
use write_behind_consumer::store::letters;

use super::*;

async fn with_letters<L: Lab>(lab: L) -> Bench<L> {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY").await;
    let refused = DeadLetter { sqlstate: Some("1062".to_owned()), ..letter(5) };
    let other = DeadLetter { record: record(6, "other", "x"), ..letter(6) };
    let letters = [letter(3), letter(4), refused, other];
    let (scope, spans) = (scope(), [span(0, 0, 1)]);
    let transaction =
        Transaction { dead_letters: &letters, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
    bench
}

async fn found(bench: &mut Bench<impl Lab>, filter: &Filter) -> Vec<i64> {
    let found = letters::find(&mut bench.store, "p", filter, None, 10).await.unwrap();
    found.iter().map(|letter| letter.offset().0).collect()
}

pub async fn letters_are_found_by_what_is_known_of_them(lab: impl Lab) {
    let mut bench = with_letters(lab).await;
    let all = Filter::default();
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (all.clone(), &[3, 4, 5, 6][..]),
        (
            Filter { cluster: text("c"), topic: text("t"), partition: Some(0), ..all.clone() },
            &[3, 4, 5, 6],
        ),
        (Filter { topic: text("T"), ..all.clone() }, &[]),
        (Filter { from: Some(4), to: Some(5), ..all.clone() }, &[4, 5]),
        (Filter { sqlstate: text("10"), ..all.clone() }, &[5]),
        (Filter { reason: text("a nul"), ..all.clone() }, &[3, 4, 5, 6]),
        (Filter { reason: text("a%"), ..all.clone() }, &[]),
        (Filter { key: Some(b"other".to_vec()), ..all.clone() }, &[6]),
        (Filter { since: Some(1_000_000_000), ..all.clone() }, &[3, 4, 5, 6]),
        (Filter { until: Some(1_000_000_000), ..all.clone() }, &[]),
        (Filter { state: Some(State::Replayed), ..all.clone() }, &[]),
    ] {
        assert_eq!(found(&mut bench, &filter).await, expected, "{filter:?}");
    }
    let first = letters::find(&mut bench.store, "p", &all, None, 2).await.unwrap();
    assert_eq!(first[0].letter.record, letter(3).record, "a letter is read as it was stored");
    let next = letters::find(&mut bench.store, "p", &all, first.last(), 2).await.unwrap();
    assert_eq!(next[0].offset().0, 5);
    assert_eq!(next[0].letter.sqlstate.as_deref(), Some("1062"));
}

pub async fn letters_are_closed_once_counted_and_deleted_when_they_are_old(lab: impl Lab) {
    let mut bench = with_letters(lab).await;
    let all = Filter::default();
    let four = letters::find(&mut bench.store, "p", &all, None, 10).await.unwrap();
    letters::refused_again(&mut bench.store, &four[0], "again", Some("1406")).await.unwrap();
    assert_eq!(letters::discard(&mut bench.store, &four[2..]).await.unwrap(), 2);
    assert_eq!(letters::discard(&mut bench.store, &four[2..]).await.unwrap(), 0);
    letters::refused_again(&mut bench.store, &four[3], "never", None).await.unwrap();
    let after = letters::find(&mut bench.store, "p", &all, None, 10).await.unwrap();
    let reasons: Vec<_> = after.iter().map(|letter| &*letter.letter.reason).collect();
    let nul = "a NUL \u{fffd} in it";
    assert_eq!(reasons, ["again", nul, nul, nul], "a closed letter stays as it is");
    let tallies = letters::tally(&mut bench.store, "p", &all).await.unwrap();
    let tallies: Vec<_> = tallies.iter().map(|tally| (tally.state, tally.letters)).collect();
    assert_eq!(tallies, [(State::Discarded, 2), (State::Open, 2)]);
    // The one of the key that has open letters before it stays.
    let tomorrow = four[0].failed_at + 86_400;
    assert_eq!(letters::delete_old(&mut bench.store, "p", tomorrow).await.unwrap(), 1);
    assert_eq!(found(&mut bench, &all).await, [3, 4, 5]);
}

pub async fn a_copy_is_remembered_and_goes_on_from_there(lab: impl Lab) {
    let mut bench = with_letters(lab).await;
    let (scope, partition) = (scope(), Partition(0));
    assert_eq!(letters::copied(&mut bench.store, &scope, partition).await.unwrap(), None);
    for next in [4, 6] {
        let next = NextOffset(next);
        letters::note_copied(&mut bench.store, &scope, partition, next).await.unwrap();
        let copied = letters::copied(&mut bench.store, &scope, partition).await.unwrap();
        assert_eq!(copied, Some(next));
    }
}
