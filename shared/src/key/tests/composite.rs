//! Composite keys that are refused.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use super::*;

fn names() -> [Box<str>; 2] {
    ["a".into(), "b".into()]
}

fn refusal<K: Serialize>(key: &K) -> KeyError {
    columns(key, &names()).unwrap_err()
}

#[track_caller]
fn assert_names_its_column(refusal: &KeyError, name: &str) {
    assert!(matches!(refusal, KeyError::NotAKey(what) if what.contains(name)), "{refusal}");
}

/// A `Display` that fails, as that of a date out of range does.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Unshown;

impl fmt::Display for Unshown {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

impl Serialize for Unshown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[test]
fn a_value_or_a_name_that_cannot_be_shown_is_refused() {
    assert!(matches!(scalar::write(&Unshown, &mut Vec::new()), Err(NotScalar::Refused(_))));
    assert_names_its_column(&refusal(&BTreeMap::from([("inner", Some(Unshown))])), "\"inner\"");
    assert_names_its_column(&refusal(&("a", Unshown)), "\"b\"");
    assert!(matches!(refusal(&BTreeMap::from([(Unshown, 1)])), KeyError::NotAKey(_)));
}

#[test]
fn json_as_text_is_no_column() {
    let json = serde_json::value::RawValue::from_string("7".to_owned()).unwrap();
    assert_names_its_column(&refusal(&BTreeMap::from([("inner", &json)])), "\"inner\"");
    assert_names_its_column(&refusal(&(1, &json)), "\"b\"");
}

/// A tuple that gives this many values, though it declares two.
struct Uneven(u8);

impl Serialize for Uneven {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(2)?;
        (0..self.0).try_for_each(|value| tuple.serialize_element(&value))?;
        tuple.end()
    }
}

/// Cut to the columns that have names, the key would be that of another row too.
#[test]
fn a_tuple_that_gives_other_values_than_it_declares_is_refused() {
    assert_eq!(columns(&Uneven(2), &names()).unwrap().len(), 2);
    assert_eq!(refusal(&Uneven(3)), KeyError::ColumnCount { named: 2, parts: 3 });
    assert_eq!(refusal(&Uneven(1)), KeyError::ColumnCount { named: 2, parts: 1 });
}

/// A value that nests itself, and notes how deep it was serialized.
struct Deep<'c>(u32, &'c Cell<u32>);

impl Serialize for Deep<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.1.set(self.0);
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("inner", &Deep(self.0 + 1, self.1))?;
        map.end()
    }
}

#[test]
fn a_value_that_nests_is_refused_where_it_begins() {
    let deepest = Cell::new(0);
    assert_names_its_column(&refusal(&Deep(0, &deepest)), "a struct (column \"inner\")");
    assert_eq!(deepest.get(), 1);
}
