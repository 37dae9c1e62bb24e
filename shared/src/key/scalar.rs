//! The serializer of scalars, which also tells what any other value is.

use std::fmt::{self, Display, Write as _};

use serde::ser::{self, Impossible, Serialize, Serializer};

use super::error::KeyError;
use crate::finite::{Label, answers};

/// Appends the plain text of `value` to `text`, if it is a scalar.
///
/// # Errors
/// [`NotScalar`]; `text` may then end in part of the value.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    text: &mut Vec<u8>,
) -> Result<Spelling, NotScalar> {
    value.serialize(Scalar { text, is_name: false })
}

/// The text of a column's name: JSON allows more scalars here than a key has values.
///
/// # Errors
/// [`NotScalar`].
pub(super) fn name<T: Serialize + ?Sized>(name: &T) -> Result<String, NotScalar> {
    let mut text = Vec::new();
    name.serialize(Scalar { text: &mut text, is_name: true })?;
    String::from_utf8(text).map_err(refused)
}

/// How JSON spells a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As its plain text.
    Bare,
    /// As a string.
    Quoted,
}

/// Why a value is not written as one scalar.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotScalar {
    /// It is a struct, or a map.
    #[error("a struct")]
    Columns,
    /// It is a tuple of this many values.
    #[error("a tuple")]
    Tuple(usize),
    /// It cannot be a key.
    #[error(transparent)]
    Refused(#[from] KeyError),
}

impl From<NotScalar> for KeyError {
    fn from(why: NotScalar) -> Self {
        match why {
            NotScalar::Refused(why) => why,
            NotScalar::Columns | NotScalar::Tuple(_) => KeyError::NotAKey(why.to_string()),
        }
    }
}

impl ser::Error for NotScalar {
    fn custom<T: Display>(message: T) -> Self {
        refused(message)
    }
}

pub(super) fn refused(what: impl Display) -> NotScalar {
    NotScalar::Refused(KeyError::NotAKey(what.to_string()))
}

fn a_float(float: impl Display) -> NotScalar {
    refused(format_args!("the float {float}"))
}

struct Scalar<'w> {
    text: &'w mut Vec<u8>,
    is_name: bool,
}

impl Scalar<'_> {
    /// A scalar whose JSON is its plain text.
    fn bare<T: Serialize>(self, scalar: T) -> Result<Spelling, NotScalar> {
        serde_json::to_writer(self.text, &scalar).map_err(refused)?;
        Ok(Spelling::Bare)
    }

    fn wide<T: Serialize>(self, wide: T, fits: bool) -> Result<Spelling, NotScalar> {
        if fits || self.is_name {
            self.bare(wide)
        } else {
            Err(refused("an integer of more than 64 bits"))
        }
    }
}

/// Takes the text of a `Display` that may fail, at which `io::Write` would panic.
struct Shown<'w>(&'w mut Vec<u8>);

impl fmt::Write for Shown<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

macro_rules! bare {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, scalar: $type) -> Result<Spelling, NotScalar> {
            self.bare(scalar)
        }
    )*};
}

type Never = Impossible<Spelling, NotScalar>;

impl Serializer for Scalar<'_> {
    type Ok = Spelling;
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
    answers!(Err(refused("null")) => Spelling:
        serialize_none() serialize_unit() serialize_unit_struct(Label)
    );
    answers!(Err(refused("bytes")) => Spelling: serialize_bytes(&[u8]));
    answers!(Err(refused("a list")) => Never: serialize_seq(Option<usize>));
    answers!(Err(refused("an enum with values")) => Never:
        serialize_tuple_variant(Label, u32, Label, usize)
        serialize_struct_variant(Label, u32, Label, usize)
    );
    answers!(Err(NotScalar::Columns) => Never: serialize_map(Option<usize>));

    fn serialize_i128(self, wide: i128) -> Result<Spelling, NotScalar> {
        self.wide(wide, i64::try_from(wide).is_ok() || u64::try_from(wide).is_ok())
    }

    fn serialize_u128(self, wide: u128) -> Result<Spelling, NotScalar> {
        self.wide(wide, u64::try_from(wide).is_ok())
    }

    fn serialize_f32(self, float: f32) -> Result<Spelling, NotScalar> {
        if self.is_name && float.is_finite() { self.bare(float) } else { Err(a_float(float)) }
    }

    fn serialize_f64(self, float: f64) -> Result<Spelling, NotScalar> {
        if self.is_name && float.is_finite() { self.bare(float) } else { Err(a_float(float)) }
    }

    fn serialize_char(self, char: char) -> Result<Spelling, NotScalar> {
        self.serialize_str(char.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<Spelling, NotScalar> {
        if text.as_bytes().contains(&0) {
            return Err(KeyError::Nul.into());
        }
        self.text.extend_from_slice(text.as_bytes());
        Ok(Spelling::Quoted)
    }

    // Dates and the like serialize themselves this way.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<Spelling, NotScalar> {
        write!(Shown(self.text), "{value}").map_err(refused)?;
        if self.text.contains(&0) { Err(KeyError::Nul.into()) } else { Ok(Spelling::Quoted) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Spelling, NotScalar> {
        if self.is_name { Err(refused("an optional name")) } else { value.serialize(self) }
    }

    fn serialize_unit_variant(
        self,
        _: Label,
        _: u32,
        variant: Label,
    ) -> Result<Spelling, NotScalar> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: Label,
        value: &T,
    ) -> Result<Spelling, NotScalar> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: Label,
        _: u32,
        _: Label,
        _: &T,
    ) -> Result<Spelling, NotScalar> {
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
