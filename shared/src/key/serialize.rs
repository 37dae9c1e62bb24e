//! A key as serde gives it: takes scalars, structs, maps and tuples, gives them to a [`KeyBuffer`]
//! or says why they are no key.

use std::fmt::Display;
use std::io::Write as _;
use std::ops::Range;

use serde::ser::{
    self, Impossible, Serialize, SerializeMap, SerializeStruct, SerializeTuple,
    SerializeTupleStruct, Serializer,
};

use super::buffer::{KeyBuffer, push_text};
use super::error::KeyError;

/// Something of a key, about to be written.
pub(super) struct Part<'w, 'n> {
    pub(super) buffer: &'w mut KeyBuffer,
    pub(super) place: Place<'n>,
}

/// What of the key it is.
#[derive(Clone, Copy)]
pub(super) enum Place<'n> {
    /// All of it; the columns' names, if they were given.
    Whole(&'n [Box<str>]),
    /// The value of a column.
    Value,
    /// The name of a column.
    Name,
}

impl Part<'_, '_> {
    /// A scalar that looks alike in JSON and as plain text.
    fn bare<T: Serialize>(self, scalar: T) -> Result<(), KeyError> {
        let Self { buffer, place } = self;
        let into = match place {
            Place::Whole(names) => {
                has_one_column(names)?;
                &mut buffer.text
            }
            Place::Value | Place::Name => &mut buffer.parts,
        };
        serde_json::to_writer(into, &scalar).map_err(ser::Error::custom)?;
        if let Place::Whole(names) = place {
            buffer.name_scalar(names);
        }
        Ok(())
    }

    fn wide<T: Serialize>(self, wide: T, fits: bool) -> Result<(), KeyError> {
        if fits || matches!(self.place, Place::Name) {
            self.bare(wide)
        } else {
            Err(KeyError::NotAKey("an integer of more than 64 bits".to_owned()))
        }
    }

    fn float<T: Serialize + Display>(self, float: T, is_finite: bool) -> Result<(), KeyError> {
        match self.place {
            Place::Name if is_finite => self.bare(float),
            _ => Err(KeyError::NotAKey(format!("the float {float}"))),
        }
    }

    fn text(self, text: &str) -> Result<(), KeyError> {
        let Self { buffer, place } = self;
        if text.as_bytes().contains(&0) {
            return Err(KeyError::Nul);
        }
        match place {
            Place::Whole(names) => {
                has_one_column(names)?;
                buffer.text.extend_from_slice(text.as_bytes());
                buffer.name_scalar(names);
            }
            Place::Value if !buffer.plain => push_text(&mut buffer.parts, text.as_bytes())?,
            Place::Value | Place::Name => buffer.parts.extend_from_slice(text.as_bytes()),
        }
        Ok(())
    }
}

fn has_one_column(names: &[Box<str>]) -> Result<(), KeyError> {
    if names.len() > 1 {
        return Err(KeyError::ColumnCount { named: names.len(), parts: 1 });
    }
    Ok(())
}

fn not_a_key<T>(what: &str) -> Result<T, KeyError> {
    Err(KeyError::NotAKey(what.to_owned()))
}

impl ser::Error for KeyError {
    fn custom<T: Display>(message: T) -> Self {
        KeyError::NotAKey(message.to_string())
    }
}

macro_rules! bare {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, scalar: $type) -> Result<(), KeyError> {
            self.bare(scalar)
        }
    )*};
}

impl<'w, 'n> Serializer for Part<'w, 'n> {
    type Ok = ();
    type Error = KeyError;
    type SerializeSeq = Impossible<(), KeyError>;
    type SerializeTuple = Columns<'w, 'n>;
    type SerializeTupleStruct = Columns<'w, 'n>;
    type SerializeTupleVariant = Impossible<(), KeyError>;
    type SerializeMap = Columns<'w, 'n>;
    type SerializeStruct = Columns<'w, 'n>;
    type SerializeStructVariant = Impossible<(), KeyError>;

    bare!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64
    );

    fn serialize_i128(self, wide: i128) -> Result<(), KeyError> {
        let fits = i64::try_from(wide).is_ok() || u64::try_from(wide).is_ok();
        self.wide(wide, fits)
    }

    fn serialize_u128(self, wide: u128) -> Result<(), KeyError> {
        self.wide(wide, u64::try_from(wide).is_ok())
    }

    fn serialize_f32(self, float: f32) -> Result<(), KeyError> {
        self.float(float, float.is_finite())
    }

    fn serialize_f64(self, float: f64) -> Result<(), KeyError> {
        self.float(float, float.is_finite())
    }

    fn serialize_char(self, char: char) -> Result<(), KeyError> {
        self.text(char.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), KeyError> {
        self.text(text)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), KeyError> {
        // Dates and the like come this way.
        let Self { buffer, place } = self;
        let mut text = std::mem::take(&mut buffer.text);
        let written = match write!(text, "{value}") {
            _ if text.contains(&0) => Err(KeyError::Nul),
            Err(error) => Err(ser::Error::custom(error)),
            Ok(()) => Ok(()),
        };
        if let Place::Whole(names) = place {
            buffer.text = text;
            written?;
            has_one_column(names)?;
            buffer.name_scalar(names);
            return Ok(());
        }
        // Until the columns are put together, the key's text is free for theirs.
        let written = written.and_then(|()| {
            let text = std::str::from_utf8(&text).map_err(|_| KeyError::NotUtf8)?;
            Part { buffer: &mut *buffer, place }.text(text)
        });
        text.clear();
        buffer.text = text;
        written
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), KeyError> {
        not_a_key("bytes")
    }

    fn serialize_none(self) -> Result<(), KeyError> {
        not_a_key("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), KeyError> {
        match self.place {
            Place::Name => not_a_key("an optional name"),
            _ => value.serialize(self),
        }
    }

    fn serialize_unit(self) -> Result<(), KeyError> {
        not_a_key("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), KeyError> {
        not_a_key("null")
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), KeyError> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), KeyError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), KeyError> {
        let mut columns = self.columns("an enum with a value")?;
        columns.column(variant, value)?;
        columns.finish()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, KeyError> {
        not_a_key("a list")
    }

    fn serialize_tuple(self, parts: usize) -> Result<Columns<'w, 'n>, KeyError> {
        match self.place {
            Place::Whole([]) => Err(KeyError::NoColumnNames),
            Place::Whole(names) if names.len() != parts => {
                Err(KeyError::ColumnCount { named: names.len(), parts })
            }
            _ => self.columns("a tuple"),
        }
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        parts: usize,
    ) -> Result<Columns<'w, 'n>, KeyError> {
        self.serialize_tuple(parts)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, KeyError> {
        not_a_key("an enum with values")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Columns<'w, 'n>, KeyError> {
        self.columns("a map")
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Columns<'w, 'n>, KeyError> {
        if name.starts_with("$serde_json::private::") {
            return not_a_key("JSON as text");
        }
        self.columns("a struct")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, KeyError> {
        not_a_key("an enum with columns")
    }
}

impl<'w, 'n> Part<'w, 'n> {
    fn columns(self, what: &str) -> Result<Columns<'w, 'n>, KeyError> {
        match self.place {
            Place::Whole(names) => Ok(Columns { buffer: self.buffer, names, next: 0, name: 0..0 }),
            Place::Value | Place::Name => not_a_key(what),
        }
    }
}

/// The columns of a key, one after the other.
pub(super) struct Columns<'w, 'n> {
    buffer: &'w mut KeyBuffer,
    names: &'n [Box<str>],
    /// How many of a tuple's values came.
    next: usize,
    /// Where the name of a map's next value is.
    name: Range<usize>,
}

impl Columns<'_, '_> {
    fn column<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), KeyError> {
        let start = self.buffer.parts.len();
        Part { buffer: self.buffer, place: Place::Name }.text(name)?;
        self.name = start..self.buffer.parts.len();
        self.value(value)
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
        let name = self.name.clone();
        let start = self.buffer.parts.len();
        let written = value.serialize(Part { buffer: self.buffer, place: Place::Value });
        written.map_err(|error| match error {
            KeyError::NotAKey(what) => {
                let name = String::from_utf8_lossy(self.buffer.part(&name));
                KeyError::NotAKey(format!("{what} (column {name:?})"))
            }
            other => other,
        })?;
        let value = start..self.buffer.parts.len();
        self.buffer.place(name, value);
        Ok(())
    }

    fn next<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
        let names = self.names;
        self.next += 1;
        let Some(name) = names.get(self.next - 1) else {
            return Err(KeyError::ColumnCount { named: names.len(), parts: self.next });
        };
        self.column(name, value)
    }

    fn finish(self) -> Result<(), KeyError> {
        self.buffer.end(self.names)
    }
}

impl SerializeStruct for Columns<'_, '_> {
    type Ok = ();
    type Error = KeyError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), KeyError> {
        self.column(name, value)
    }

    fn end(self) -> Result<(), KeyError> {
        self.finish()
    }
}

impl SerializeMap for Columns<'_, '_> {
    type Ok = ();
    type Error = KeyError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), KeyError> {
        let start = self.buffer.parts.len();
        name.serialize(Part { buffer: self.buffer, place: Place::Name })?;
        self.name = start..self.buffer.parts.len();
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
        self.value(value)
    }

    fn end(self) -> Result<(), KeyError> {
        self.finish()
    }
}

macro_rules! tuple {
    ($($part:ident: $method:ident),*) => {$(
        impl $part for Columns<'_, '_> {
            type Ok = ();
            type Error = KeyError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
                self.next(value)
            }

            fn end(self) -> Result<(), KeyError> {
                self.finish()
            }
        }
    )*};
}
tuple!(SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field);
