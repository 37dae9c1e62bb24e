//! The serializer of composite keys: each column's value is a scalar, or the key is refused.
//!
//! A value that nests is refused where it begins, so its depth costs nothing.

use serde::Serialize;
use serde::ser::{
    Impossible, SerializeMap, SerializeStruct, SerializeTuple, SerializeTupleStruct, Serializer,
};
use serde_json::{Map, Value};

use super::error::KeyError;
use super::scalar::{self, NotScalar, Spelling, refused};
use crate::finite::{Label, answers};

/// The columns of `key`, a struct, a map, or a tuple of the values of `names`.
///
/// # Errors
/// [`KeyError`]: a value is not a scalar, or a tuple has more or fewer than there are names.
pub(super) fn columns<K: Serialize + ?Sized>(
    key: &K,
    names: &[Box<str>],
) -> Result<Map<String, Value>, KeyError> {
    let composite = Composite { names, columns: Map::new(), given: 0, name: String::new() };
    Ok(key.serialize(composite)?)
}

struct Composite<'n> {
    /// The names of a tuple's values.
    names: &'n [Box<str>],
    columns: Map<String, Value>,
    /// How many values of a tuple there have been.
    given: usize,
    /// The name of a map's next value.
    name: String,
}

impl Composite<'_> {
    fn push<T: Serialize + ?Sized>(&mut self, name: String, value: &T) -> Result<(), NotScalar> {
        let mut text = Vec::new();
        let spelling = scalar::write(value, &mut text).map_err(|why| match why.into() {
            KeyError::NotAKey(what) => refused(format_args!("{what} (column {name:?})")),
            why => NotScalar::Refused(why),
        })?;
        let value = match spelling {
            Spelling::Bare => serde_json::from_slice(&text).map_err(refused)?,
            Spelling::Quoted => Value::String(String::from_utf8(text).map_err(refused)?),
        };
        self.columns.insert(name, value);
        Ok(())
    }

    fn push_next<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotScalar> {
        self.given += 1;
        let Some(name) = self.names.get(self.given - 1) else { return Err(self.other_count()) };
        self.push(name.to_string(), value)
    }

    fn other_count(&self) -> NotScalar {
        KeyError::ColumnCount { named: self.names.len(), parts: self.given }.into()
    }
}

type Columns = Map<String, Value>;
type Never = Impossible<Columns, NotScalar>;

// A key comes here once it was found to be no scalar, so it can only be one if it changes.
impl<'n> Serializer for Composite<'n> {
    type Ok = Columns;
    type Error = NotScalar;
    type SerializeSeq = Never;
    type SerializeTuple = Composite<'n>;
    type SerializeTupleStruct = Composite<'n>;
    type SerializeTupleVariant = Never;
    type SerializeMap = Composite<'n>;
    type SerializeStruct = Composite<'n>;
    type SerializeStructVariant = Never;

    answers!(Err(refused("a value that changes its shape")) => Columns:
        serialize_bool(bool) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_i128(i128) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32)
        serialize_u64(u64) serialize_u128(u128) serialize_f32(f32) serialize_f64(f64)
        serialize_none() serialize_unit() serialize_unit_struct(Label)
        serialize_unit_variant(Label, u32, Label)
    );
    answers!(Err(refused("a value that changes its shape")) => Never:
        serialize_seq(Option<usize>) serialize_tuple_variant(Label, u32, Label, usize)
        serialize_struct_variant(Label, u32, Label, usize)
    );

    fn serialize_tuple(self, _: usize) -> Result<Self, NotScalar> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: Label, _: usize) -> Result<Self, NotScalar> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, NotScalar> {
        Ok(self)
    }

    fn serialize_struct(self, _: Label, _: usize) -> Result<Self, NotScalar> {
        Ok(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Columns, NotScalar> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: Label,
        value: &T,
    ) -> Result<Columns, NotScalar> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: Label,
        _: u32,
        variant: Label,
        value: &T,
    ) -> Result<Columns, NotScalar> {
        self.push(variant.to_owned(), value)?;
        Ok(self.columns)
    }
}

impl SerializeStruct for Composite<'_> {
    type Ok = Columns;
    type Error = NotScalar;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: Label,
        value: &T,
    ) -> Result<(), NotScalar> {
        self.push(scalar::name(name)?, value)
    }

    fn end(self) -> Result<Columns, NotScalar> {
        Ok(self.columns)
    }
}

impl SerializeMap for Composite<'_> {
    type Ok = Columns;
    type Error = NotScalar;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), NotScalar> {
        self.name = scalar::name(name)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotScalar> {
        let name = std::mem::take(&mut self.name);
        self.push(name, value)
    }

    fn end(self) -> Result<Columns, NotScalar> {
        Ok(self.columns)
    }
}

macro_rules! tuple {
    ($($part:ident: $method:ident;)+) => {$(
        impl $part for Composite<'_> {
            type Ok = Columns;
            type Error = NotScalar;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotScalar> {
                self.push_next(value)
            }

            fn end(self) -> Result<Columns, NotScalar> {
                if self.given == self.names.len() {
                    Ok(self.columns)
                } else {
                    Err(self.other_count())
                }
            }
        }
    )+};
}
tuple!(SerializeTuple: serialize_element; SerializeTupleStruct: serialize_field;);

#[cfg(test)]
#[path = "tests/composite.rs"]
mod tests;
