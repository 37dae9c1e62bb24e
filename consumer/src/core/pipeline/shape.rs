//! The shapes of values: which members a JSON object has, recognised without parsing it in full.
//!
//! A value fits a shape seen before if it is a well-formed object with exactly its members.
//! [`json::members`] defines what is well formed, and the same parser decides here. Values without
//! white space, escapes and nesting, as most are, are recognised without it; a property test keeps
//! all three in agreement.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use write_behind_shared::RecordError;
use write_behind_shared::json::{self, DEPTH_MAX};

/// A shape, as an index into [`Shapes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(usize);

/// The shapes seen so far.
#[derive(Debug)]
pub struct Shapes {
    most: usize,
    /// The names of each shape's members, in order.
    names: Vec<Box<[Box<str>]>>,
    /// The plain spelling of each shape.
    plain: Vec<Plain>,
    latest: usize,
}

impl Shapes {
    /// Remembers `most` shapes.
    pub fn new(most: usize) -> Self {
        Self { most, names: Vec::new(), plain: Vec::new(), latest: 0 }
    }

    /// Whether `value` is well formed and has exactly the members of `shape`, in order.
    pub fn fits(&self, shape: Shape, value: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(value) else { return false };
        if self.plain[shape.0].fits(value) {
            return true;
        }
        if json::depth_exceeds(value, DEPTH_MAX) {
            return false;
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let same = reader.deserialize_map(SameNames(&self.names[shape.0]));
        same.unwrap_or(false) && reader.end().is_ok()
    }

    /// The shape of `value`; `None`: `value` is well formed, but the limit of shapes is reached.
    ///
    /// # Errors
    /// `value` is not a well-formed object.
    pub fn of(&mut self, value: &[u8]) -> Result<Option<Shape>, RecordError> {
        if self.latest < self.names.len() && self.fits(Shape(self.latest), value) {
            return Ok(Some(Shape(self.latest)));
        }
        let members = json::members(value)?;
        let same = |names: &[Box<str>]| {
            names.len() == members.len()
                && names.iter().zip(&members).all(|(name, (member, _))| **name == **member)
        };
        let place = match self.names.iter().position(|names| same(names)) {
            Some(place) => place,
            None if self.names.len() >= self.most => return Ok(None),
            None => {
                self.names.push(members.iter().map(|(name, _)| (&**name).into()).collect());
                self.plain.push(Plain::of(members.iter().map(|(name, _)| &**name)));
                self.names.len() - 1
            }
        };
        self.latest = place;
        Ok(Some(Shape(place)))
    }
}

/// The spelling of a shape with no white space and no escapes, and with scalar values only.
#[derive(Debug)]
struct Plain {
    /// The bytes before each value; `None`: a name needs escapes.
    openings: Option<Box<[Box<[u8]>]>>,
}

impl Plain {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let opening = |(place, name): (usize, &str)| {
            let plain = end_of_text(name.as_bytes()).is_none();
            let bracket = if place == 0 { '{' } else { ',' };
            plain.then(|| format!("{bracket}\"{name}\":").into_bytes().into_boxed_slice())
        };
        Self { openings: names.enumerate().map(opening).collect() }
    }

    /// Whether `value`, which is UTF-8, certainly has this spelling. If not, it may still fit.
    fn fits(&self, value: &[u8]) -> bool {
        let Some(openings) = &self.openings else { return false };
        let mut rest = value;
        for opening in openings {
            let after = rest.strip_prefix(&**opening).and_then(after_scalar);
            let Some(after) = after else { return false };
            rest = after;
        }
        rest == b"}" && !openings.is_empty()
    }
}

/// What follows the plain scalar at the start of `text`, if there is one.
fn after_scalar(text: &[u8]) -> Option<&[u8]> {
    match text.first()? {
        b'"' => {
            let inner = &text[1..];
            let end = end_of_text(inner)?;
            (inner[end] == b'"').then(|| &inner[end + 1..])
        }
        b't' => text.strip_prefix(b"true"),
        b'f' => text.strip_prefix(b"false"),
        b'n' => text.strip_prefix(b"null"),
        _ => after_number(text),
    }
}

/// The position of the first quotation mark, escape or control character.
fn end_of_text(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
}

/// What follows the number without an exponent at the start of `text`, if there is one.
fn after_number(text: &[u8]) -> Option<&[u8]> {
    let natural = text.strip_prefix(b"-").unwrap_or(text);
    let rest = after_digits(natural)?;
    if natural[0] == b'0' && natural.len() - rest.len() > 1 {
        return None;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => after_digits(fraction)?,
        None => rest,
    };
    // The parser handles exponents.
    Some(rest)
}

fn after_digits(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit())?;
    (digits > 0).then(|| &text[digits..])
}

/// Whether an object has exactly these members, in this order. Their values are skipped.
struct SameNames<'s>(&'s [Box<str>]);

impl<'de> Visitor<'de> for SameNames<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        for name in self.0 {
            if map.next_key_seed(Name(name))? != Some(true) {
                return Ok(false);
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(map.next_key_seed(Name(""))?.is_none())
    }
}

struct Name<'s>(&'s str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Documents that are nearly well formed, with few names, so that shapes repeat.
    fn a_document() -> impl Strategy<Value = String> {
        let value = prop::sample::select(vec![
            "1",
            "-0",
            "-12.50",
            "-0.5e3",
            "01",
            "-",
            "1.",
            ".5",
            "true",
            "falsey",
            "\"é\"",
            "null",
            "\"x\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"\\x\"",
            "\"\n\"",
            "[1,{\"a\":2}]",
            "[1,]",
            "{}",
            "tru",
            "",
            "{\"b\":1,\"b\":2}",
            "1 1",
        ]);
        let name = prop::sample::select(vec!["a", "b", "\\u0061", "c\\n", "\\ud800"]);
        let members = prop::collection::vec((name, value), 0..4);
        (members, "[ \t]{0,2}", prop::sample::select(vec!["", " ", "x", ",", "}"])).prop_map(
            |(members, space, rest)| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(n, v)| format!("{space}\"{n}\"{space}:{space}{v}"))
                    .collect();
                format!("{space}{{{}}}{rest}", members.join(","))
            },
        )
    }

    fn names(document: &[u8]) -> Option<Vec<String>> {
        let members = json::members(document).ok()?;
        Some(members.into_iter().map(|(name, _)| name.into_owned()).collect())
    }

    proptest! {
        #[test]
        fn a_value_fits_a_shape_exactly_when_it_is_well_formed_and_has_its_members(
            documents in prop::collection::vec(a_document(), 1..20),
        ) {
            let mut shapes = Shapes::new(64);
            let mut seen: Vec<(Shape, Vec<String>)> = Vec::new();
            for document in &documents {
                let names = names(document.as_bytes());
                for (shape, of_shape) in &seen {
                    let fits = shapes.fits(*shape, document.as_bytes());
                    prop_assert_eq!(fits, names.as_ref() == Some(of_shape), "{}", document);
                }
                match shapes.of(document.as_bytes()) {
                    Ok(Some(shape)) => seen.push((shape, names.unwrap())),
                    Ok(None) => prop_assert!(false, "fewer shapes than the limit"),
                    Err(_) => prop_assert!(names.is_none(), "{} is well formed", document),
                }
            }
        }

        #[test]
        fn bytes_of_any_kind_fit_only_when_they_are_well_formed(bytes: Vec<u8>) {
            let mut shapes = Shapes::new(64);
            let shape = shapes.of(b"{}").unwrap().unwrap();
            prop_assert_eq!(shapes.fits(shape, &bytes), names(&bytes) == Some(Vec::new()));
        }
    }

    #[test]
    fn nesting_beyond_the_limit_fits_nothing() {
        let nested = |levels: usize| {
            format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        let mut shapes = Shapes::new(64);
        let shape = shapes.of(nested(DEPTH_MAX).as_bytes()).unwrap().unwrap();
        assert!(shapes.fits(shape, nested(DEPTH_MAX).as_bytes()));
        assert!(!shapes.fits(shape, nested(DEPTH_MAX + 1).as_bytes()));
    }

    #[test]
    fn beyond_the_limit_no_further_shapes_are_remembered() {
        let mut shapes = Shapes::new(3);
        for n in 0..3 {
            assert!(shapes.of(format!(r#"{{"c{n}":1}}"#).as_bytes()).unwrap().is_some());
        }
        assert!(shapes.of(br#"{"another":1}"#).unwrap().is_none());
        assert!(shapes.of(br#"{"c0":2}"#).unwrap().is_some());
    }
}
