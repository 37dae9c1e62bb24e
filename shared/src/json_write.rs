//! A JSON writer that notices what no consumer can apply.
//!
//! That is a NUL character, too deep a nesting, or a float that is not finite. The formatter sees
//! each as it is written, so the text need not be scanned afterwards.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use crate::{finite, json};

/// What a JSON text was found to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// A text holds a NUL character, which no text column can.
    pub nul: bool,
    /// It is nested deeper than [`json::DEPTH_MAX`].
    pub too_deep: bool,
    /// A float is NaN or infinite, and was written as `null`.
    pub not_finite: bool,
}

impl Noticed {
    /// What a well-formed text alone can tell: all but whether a float was lost.
    #[must_use]
    pub fn in_text(document: &[u8]) -> Self {
        let spells_nul = || std::str::from_utf8(document).is_ok_and(json::spells_nul);
        Self {
            // Few texts have a backslash, and looking for one byte is quick.
            nul: document.contains(&b'\\') && spells_nul(),
            too_deep: json::depth_exceeds(document, json::DEPTH_MAX),
            not_finite: false,
        }
    }
}

/// Appends `value` to `document` as JSON.
///
/// # Errors
/// The value's own, or that it cannot be JSON. `document` then ends in part of it.
pub fn write<T: Serialize + ?Sized>(
    value: &T,
    document: &mut Vec<u8>,
) -> Result<Noticed, serde_json::Error> {
    let start = document.len();
    let mut watch = Watch::default();
    value.serialize(&mut Serializer::with_formatter(&mut *document, &mut watch))?;
    let mut noticed = Noticed {
        nul: watch.nul,
        too_deep: watch.deepest > json::DEPTH_MAX,
        // Only the value itself can tell a real null from a lost float.
        not_finite: watch.null && finite::loses_a_float(value),
    };
    if watch.raw {
        let in_text = Noticed::in_text(&document[start..]);
        noticed = Noticed { not_finite: noticed.not_finite, ..in_text };
    }
    Ok(noticed)
}

/// Writes JSON as `serde_json` does, and notes what it writes.
#[derive(Debug, Default)]
struct Watch {
    depth: usize,
    deepest: usize,
    nul: bool,
    null: bool,
    /// A fragment was JSON already, and what it holds was not seen.
    raw: bool,
}

impl Watch {
    fn enter(&mut self) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }
}

impl Formatter for &mut Watch {
    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter();
        CompactFormatter.begin_object(writer)
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        CompactFormatter.end_object(writer)
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter();
        CompactFormatter.begin_array(writer)
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        CompactFormatter.end_array(writer)
    }

    fn write_null<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.null = true;
        CompactFormatter.write_null(writer)
    }

    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.nul |= matches!(escape, CharEscape::AsciiControl(0));
        CompactFormatter.write_char_escape(writer, escape)
    }

    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.raw = true;
        CompactFormatter.write_raw_fragment(writer, fragment)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn noticed(value: &(impl Serialize + ?Sized)) -> Noticed {
        let mut document = b"before".to_vec();
        let noticed = write(value, &mut document).unwrap();
        assert_eq!(document[6..], serde_json::to_vec(value).unwrap(), "as serde_json writes it");
        noticed
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, level| {
            if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) }
        })
    }

    #[test]
    fn a_nul_is_noticed_in_names_and_values() {
        assert!(noticed(&json!({"t": "a\0"})).nul);
        assert!(noticed(&json!({"a\0": 1})).nul);
        assert!(!noticed(&json!({"t": r"\u0000"})).nul);
    }

    #[test]
    fn depth_is_noticed_beyond_its_limit_and_not_before() {
        assert!(!noticed(&nested(json::DEPTH_MAX)).too_deep);
        assert!(noticed(&nested(json::DEPTH_MAX + 1)).too_deep);
        let wide: Vec<Value> = (0..200).map(|_| json!([[]])).collect();
        assert!(!noticed(&wide).too_deep);
    }

    #[test]
    fn a_lost_float_is_told_from_a_real_null() {
        assert!(noticed(&BTreeMap::from([("x", Some(f64::NAN))])).not_finite);
        assert!(!noticed(&BTreeMap::from([("x", None::<f64>)])).not_finite);
    }

    #[test]
    fn fragments_that_were_json_already_are_scanned() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        assert!(noticed(&raw(r#"{"a":"\u0000"}"#)).nul);
        assert!(!noticed(&raw(r#"{"a":"\\u0000"}"#)).nul);
        assert!(noticed(&raw(&nested(json::DEPTH_MAX + 1).to_string())).too_deep);
        let half = raw(&nested(40).to_string());
        assert!(
            noticed(&[[&half]].map(|inner| [[[[[[[[[[[[[[[[[[[[[[[inner]]]]]]]]]]]]]]]]]]]]]]]))
                .too_deep
        );
        assert_eq!(noticed(&half), Noticed::default());
    }

    proptest! {
        #[test]
        fn what_the_formatter_notices_is_what_a_scan_of_the_text_finds(
            names in prop::collection::btree_map("[\0a\"\\\\]{0,3}", "[\0a{\\[\"\\\\]{0,3}", 0..4),
            levels in 0..80_usize,
        ) {
            let value = json!([names, nested(levels)]);
            let text = value.to_string();
            let noticed = noticed(&value);
            prop_assert_eq!(noticed.nul, json::spells_nul(&text));
            prop_assert_eq!(noticed.too_deep, json::depth_exceeds(text.as_bytes(), json::DEPTH_MAX));
        }
    }
}
