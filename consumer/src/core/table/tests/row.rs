//! Which changes fit a table.

use proptest::prelude::*;
use write_behind_shared::key::KeyColumn;
use write_behind_shared::{Number, record};

use super::*;
use crate::core::table::{BadRename, Column};

fn table() -> Table {
    let columns = vec![
        Column::plain("id", ColumnKind::Integer(0..=1000)),
        Column::plain("n", ColumnKind::Integer(-100..=100)),
        Column::plain("name", ColumnKind::Text),
        Column::plain("cents", ColumnKind::Numeric(Some(2))),
    ];
    Table::plain("\"scores\"", KeyKind::Integer(0..=1000), columns)
}

fn judge(value: Option<&str>, add: Option<&str>) -> Result<Row<'static>, Misfit> {
    let change = record::decode(value.map(str::as_bytes), add).unwrap();
    Row::judge(&table(), b"7", &change).map(Row::into_owned)
}

fn set(text: &str) -> RowCell<'_> {
    RowCell::Set(Some(text.into()))
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
fn an_envelope_around_a_row_is_told_as_what_it_is() {
    for (value, told) in [
        (r#"{"schema":{"type":"struct"},"payload":{"n":1}}"#, "schemas.enable=false"),
        (r#"{"before":null,"after":{"n":1},"op":"c","ts_ms":1}"#, "ExtractNewRecordState"),
        (r#"{"schema":"x","n":1}"#, "there is no column \"schema\""),
    ] {
        let misfit = judge(Some(value), None).unwrap_err();
        assert!(misfit.to_string().contains(told), "{misfit}");
        assert!(misfit.without_values().contains(told), "{misfit}");
    }
}

#[test]
fn a_column_whose_default_is_something_is_not_incremented() {
    let mut table = table();
    table.columns[1].counts_from_nothing = false;
    let judged = |change: &Change| Row::judge(&table, b"7", change).map(Row::into_owned);
    let refused = Err(Misfit::Default("n".to_owned()));
    assert_eq!(judged(&Change::new().add("n", 5)), refused);
    let set_before = Change::new().set("n", &1).unwrap().add("n", 5);
    assert_eq!(judged(&set_before), refused, "alone in its batch it would be refused");
}

#[test]
fn an_increment_after_a_delete_is_a_set_and_one_after_a_set_is_added_to_what_was_set() {
    let mut change = Change::delete();
    change.fold(Change::new().add("n", 5));
    let row = Row::judge(&table(), b"7", &change).unwrap();
    assert_eq!(row.write.unwrap(), [(1, set("5"))]);
    let change = Change::new().set("n", "4").unwrap().add("n", 5);
    let row = Row::judge(&table(), b"7", &change).unwrap();
    assert_eq!(row.write.as_deref().unwrap(), [(1, set("4"))]);
    let then = row.then(&table()).unwrap();
    assert_eq!((&*then.key[0], then.delete), ("7", false));
    assert_eq!(then.write.unwrap(), [(1, RowCell::Add("5".to_owned()))]);
    assert_eq!(row.summed().write.unwrap(), [(1, set("9"))]);
}

#[test]
fn a_row_with_a_version_is_added_to_by_the_same_version() {
    let table = table().with_version("cents").unwrap();
    let mut change = Change::delete();
    change.fold(Change::new().set("n", &4).unwrap().set("cents", &1).unwrap().add("n", 5));
    let row = Row::judge(&table, b"7", &change).unwrap();
    let then = row.then(&table).unwrap();
    assert_eq!(then.write.unwrap(), [(1, RowCell::Add("5".to_owned())), (3, set("1"))]);
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
    assert_eq!(why(r#"{"nmae":1}"#, None), "there is no column \"nmae\" that a record may write");
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
    let judge =
        |change: Change| Row::judge(&table(), b"7", &change).map(|row| row.into_owned().write);
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

fn renamed(renames: &[(&str, &str)]) -> Result<Table, BadRename> {
    let owned = |(member, column): &(&str, &str)| ((*member).to_owned(), (*column).to_owned());
    table().renamed(&renames.iter().map(owned).collect::<Vec<_>>())
}

#[test]
fn a_renamed_column_is_known_to_records_by_its_other_name_alone() {
    let table = renamed(&[("playerId", "id"), ("points", "n"), ("n", "cents")]).unwrap();
    let judged = |value: &str| {
        let change = record::decode(Some(value.as_bytes()), None).unwrap();
        Row::judge(&table, b"7", &change).map(Row::into_owned)
    };
    let row = judged(r#"{"playerId":7,"points":5,"n":1.25,"name":"ada"}"#).unwrap();
    assert_eq!(row.key, ["7"]);
    assert_eq!(row.write.unwrap(), [(3, set("1.25")), (2, set("ada")), (1, set("5"))]);
    for unknown in ["id", "cents"] {
        let value = format!(r#"{{"{unknown}":7}}"#);
        assert_eq!(judged(&value), Err(Misfit::UnknownColumn(unknown.to_owned())));
    }
    assert_eq!(judged(r#"{"playerId":8}"#), Err(Misfit::KeyColumn("playerId".to_owned())));
}

#[test]
fn a_composite_key_has_the_names_that_records_give_its_columns() {
    let mut table = table();
    table.key.push(KeyColumn { name: "name".to_owned(), kind: KeyKind::Text });
    let table = table.renamed(&[("tenant".to_owned(), "name".to_owned())]).unwrap();
    let judged =
        |key: &str| Row::judge(&table, key.as_bytes(), &Change::new()).map(Row::into_owned);
    assert_eq!(judged(r#"{"id":7,"tenant":"a"}"#).unwrap().key, ["7", "a"]);
    assert!(matches!(judged(r#"{"id":7,"name":"a"}"#), Err(Misfit::Key(_))));
}

#[test]
fn renames_that_leave_open_which_column_is_meant_are_refused() {
    assert_eq!(renamed(&[("x", "y")]), Err(BadRename::NoColumn("y".to_owned())));
    assert_eq!(renamed(&[("x", "n"), ("y", "n")]), Err(BadRename::Twice("n".to_owned())));
    assert_eq!(renamed(&[("name", "n")]), Err(BadRename::Taken("name".to_owned())));
    assert!(renamed(&[("name", "n"), ("n", "name")]).is_ok(), "two names are swapped");
}

#[test]
fn a_value_that_does_not_fit_is_refused_though_its_sum_with_what_is_added_would() {
    let decode = |value: &str, add| record::decode(Some(value.as_bytes()), add).unwrap();
    for (set, added, fits) in [("80", "-50", true), ("120", "-50", false), ("-80", "150", false)] {
        let mut change = decode(&format!(r#"{{"n":{set}}}"#), None);
        change.fold(decode(&format!(r#"{{"n":{added}}}"#), Some("n")));
        let judged = Row::judge(&table(), b"7", &change);
        assert_eq!(judged.is_ok(), fits, "{set} and then {added}: {judged:?}");
    }
}

#[test]
fn a_required_column_that_the_route_leaves_out_may_refuse_an_insert() {
    let mut table = table();
    assert!(!table.clone().only(&["name".to_owned()]).unwrap().update_before_insert);
    table.columns[1].required = true;
    assert!(table.clone().only(&["name".to_owned()]).unwrap().update_before_insert);
    assert!(!table.clone().only(&["n".to_owned()]).unwrap().update_before_insert);
    (table.columns[1].required, table.columns[1].default_acts) = (false, true);
    assert!(table.only(&["name".to_owned()]).unwrap().update_before_insert);
}

#[test]
fn a_key_that_its_column_would_cut_off_is_refused_and_so_is_a_null_that_it_would_fill() {
    let mut table = table();
    table.columns[2].kind = ColumnKind::Short(crate::core::table::Length::Characters(2));
    table.columns[1].takes_null = false;
    table.key = vec![KeyColumn { name: "name".to_owned(), kind: KeyKind::Text }];
    let judged = |key: &str, change: &Change| {
        Row::judge(&table, key.as_bytes(), change).map(Row::into_owned).map_err(|why| {
            let Misfit::Value { column, .. } = why else { panic!("{why}") };
            column
        })
    };
    assert!(judged("US", &Change::new()).is_ok());
    for change in [Change::new(), Change::delete()] {
        assert_eq!(judged("US ", &change), Err("name".to_owned()));
    }
    let null = Change::new().set("n", &()).unwrap();
    assert_eq!(judged("US", &null), Err("n".to_owned()));
}
