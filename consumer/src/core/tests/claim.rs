//! The claim of a route on its table.

use write_behind_shared::key::KeyKind;

use super::*;
use crate::core::table::identity::Identity;

fn scope(pipeline: &str, topic: &str) -> BookkeepingKey {
    let owned = |text: &str| text.to_owned();
    BookkeepingKey { pipeline: owned(pipeline), cluster: owned("c"), topic: owned(topic) }
}

/// A claim of the pipeline on a table with this mark, noted beside the bookkeeping 1.
fn claim(pipeline: &str, table: &str, mark: Option<&str>) -> Claim {
    let noted = |(mark, file): (&str, &str)| format!("1:{file}/{mark}");
    let identity = mark.map(|mark| match mark.split_once('/') {
        None => format!("1/{mark}"),
        Some(with_file) => noted(with_file),
    });
    Claim { table: table.to_owned(), scope: scope(pipeline, "t"), identity }
}

/// The table "a" with mark 7.
fn table(is_certain: bool) -> Table {
    let (beside, mark) = ("1".to_owned(), "7".to_owned());
    let file = if is_certain { "l:f".to_owned() } else { String::new() };
    let identity = Identity { beside, mark, is_certain, file, shape: String::new() };
    Table { identity, ..Table::plain("a", KeyKind::Text, Vec::new()) }
}

fn judged(
    claims: &[Claim],
    is_certain: bool,
    next: i64,
    is_empty: Option<bool>,
    is_running: bool,
) -> String {
    let next = [(Partition(0), NextOffset(next))];
    let (table, scope) = (table(is_certain), scope("p", "t"));
    let (name, table, scope, next) = ("a", &table, &scope, &next);
    let facts = ClaimFacts { name, table, scope, claims, next, is_empty, is_running };
    match judge_claim(&facts) {
        ClaimVerdict::Ours => "ours".to_owned(),
        ClaimVerdict::Note => "note".to_owned(),
        ClaimVerdict::NoteEmptied(_) => "note and warn".to_owned(),
        ClaimVerdict::AskWhetherEmpty => "ask".to_owned(),
        ClaimVerdict::Refuse(refusal) => match refusal {
            ClaimRefusal::Owned { .. } => "owned".to_owned(),
            ClaimRefusal::AnotherTable { .. } => "another".to_owned(),
            ClaimRefusal::Recreated { .. } => "recreated".to_owned(),
            ClaimRefusal::Emptied(_) => "emptied".to_owned(),
        },
    }
}

#[test]
fn a_claim_is_judged_by_name_identity_and_what_was_written() {
    let restored = Claim { identity: Some("2/9".to_owned()), ..claim("p", "a", None) };
    let behind = Claim { identity: Some("1/7/l:e".to_owned()), ..claim("p", "a", None) };
    let ours = |table, mark| claim("p", table, Some(mark));
    for (claims, is_certain, next, is_empty, verdict) in [
        (vec![], true, 5, None, "note"),
        (vec![ours("a", "7/l:f")], true, 5, None, "ours"),
        (vec![ours("a", "7")], false, 5, None, "ours"),
        // An earlier consumer noted no file, which is noted now; or it stood behind the mark.
        (vec![ours("a", "7")], true, 5, None, "note"),
        (vec![behind], true, 5, None, "note"),
        // An earlier consumer noted no identity; or the bookkeeping came out of a dump.
        (vec![claim("p", "a", None)], true, 5, None, "note"),
        (vec![restored], true, 5, None, "note"),
        // The table was renamed, and the route follows.
        (vec![ours("b", "7")], true, 5, None, "note"),
        (vec![ours("b", "7")], false, 5, None, "another"),
        // The route names another table.
        (vec![ours("b", "8")], true, 5, None, "another"),
        (vec![ours("b", "8")], true, 0, None, "note"),
        // It was dropped and created again, or rebuilt.
        (vec![ours("a", "8")], true, 5, None, "recreated"),
        (vec![ours("a", "8")], true, 0, None, "note"),
        (vec![ours("a", "8")], false, 5, None, "ask"),
        (vec![ours("a", "8")], false, 5, Some(false), "note"),
        (vec![ours("a", "8")], false, 5, Some(true), "emptied"),
        (vec![ours("a", "8")], false, 0, None, "note"),
        // Its rows went at once, or it was rebuilt with them.
        (vec![ours("a", "7/l:e")], true, 5, None, "ask"),
        (vec![ours("a", "7/l:e")], true, 5, Some(false), "note"),
        (vec![ours("a", "7/l:e")], true, 5, Some(true), "note and warn"),
        (vec![ours("a", "7/l:e")], true, 0, None, "note"),
        (vec![ours("b", "7/l:e")], true, 5, Some(true), "note and warn"),
        (vec![claim("q", "b", Some("7/l:e"))], true, 0, None, "owned"),
        // Its first partition is another one.
        (vec![ours("a", "7/k:e")], true, 5, None, "note"),
        (vec![ours("a", "7/")], true, 5, None, "note"),
        // An earlier consumer left the claim on the table before.
        (vec![ours("a", "7"), claim("p", "b", None)], true, 5, None, "note"),
        (vec![claim("p", "b", None), claim("p", "a", None)], true, 5, None, "note"),
        // Another pipeline's, by its name or under another one.
        (vec![claim("q", "a", Some("7"))], true, 0, None, "owned"),
        (vec![claim("q", "a", None)], true, 0, None, "owned"),
        (vec![claim("q", "b", Some("7"))], true, 0, None, "owned"),
        (vec![claim("q", "b", Some("7"))], false, 0, None, "note"),
    ] {
        let found = judged(&claims, is_certain, next, is_empty, false);
        assert_eq!(found, verdict, "{claims:?} {is_certain} {next} {is_empty:?}");
        // What might be harmless stops no route that is at work.
        let found = judged(&claims, is_certain, next, is_empty, true);
        let verdict = if verdict == "emptied" { "note and warn" } else { verdict };
        assert_eq!(found, verdict, "{claims:?} {is_certain} {next} {is_empty:?}, running");
    }
}

#[test]
fn an_earlier_consumer_takes_what_is_noted_now_for_unknown() {
    let identity = table(true).identity;
    let text = identity.text();
    // It compared the bookkeeping first, and another one's text said nothing.
    let (beside, mark) = text.split_once('/').unwrap();
    assert_ne!(beside, identity.beside, "{text}");
    assert_eq!(mark, identity.mark, "{text}");
}

#[test]
fn a_table_of_another_schema_is_told_apart_by_its_schema() {
    let table = Table::plain("\"b\".\"t\"", KeyKind::Text, Vec::new());
    let (scope, next) = (scope("p", "t"), [(Partition(0), NextOffset(5))]);
    let claims = [claim("p", "\"a\".\"t\"", None)];
    let (name, claims, table, scope, next) = ("t", &claims[..], &table, &scope, &next);
    let facts = ClaimFacts { name, table, scope, claims, next, is_empty: None, is_running: false };
    let ClaimVerdict::Refuse(refusal) = judge_claim(&facts) else { panic!("it is another table") };
    let said = refusal.to_string();
    assert!(
        said.contains("(write it with its schema)") && said.contains("up to offset 5"),
        "{said}"
    );
}

#[test]
fn many_partitions_are_told_in_a_few_words() {
    let next: Vec<_> = (0..6).map(|at| (Partition(at), NextOffset(1))).collect();
    assert!(up_to(&next).ends_with("partition 3 up to offset 1, and 2 more"), "{}", up_to(&next));
}
