//! The search for a float that JSON cannot write.
//!
//! `serde_json` writes NaN and the infinities as `null`, and a database would then hold a NULL that
//! nobody wrote. The text alone cannot tell such a null from a real one, so a value with a null in
//! its text is serialized once more, with no output.

use std::fmt;

use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

/// Whether the JSON text of `value` loses a float that is not finite.
pub(crate) fn loses_a_float<T: Serialize + ?Sized>(value: &T) -> bool {
    matches!(value.serialize(Walk), Err(Stop::NotFinite))
}

/// What serde calls a type, a variant or a field.
pub(crate) type Label = &'static str;

/// Methods of a `Serializer` that have the same answer, whatever is serialized.
macro_rules! answers {
    ($answer:expr => $ok:ty: $($method:ident($($argument:ty),*))+) => {$(
        fn $method(self, $(_: $argument),*) -> Result<$ok, Self::Error> {
            $answer
        }
    )+};
}
pub(crate) use answers;

/// Visits every part of a value and stops at a float that is not finite.
#[derive(Clone, Copy)]
struct Walk;

#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("a float is not finite")]
    NotFinite,
    /// The value's own error: writing it as JSON meets the same.
    #[error("the value refuses to be serialized")]
    Refused,
}

impl ser::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Stop::Refused
    }
}

/// Methods that go on to the value inside.
macro_rules! inside {
    ($($method:ident($($argument:ty),*))+) => {$(
        fn $method<T: Serialize + ?Sized>(self, $(_: $argument,)* value: &T) -> Result<(), Stop> {
            value.serialize(self)
        }
    )+};
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

    answers!(Ok(()) => ():
        serialize_bool(bool) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_i128(i128) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32)
        serialize_u64(u64) serialize_u128(u128) serialize_none() serialize_unit()
        serialize_unit_struct(Label) serialize_unit_variant(Label, u32, Label)
    );
    answers!(Ok(Walk) => Walk:
        serialize_seq(Option<usize>) serialize_tuple(usize) serialize_tuple_struct(Label, usize)
        serialize_tuple_variant(Label, u32, Label, usize) serialize_map(Option<usize>)
        serialize_struct(Label, usize) serialize_struct_variant(Label, u32, Label, usize)
    );
    inside!(
        serialize_some() serialize_newtype_struct(Label)
        serialize_newtype_variant(Label, u32, Label)
    );

    fn serialize_f32(self, float: f32) -> Result<(), Stop> {
        self.serialize_f64(float.into())
    }

    fn serialize_f64(self, float: f64) -> Result<(), Stop> {
        if float.is_finite() { Ok(()) } else { Err(Stop::NotFinite) }
    }
}

macro_rules! parts {
    ($($part:ident: $($method:ident($($name:ty)?))+;)+) => {$(
        impl $part for Walk {
            type Ok = ();
            type Error = Stop;

            $(fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_: $name,)?
                value: &T,
            ) -> Result<(), Stop> {
                value.serialize(*self)
            })+

            fn end(self) -> Result<(), Stop> {
                Ok(())
            }
        }
    )+};
}
parts!(
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key() serialize_value();
    SerializeStruct: serialize_field(Label);
    SerializeStructVariant: serialize_field(Label);
);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(Option<f32>),
        Two(u8, f64),
        Named { at: Vec<f64> },
    }

    #[test]
    fn a_float_that_is_not_finite_is_found_wherever_it_is() {
        assert!(loses_a_float(&f64::NAN));
        assert!(loses_a_float(&Shape::One(Some(f32::INFINITY))));
        assert!(loses_a_float(&Shape::Two(1, f64::NEG_INFINITY)));
        assert!(loses_a_float(&Shape::Named { at: vec![0.0, f64::NAN] }));
        assert!(loses_a_float(&std::collections::BTreeMap::from([("no", (1, f64::NAN))])));
    }

    #[test]
    fn a_real_null_is_left_alone() {
        assert!(!loses_a_float(&()));
        assert!(!loses_a_float(&(Shape::Unit, Shape::One(None), Some("null and NaN"), 1.5)));
        assert!(!loses_a_float(&Shape::Named { at: vec![f64::MAX] }));
    }
}
