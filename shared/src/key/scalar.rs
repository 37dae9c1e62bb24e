//! The serializer of scalar keys, which also tells what any other key is.

use std::fmt::Display;
use std::io::Write as _;

use serde::ser::{self, Impossible, Serialize, Serializer};

use super::error::KeyError;
use crate::finite::{Label, answers};

/// Appends the plain text of `key` to `text`, if it is a scalar.
///
/// # Errors
/// [`NotScalar`]; `text` may then end in part of the key.
pub(super) fn write<K: Serialize + ?Sized>(key: &K, text: &mut Vec<u8>) -> Result<(), NotScalar> {
    key.serialize(Scalar(text))
}

/// Why a key is not written as one scalar.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotScalar {
    /// It is a struct, or a map.
    #[error("the key has columns")]
    Columns,
    /// It is a tuple of this many values.
    #[error("the key is a tuple")]
    Tuple(usize),
    /// It cannot be a key.
    #[error(transparent)]
    Refused(#[from] KeyError),
}

impl ser::Error for NotScalar {
    fn custom<T: Display>(message: T) -> Self {
        refused(message)
    }
}

fn refused(what: impl Display) -> NotScalar {
    NotScalar::Refused(KeyError::NotAKey(what.to_string()))
}

struct Scalar<'w>(&'w mut Vec<u8>);

impl Scalar<'_> {
    /// A scalar whose JSON is its plain text.
    fn bare<T: Serialize>(self, scalar: T) -> Result<(), NotScalar> {
        serde_json::to_writer(self.0, &scalar).map_err(refused)
    }
}

macro_rules! bare {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, scalar: $type) -> Result<(), NotScalar> {
            self.bare(scalar)
        }
    )*};
}

type Never = Impossible<(), NotScalar>;

impl Serializer for Scalar<'_> {
    type Ok = ();
    type Error = NotScalar;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    bare!(
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32)
        serialize_i64(i64) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32)
        serialize_u64(u64)
    );
    answers!(Err(refused("null")) => ():
        serialize_none() serialize_unit() serialize_unit_struct(Label)
    );
    answers!(Err(refused("bytes")) => (): serialize_bytes(&[u8]));
    answers!(Err(refused("a list")) => Never: serialize_seq(Option<usize>));
    answers!(Err(refused("an enum with values")) => Never:
        serialize_tuple_variant(Label, u32, Label, usize)
        serialize_struct_variant(Label, u32, Label, usize)
    );
    answers!(Err(NotScalar::Columns) => Never: serialize_map(Option<usize>));

    fn serialize_i128(self, wide: i128) -> Result<(), NotScalar> {
        match i64::try_from(wide) {
            Ok(integer) => self.bare(integer),
            Err(_) => self.serialize_u128(u128::try_from(wide).unwrap_or(u128::MAX)),
        }
    }

    fn serialize_u128(self, wide: u128) -> Result<(), NotScalar> {
        let integer = u64::try_from(wide);
        self.bare(integer.map_err(|_| refused("an integer of more than 64 bits"))?)
    }

    fn serialize_f32(self, float: f32) -> Result<(), NotScalar> {
        Err(refused(format_args!("the float {float}")))
    }

    fn serialize_f64(self, float: f64) -> Result<(), NotScalar> {
        Err(refused(format_args!("the float {float}")))
    }

    fn serialize_char(self, char: char) -> Result<(), NotScalar> {
        self.serialize_str(char.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), NotScalar> {
        if text.as_bytes().contains(&0) {
            return Err(KeyError::Nul.into());
        }
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    // Dates and the like serialize themselves this way.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), NotScalar> {
        write!(self.0, "{value}").map_err(refused)?;
        if self.0.contains(&0) { Err(KeyError::Nul.into()) } else { Ok(()) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotScalar> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: Label, _: u32, variant: Label) -> Result<(), NotScalar> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: Label,
        value: &T,
    ) -> Result<(), NotScalar> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: Label,
        _: u32,
        _: Label,
        _: &T,
    ) -> Result<(), NotScalar> {
        Err(NotScalar::Columns)
    }

    fn serialize_tuple(self, len: usize) -> Result<Never, NotScalar> {
        Err(NotScalar::Tuple(len))
    }

    fn serialize_tuple_struct(self, _: Label, len: usize) -> Result<Never, NotScalar> {
        Err(NotScalar::Tuple(len))
    }

    fn serialize_struct(self, name: Label, _: usize) -> Result<Never, NotScalar> {
        let is_json = name.starts_with("$serde_json::private::");
        Err(if is_json { refused("JSON as text") } else { NotScalar::Columns })
    }
}
