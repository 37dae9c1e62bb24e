//! Dead letters after they were set aside: how they are found, closed, replayed and deleted.

use write_behind_consumer::dead_letters::{Filter, Letter, State};
use write_behind_consumer::store::letters;
use write_behind_consumer::store::replay::{Decision, Replayed, Standing, replay};

use super::*;

const COLUMNS: &str = "id integer PRIMARY KEY, n bigint CHECK (n < 100)";

/// Sets aside records of the key `k` at these offsets.
async fn set_aside<L: Lab>(bench: &mut Bench<L>, offsets: &[i64]) {
    let scope = scope();
    let letters: Vec<_> = offsets.iter().map(|offset| letter(*offset)).collect();
    let spans = [span(0, bench.next, 10)];
    let transaction =
        Transaction { dead_letters: &letters, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
    bench.next = 10;
}

async fn found<L: Lab>(bench: &mut Bench<L>, filter: &Filter) -> Vec<Letter> {
    letters::find(&mut bench.store, "p", filter, None, 100).await.unwrap()
}

pub async fn letters_are_found_as_they_were_set_aside_by_every_filter(lab: impl Lab) {
    let mut bench = Bench::with(lab, COLUMNS).await;
    set_aside(&mut bench, &[1, 4, 7]).await;
    let all = found(&mut bench, &Filter::default()).await;
    assert_eq!(all.iter().map(|letter| letter.offset().0).collect::<Vec<_>>(), [1, 4, 7]);
    assert_eq!((&all[0].letter.record, &all[0].scope), (&letter(1).record, &scope()));
    assert_eq!(all[0].letter.reason, "a NUL \u{fffd} in it");
    let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 - all[0].failed_at;
    assert!((-60..600).contains(&age), "set aside {age} s ago");
    let page = letters::find(&mut bench.store, "p", &Filter::default(), Some(&all[0]), 1).await;
    assert_eq!(page.unwrap(), all[1..2]);

    letters::refused_again(&mut bench.store, &all[2], "Check it", Some("23514")).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    let none = Filter::default();
    let filters = [
        (Filter { cluster: text("c"), topic: text("t"), ..none.clone() }, 3),
        (Filter { cluster: text("C"), ..none.clone() }, 0),
        (Filter { partition: Some(0), from: Some(4), to: Some(7), ..none.clone() }, 2),
        (Filter { reason: text("CHECK"), ..none.clone() }, 1),
        (Filter { sqlstate: text("23"), ..none.clone() }, 1),
        (Filter { key: Some(b"k".to_vec()), state: Some(State::Open), ..none.clone() }, 3),
        (Filter { since: Some(all[0].failed_at), ..none.clone() }, 3),
        (Filter { until: Some(all[0].failed_at), ..none.clone() }, 0),
    ];
    for (filter, letters) in filters {
        assert_eq!(found(&mut bench, &filter).await.len(), letters, "{filter:?}");
        let tally = letters::tally(&mut bench.store, "p", &filter).await.unwrap();
        let counted: u64 = tally.iter().map(|tally| tally.letters).sum();
        assert_eq!(counted, letters as u64, "{filter:?}");
    }
}

pub async fn a_letter_is_closed_once_and_deleted_only_when_no_open_one_needs_it(lab: impl Lab) {
    let mut bench = Bench::with(lab, COLUMNS).await;
    set_aside(&mut bench, &[1, 4, 7]).await;
    let all = found(&mut bench, &Filter::default()).await;
    assert_eq!(letters::discard(&mut bench.store, &all[1..]).await.unwrap(), 2);
    assert_eq!(letters::discard(&mut bench.store, &all[1..]).await.unwrap(), 0);
    let never = all[0].failed_at;
    assert_eq!(letters::delete_old(&mut bench.store, "p", never).await.unwrap(), 0, "not old");
    let now = all[2].failed_at + 1;
    assert_eq!(letters::delete_old(&mut bench.store, "p", now).await.unwrap(), 0, "1 is open");
    assert_eq!(letters::discard(&mut bench.store, &all[..1]).await.unwrap(), 1);
    assert_eq!(letters::delete_old(&mut bench.store, "p", now).await.unwrap(), 3);
    assert_eq!(found(&mut bench, &Filter::default()).await, []);
}

pub async fn a_letter_is_replayed_with_its_state_or_not_at_all(lab: impl Lab) {
    let mut bench = Bench::with(lab, COLUMNS).await;
    set_aside(&mut bench, &[1, 4]).await;
    let all = found(&mut bench, &Filter::default()).await;
    let write = |n: i64| Decision::Write(bench.row("1", &Change::new().add("n", n)));
    let (good, bad) = (write(5), write(100));
    let table = bench.table.clone();
    let mut act = async |letter: &Letter, decision: &Decision| {
        let decide = async |standing: Standing| {
            assert_eq!(standing.next, NextOffset(10));
            assert_eq!(standing.behind.len(), usize::from(letter.offset() == Offset(1)));
            Ok::<_, StoreError>(decision.clone())
        };
        replay(&mut bench.store, &table, letter, decide).await.unwrap()
    };
    assert_eq!(act(&all[0], &Decision::LeaveIt).await, Replayed::Left);
    let refused = act(&all[0], &bad).await;
    assert!(matches!(refused, Replayed::Refused(_)), "{refused:?}");
    assert_eq!(act(&all[0], &good).await, Replayed::Closed(State::Replayed));
    assert_eq!(act(&all[0], &good).await, Replayed::NotOpen);
    assert_eq!(act(&all[1], &Decision::Supersede).await, Replayed::Closed(State::Superseded));
    assert_eq!(bench.table(&["n"]).await, ["5"]);
    let states: Vec<_> = found(&mut bench, &Filter::default()).await;
    let states: Vec<_> = states.iter().map(|letter| letter.state).collect();
    assert_eq!(states, [State::Replayed, State::Superseded]);
}

pub async fn how_far_letters_were_copied_is_remembered_for_each_partition(lab: impl Lab) {
    let mut bench = Bench::with(lab, COLUMNS).await;
    let (scope, zero, one) = (scope(), Partition(0), Partition(1));
    for next in [5, 9] {
        let noted = letters::note_copied(&mut bench.store, &scope, zero, NextOffset(next)).await;
        noted.unwrap();
        let copied = letters::copied(&mut bench.store, &scope, zero).await.unwrap();
        assert_eq!(copied, Some(NextOffset(next)));
    }
    assert_eq!(letters::copied(&mut bench.store, &scope, one).await.unwrap(), None);
}
