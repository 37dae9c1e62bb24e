//! Whether a value holds a float that JSON cannot write.
//!
//! `serde_json` writes NaN and the infinities as `null`, and a database would then hold NULL where
//! nobody wrote it. The text alone cannot tell such a null from an honest one, so when there is one
//! the value is walked once more, without writing anything.

use std::fmt;

use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

/// Whether `document`, the JSON text of `value`, lost a float that is not finite.
pub fn lost_in<T: Serialize + ?Sized>(value: &T, document: &[u8]) -> bool {
    let has_null = std::str::from_utf8(document).is_ok_and(|text| text.contains("null"));
    has_null && is_lost_in(value)
}

/// Whether the JSON text of `value` loses a float that is not finite.
pub fn is_lost_in<T: Serialize + ?Sized>(value: &T) -> bool {
    matches!(value.serialize(Walk), Err(Stop::NotFinite))
}

/// Visits every part of a value and stops at a float that is not finite.
#[derive(Clone, Copy)]
struct Walk;

#[derive(Debug)]
enum Stop {
    NotFinite,
    /// The value's own error: whoever writes it as JSON meets the same.
    Other,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the walk was stopped")
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Stop::Other
    }
}

type Walked = Result<(), Stop>;

macro_rules! passes {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, _: $type) -> Walked {
            Ok(())
        }
    )*};
}

impl ser::Serializer for Walk {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Walk;
    type SerializeTuple = Walk;
    type SerializeTupleStruct = Walk;
    type SerializeTupleVariant = Walk;
    type SerializeMap = Walk;
    type SerializeStruct = Walk;
    type SerializeStructVariant = Walk;

    passes!(
        serialize_bool: bool, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_u128: u128, serialize_unit_struct: &'static str
    );

    fn serialize_f32(self, float: f32) -> Walked {
        if float.is_finite() { Ok(()) } else { Err(Stop::NotFinite) }
    }

    fn serialize_f64(self, float: f64) -> Walked {
        if float.is_finite() { Ok(()) } else { Err(Stop::NotFinite) }
    }

    fn serialize_none(self) -> Walked {
        Ok(())
    }

    fn serialize_unit(self) -> Walked {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Walked {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Walked {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, v: &T) -> Walked {
        v.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Walked {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Stop> {
        Ok(self)
    }
}

macro_rules! walks {
    ($($part:ident: $method:ident),*) => {$(
        impl $part for Walk {
            type Ok = ();
            type Error = Stop;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Walked {
                value.serialize(*self)
            }

            fn end(self) -> Walked {
                Ok(())
            }
        }
    )*};
}
walks!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

macro_rules! walks_named {
    ($($part:ident),*) => {$(
        impl $part for Walk {
            type Ok = ();
            type Error = Stop;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _: &'static str,
                value: &T,
            ) -> Walked {
                value.serialize(*self)
            }

            fn end(self) -> Walked {
                Ok(())
            }
        }
    )*};
}
walks_named!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Walk {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Walked {
        key.serialize(*self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Walked {
        value.serialize(*self)
    }

    fn end(self) -> Walked {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loses<T: Serialize>(value: &T) -> bool {
        lost_in(value, &serde_json::to_vec(value).unwrap())
    }

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(Option<f32>),
        Two(u8, f64),
        Named { at: Vec<f64> },
    }

    #[test]
    fn a_float_that_is_not_finite_is_found_wherever_it_is() {
        assert!(loses(&f64::NAN));
        assert!(loses(&Shape::One(Some(f32::INFINITY))));
        assert!(loses(&Shape::Two(1, f64::NEG_INFINITY)));
        assert!(loses(&Shape::Named { at: vec![0.0, f64::NAN] }));
        assert!(loses(&std::collections::BTreeMap::from([("no", (1, f64::NAN))])));
    }

    #[test]
    fn an_honest_null_is_left_alone() {
        assert!(!loses(&()));
        assert!(!loses(&(Shape::Unit, Shape::One(None), Some("null and NaN"), 1.5)));
        assert!(!loses(&Shape::Named { at: vec![f64::MAX] }));
    }
}
