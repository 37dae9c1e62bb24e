//! What fits a table, and what does not.

use proptest::prelude::*;
use write_behind_shared::key::KeyColumn;
use write_behind_shared::{Number, record};

use super::*;
use crate::apply::table::Column;

fn table() -> Table {
    let column = |name: &str, kind| Column {
        name: name.to_owned(),
        kind,
        sql_type: "unused".to_owned(),
        required: false,
        counts_from_nothing: true,
    };
    Table {
        sql_name: "\"scores\"".to_owned(),
        columns: vec![
            column("id", ColumnKind::Integer(0..=1000)),
            column("n", ColumnKind::Integer(-100..=100)),
            column("name", ColumnKind::Text),
            column("cents", ColumnKind::Numeric(Some(2))),
        ],
        key: vec![KeyColumn { name: "id".to_owned(), kind: KeyKind::Integer(0..=1000) }],
        guarded: false,
    }
}

fn judge(value: Option<&str>, add: Option<&str>) -> Result<Row, Misfit> {
    let change = record::decode(value.map(str::as_bytes), add).unwrap();
    Row::judge(&table(), b"7", &change)
}

fn set(text: &str) -> RowCell {
    RowCell::Set(Some(text.to_owned()))
}

#[test]
fn a_change_becomes_the_texts_of_its_columns() {
    let row = judge(Some(r#"{"name":null,"n":5,"cents":"1.5","id":7}"#), Some("n")).unwrap();
    assert_eq!(row.key, ["7"]);
    assert!(!row.delete);
    let write = row.write.unwrap();
    assert_eq!(
        write,
        [(3, set("1.5")), (1, RowCell::Add("5".to_owned())), (2, RowCell::Set(None))]
    );
}

#[test]
fn a_column_whose_default_is_something_is_not_incremented() {
    let mut table = table();
    table.columns[1].counts_from_nothing = false;
    let judged = |change: &Change| Row::judge(&table, b"7", change);
    let refused = Err(Misfit::Default("n".to_owned()));
    assert_eq!(judged(&Change::new().add("n", 5)), refused);
    // A set before it in the batch says what it starts from.
    assert!(judged(&Change::new().set("n", &1).unwrap().add("n", 5)).is_ok());
}

#[test]
fn an_increment_after_a_delete_or_a_set_is_a_set() {
    let mut change = Change::delete();
    change.fold(Change::new().add("n", 5));
    let row = Row::judge(&table(), b"7", &change).unwrap();
    assert_eq!(row.write.unwrap(), [(1, set("5"))]);
    let change = Change::new().set("n", "4").unwrap().add("n", 5);
    let row = Row::judge(&table(), b"7", &change).unwrap();
    assert_eq!(row.write.unwrap(), [(1, set("9"))]);
}

#[test]
fn a_tombstone_only_deletes_and_an_empty_object_only_inserts() {
    assert_eq!(judge(None, None).unwrap().write, None);
    assert!(judge(None, None).unwrap().delete);
    assert_eq!(judge(Some("{}"), None).unwrap().write, Some(vec![]));
}

#[test]
fn what_does_not_fit_is_told_with_its_column() {
    let why = |value, add| judge(Some(value), add).unwrap_err().to_string();
    assert_eq!(why(r#"{"nmae":1}"#, None), "there is no column \"nmae\"");
    assert_eq!(
        why(r#"{"n":"x"}"#, None),
        "column \"n\": \"x\" is not an integer in the column's range"
    );
    assert_eq!(why(r#"{"n":101}"#, Some("n")), "column \"n\": 101 is not between -100 and 100");
    let key = "the key column \"id\" may be repeated in the value only as it stands in the key";
    assert_eq!(why(r#"{"id":8}"#, None), key);
    assert_eq!(why(r#"{"id":7}"#, Some("id")), key);
    assert!(why(r#"{"name":1}"#, Some("name")).ends_with("that is not numeric"));
}

#[test]
fn a_sum_is_judged_with_each_of_its_parts() {
    let judge = |change: Change| Row::judge(&table(), b"7", &change).map(|row| row.write);
    let third: Number = "0.005".parse().unwrap();
    let too_fine = Change::new().set("cents", "1.005").unwrap().add("cents", third);
    assert!(judge(too_fine).is_err(), "the set would have been rounded before the addition");
    let out_of_range = Change::new().set("n", &500).unwrap().add("n", -450);
    assert!(judge(out_of_range).is_err(), "the set alone would have been refused");
    let halves = Change::new().add("n", "0.5".parse::<Number>().unwrap());
    let mut whole = halves.clone();
    whole.fold(halves);
    assert!(judge(whole).is_err(), "two halves are no integer deltas");
}

#[test]
fn a_key_must_be_canonical() {
    let change = Change::new();
    for key in ["07", "", "x", "1001"] {
        let judged = Row::judge(&table(), key.as_bytes(), &change);
        assert!(matches!(judged, Err(Misfit::Key(_))), "{key:?} gave {judged:?}");
    }
}

proptest! {
    #[test]
    fn no_record_makes_the_judge_panic(
        key: Vec<u8>,
        value in "\\{\"(n|id|name|cents|x)\":(null|\"?[-0-9.eE]{0,9}\"?|\"(\\\\u[0-9a-f]{4}){1,2}\"|\\[\\])\\}",
        add in prop::option::of("(n|id|name|cents)"),
    ) {
        if let Ok(change) = record::decode(Some(value.as_bytes()), add.as_deref()) {
            let _ = Row::judge(&table(), &key, &change);
            let _ = Row::judge(&table(), b"7", &change);
            let mut folded = change.clone();
            folded.fold(Change::new().add("cents", 1).add("name", 1).add("n", 1));
            let _ = Row::judge(&table(), b"7", &folded);
        }
    }
}
