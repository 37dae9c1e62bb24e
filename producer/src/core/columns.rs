//! The columns that a row type reads, by the names of its fields.
//!
//! A record does not say whether its writer put a whole row or updated some columns. One that has
//! every field of `V` answers a read of `V` whatever lies beneath it, so it may be taken for whole.
//! The fields are asked from the type's own `Deserialize`, which names them before it reads
//! anything; no row is needed for that.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use write_behind_shared::json::Member;

/// The fields of a row type, if it is a struct that names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns(Option<&'static [&'static str]>);

impl Columns {
    /// Those of `V`. Maps, flattened structs and enums name none: nothing is ever whole for them.
    pub(crate) fn of<V: DeserializeOwned>() -> Self {
        match V::deserialize(Probe) {
            Err(FieldsAsked::Fields(fields)) => Self(Some(fields)),
            Ok(_) | Err(FieldsAsked::NoFields) => Self(None),
        }
    }

    /// Their names, if the type says them.
    pub(crate) fn names(self) -> Option<&'static [&'static str]> {
        self.0
    }

    /// Whether an object with these members leaves no field to the row beneath it. An optional
    /// field must be there too: absent it would read as `None`, though the row may have a value.
    pub(crate) fn are_all_in(self, members: &[Member<'_>]) -> bool {
        let named = |field: &&str| members.iter().any(|(name, _)| Cow::as_ref(name) == *field);
        self.0.is_some_and(|fields| fields.iter().all(named))
    }
}

/// A deserializer that only hears what it is asked for.
struct Probe;

/// What the type asked for; an error to serde, because no value comes of it.
#[derive(Debug)]
enum FieldsAsked {
    Fields(&'static [&'static str]),
    NoFields,
}

impl fmt::Display for FieldsAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a question, not a value")
    }
}

impl std::error::Error for FieldsAsked {}

impl de::Error for FieldsAsked {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::NoFields
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = FieldsAsked;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, FieldsAsked> {
        Err(FieldsAsked::Fields(fields))
    }

    /// A struct around one other is written as that one.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldsAsked> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, FieldsAsked> {
        Err(FieldsAsked::NoFields)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;
    use write_behind_shared::json;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its fields' names matter")]
    struct Score {
        name: String,
        #[serde(rename = "points")]
        won: i64,
        #[serde(default)]
        visits: i64,
        title: Option<String>,
    }

    fn is_whole<V: DeserializeOwned>(row: &str) -> bool {
        Columns::of::<V>().are_all_in(&json::members(row.as_bytes()).unwrap())
    }

    #[test]
    fn a_struct_names_its_fields_as_they_are_written() {
        assert_eq!(Columns::of::<Score>(), Columns(Some(&["name", "points", "visits", "title"])));
    }

    #[test]
    fn a_record_is_whole_only_with_every_field_optional_ones_too() {
        let whole = r#"{"title":null,"visits":0,"points":1,"name":"x","more":true}"#;
        assert!(is_whole::<Score>(whole));
        assert!(!is_whole::<Score>(r#"{"visits":0,"points":1,"name":"x"}"#));
        assert!(!is_whole::<Score>(r#"{"title":null,"points":1,"name":"x"}"#));
        assert!(!is_whole::<Score>("{}"));
    }

    #[test]
    fn a_wrapped_struct_has_the_fields_of_what_it_wraps() {
        #[derive(Deserialize)]
        struct Wrapped(#[expect(dead_code, reason = "only its type matters")] Score);
        assert_eq!(Columns::of::<Wrapped>(), Columns::of::<Score>());
        assert_eq!(Columns::of::<Box<Score>>(), Columns::of::<Score>());
    }

    #[test]
    fn what_names_no_fields_is_never_whole() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its fields' names matter")]
        struct Flat {
            id: i64,
            #[serde(flatten)]
            rest: HashMap<String, i64>,
        }
        #[derive(Deserialize)]
        #[serde(tag = "kind")]
        #[expect(dead_code, reason = "only its shape matters")]
        enum Tagged {
            One { name: String },
        }
        assert!(!is_whole::<Flat>(r#"{"id":1}"#));
        assert!(!is_whole::<Tagged>(r#"{"kind":"One","name":"x"}"#));
        assert!(!is_whole::<HashMap<String, i64>>("{}"));
        assert!(!is_whole::<serde_json::Value>("{}"));
        assert!(!is_whole::<()>("{}"));
    }
}
