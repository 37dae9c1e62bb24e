//! Dead letters as they are found, counted and closed.

use write_behind_consumer::core::dead_letters::{DeadLetterState, Filter, StoredDeadLetter};
use write_behind_consumer::store::letters;
use write_behind_consumer::store::replay::{self, Decision, ReplayPoint, Replayed};

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
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
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
        (Filter { cluster: text("C"), ..all.clone() }, &[]),
        (Filter { from: Some(4), to: Some(5), ..all.clone() }, &[4, 5]),
        (Filter { sqlstate: text("10"), ..all.clone() }, &[5]),
        (Filter { reason: text("a nul"), ..all.clone() }, &[3, 4, 5, 6]),
        (Filter { reason: text("a%"), ..all.clone() }, &[]),
        (Filter { key: Some(b"other".to_vec()), ..all.clone() }, &[6]),
        (Filter { since: Some(1_000_000_000), ..all.clone() }, &[3, 4, 5, 6]),
        (Filter { until: Some(1_000_000_000), ..all.clone() }, &[]),
        (Filter { state: Some(DeadLetterState::Replayed), ..all.clone() }, &[]),
    ] {
        assert_eq!(found(&mut bench, &filter).await, expected, "{filter:?}");
    }
    let first = letters::find(&mut bench.store, "p", &all, None, 2).await.unwrap();
    let failed_at = Some(first[0].failed_at);
    let since = found(&mut bench, &Filter { since: failed_at, ..all.clone() }).await;
    assert!(since.contains(&3), "its own second counts");
    let until = found(&mut bench, &Filter { until: failed_at, ..all.clone() }).await;
    assert_eq!(until, [0; 0], "its own second does not count");
    assert_eq!(first[0].dead_letter.record, letter(3).record, "a letter is read as it was stored");
    let next = letters::find(&mut bench.store, "p", &all, first.last(), 2).await.unwrap();
    assert_eq!(next[0].offset().0, 5);
    assert_eq!(next[0].dead_letter.sqlstate.as_deref(), Some("1062"));
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
    let reasons: Vec<_> = after.iter().map(|letter| &*letter.dead_letter.reason).collect();
    let nul = "a NUL \u{fffd} in it";
    assert_eq!(reasons, ["again", nul, nul, nul], "a closed letter stays as it is");
    let tallies = letters::tally(&mut bench.store, "p", &all).await.unwrap();
    let tallies: Vec<_> = tallies.iter().map(|tally| (tally.state, tally.letters)).collect();
    assert_eq!(tallies, [(DeadLetterState::Discarded, 2), (DeadLetterState::Open, 2)]);
    let its_second = four[0].failed_at;
    assert_eq!(letters::delete_old(&mut bench.store, "p", its_second).await.unwrap(), 0);
    // The one of the key that has open letters before it stays.
    let tomorrow = four[0].failed_at + 86_400;
    assert_eq!(letters::delete_old(&mut bench.store, "p", tomorrow).await.unwrap(), 1);
    assert_eq!(found(&mut bench, &all).await, [3, 4, 5]);
}

pub async fn a_letter_is_replayed_once_and_only_while_it_is_open(lab: impl Lab) {
    let mut bench = with_letters(lab).await;
    let letters = letters::find(&mut bench.store, "p", &Filter::default(), None, 10).await.unwrap();
    let replaying = async |bench: &mut Bench<_>, letter: &StoredDeadLetter, decision: Decision| {
        let mut behind = Vec::new();
        let decide = async |point: ReplayPoint| {
            assert_eq!(point.next, NextOffset(1));
            behind.extend(point.behind.keys().map(|offset| offset.0));
            Ok::<_, StoreError>(decision)
        };
        let replayed = replay::replay(&mut bench.store, &bench.table, letter, decide).await;
        (behind, replayed.unwrap())
    };
    let left = replaying(&mut bench, &letters[0], Decision::LeaveIt).await;
    assert_eq!(left, (vec![4, 5], Replayed::Left), "letters of its row behind it are told");
    let row = bench.row("1", &Change::new());
    let closed = replaying(&mut bench, &letters[0], Decision::Write(row)).await;
    assert_eq!(closed, (vec![4, 5], Replayed::Closed(DeadLetterState::Replayed)));
    let row = bench.row("2", &Change::new());
    let again = replaying(&mut bench, &letters[0], Decision::Write(row)).await;
    assert_eq!(again.1, Replayed::NotOpen);
    let superseded = replaying(&mut bench, &letters[3], Decision::Supersede).await;
    assert_eq!(superseded, (vec![], Replayed::Closed(DeadLetterState::Superseded)));
    assert_eq!(bench.table(&["id"]).await, ["1"], "what was not open has changed nothing");
    let open = Filter { state: Some(DeadLetterState::Open), ..Filter::default() };
    assert_eq!(found(&mut bench, &open).await, [4, 5]);
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

/// Letters that are hard to store.
fn odd_letters() -> Vec<DeadLetter> {
    let odd = "é € \u{1f600} \u{10ffff} \0 \u{1} \u{feff} \\ \" '";
    let bytes = |bytes: &[u8]| Some(bytes.into());
    let record = |key: Option<Box<[u8]>>, value: Option<Box<[u8]>>, offset| RawRecord {
        key,
        value,
        headers: Vec::new(),
        ..record(offset, "", "")
    };
    let header = |name: &str, value: &[u8]| (name.to_owned(), Some(value.into()));
    let mut letters: Vec<DeadLetter> = [
        ("why".to_owned(), record(bytes(b""), bytes(b""), 0)),
        (format!("why: {odd}"), record(bytes(odd.as_bytes()), bytes(odd.as_bytes()), 1)),
        ("why \u{1f600}".repeat(100_000), record(None, bytes(&[0, 0xff, 0xc3]), 2)),
        ("why".to_owned(), record(bytes(&[0xff; 1_000]), None, 3)),
        (String::new(), record(None, None, 4)),
    ]
    .into_iter()
    .map(|(reason, record)| DeadLetter { record, reason, sqlstate: None })
    .collect();
    letters[1].sqlstate = Some("22P05".to_owned());
    letters[2].sqlstate = Some("65535".to_owned());
    letters[3].record.headers =
        vec![header("add", odd.as_bytes()), header("raw", &[0xff, 0]), ("none".to_owned(), None)];
    letters
}

/// Every letter is stored, and holds the record byte for byte.
pub async fn any_letter_is_stored(bench: &mut Bench<impl Lab>) {
    let letters = odd_letters();
    let (scope, spans) = (scope(), [span(0, bench.next, bench.next + 5)]);
    let transaction =
        Transaction { dead_letters: &letters, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    let stored = letters::find(&mut bench.store, "p", &Filter::default(), None, 10).await.unwrap();
    assert_eq!(stored.len(), letters.len());
    for (stored, letter) in stored.iter().zip(&letters) {
        assert_eq!(stored.dead_letter.record, letter.record);
        assert_eq!(stored.dead_letter.sqlstate, letter.sqlstate);
        assert_eq!(stored.dead_letter.reason.is_empty(), letter.reason.is_empty());
        assert!(letter.reason.is_empty() || stored.dead_letter.reason.starts_with("why"));
    }
    let odd = "again \u{1f600} \0";
    letters::refused_again(&mut bench.store, &stored[0], odd, Some("22P05")).await.unwrap();
    let first = letters::find(&mut bench.store, "p", &Filter::default(), None, 1).await.unwrap();
    assert!(first[0].dead_letter.reason.starts_with("again "), "{first:?}");
}

pub async fn a_letter_is_stored_whatever_it_holds(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY").await;
    any_letter_is_stored(&mut bench).await;
}
