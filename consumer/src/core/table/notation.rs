//! A parser of Postgres' text notation, as far as the parts must be checked: bounds of ranges,
//! fields of composite values, elements of arrays.
//!
//! A part is judged as a value of its own would be, since what the database silently does to a part
//! is the same: `now` in a range means another instant at each attempt, and a decimal in a composite
//! value is rounded. Quotes and backslashes may stand anywhere in a part, so `n\ow` is `now`.

use std::iter::repeat;

use crate::core::table::calendar::Calendar;
use crate::core::table::digits::finer;
use crate::core::table::{ColumnKind, globe, lexemes};

/// Why `text` does not fit a column of this kind, to follow the words "the value".
///
/// What nothing is silently done to is left to the database.
pub(crate) fn unfit(kind: &ColumnKind, text: &str) -> Option<String> {
    match kind {
        ColumnKind::Range(bound) => parts_unfit(bounds(text), repeat(&**bound)),
        ColumnKind::Multirange(bound) => parts_unfit(ranges(text), repeat(&**bound)),
        ColumnKind::Array(of, delimiter) => parts_unfit(elements(text, *delimiter), repeat(&**of)),
        ColumnKind::Composite(kinds) => parts_unfit(fields(text), kinds),
        ColumnKind::Calendar(calendar) => is_not(*calendar, text),
        ColumnKind::Instant(_) if matches!(text, "infinity" | "-infinity") => None,
        ColumnKind::Instant(_) => is_not(Calendar::Instant, text),
        ColumnKind::Numeric(Some(scale)) => finer(text.trim(), *scale),
        ColumnKind::Short(length) => length.exceeded_by(text),
        ColumnKind::Lexemes => lexemes::unfit(text),
        ColumnKind::Geometry { on_globe } => globe::unfit(text, *on_globe),
        _ => None,
    }
}

/// Whether [`unfit`] may find anything in a value of this kind.
pub(crate) fn is_judged(kind: &ColumnKind) -> bool {
    match kind {
        ColumnKind::Range(part) | ColumnKind::Multirange(part) | ColumnKind::Array(part, _) => {
            is_judged(part)
        }
        ColumnKind::Composite(fields) => fields.iter().any(is_judged),
        ColumnKind::Calendar(_)
        | ColumnKind::Instant(_)
        | ColumnKind::Numeric(Some(_))
        | ColumnKind::Short(_)
        | ColumnKind::Lexemes
        | ColumnKind::Geometry { .. } => true,
        _ => false,
    }
}

fn is_not(calendar: Calendar, text: &str) -> Option<String> {
    // A bound or an element may have spaces around it.
    let reads = calendar.reads(text.trim());
    (!reads).then(|| format!("is not {}", calendar.what()))
}

/// Why one of the parts does not fit, each of its own kind.
fn parts_unfit<'k>(
    parts: Option<Vec<Option<String>>>,
    kinds: impl IntoIterator<Item = &'k ColumnKind>,
) -> Option<String> {
    let Some(parts) = parts else {
        return Some("is not in the notation of its type".to_owned());
    };
    let mut parts = parts.iter().zip(kinds);
    parts.find_map(|(part, kind)| unfit(kind, part.as_deref()?))
}

/// A text that is read from its beginning.
struct Reader<'t>(&'t str);

impl Reader<'_> {
    fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches(|letter: char| letter.is_ascii_whitespace());
    }

    fn takes(&mut self, letter: char) -> Option<()> {
        self.0 = self.0.strip_prefix(letter)?;
        Some(())
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.0.chars().next()?;
        self.0 = &self.0[letter.len_utf8()..];
        Some(letter)
    }

    /// A part up to one of `ends`, which stays, without its quotes and backslashes; and whether it
    /// had any.
    fn part(&mut self, ends: &[char]) -> Option<(String, bool)> {
        let (mut part, mut quoted, mut spelled) = (String::new(), false, false);
        loop {
            if !quoted && self.0.starts_with(ends) {
                return Some((part, spelled));
            }
            match self.next()? {
                '\\' => {
                    part.push(self.next()?);
                    spelled = true;
                }
                '"' if quoted && self.takes('"').is_some() => part.push('"'),
                '"' => (quoted, spelled) = (!quoted, true),
                letter => part.push(letter),
            }
        }
    }

    /// A range's bounds; `None`: there is none.
    fn range(&mut self) -> Option<[Option<String>; 2]> {
        self.spaces();
        let word = self.0.get(..5).unwrap_or_default();
        if word.eq_ignore_ascii_case("empty") {
            self.0 = &self.0[5..];
            self.spaces();
            return Some([None, None]);
        }
        self.takes('[').or_else(|| self.takes('('))?;
        let lower = given(self.part(&[',', ')', ']'])?);
        self.takes(',')?;
        let upper = given(self.part(&[',', ')', ']'])?);
        self.takes(']').or_else(|| self.takes(')'))?;
        self.spaces();
        Some([lower, upper])
    }

    /// An array's elements, of all its dimensions.
    fn array(&mut self, delimiter: char, elements: &mut Vec<Option<String>>) -> Option<()> {
        self.takes('{')?;
        loop {
            self.spaces();
            if self.0.starts_with('{') {
                self.array(delimiter, elements)?;
            } else if !self.0.starts_with('}') {
                let (text, spelled) = self.part(&[delimiter, '}'])?;
                let is_null = !spelled && text.trim().eq_ignore_ascii_case("null");
                elements.push(Some(text).filter(|_| !is_null));
            }
            self.spaces();
            if self.takes(delimiter).is_none() {
                return self.takes('}');
            }
        }
    }

    fn ends(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// A part, of which nothing at all is NULL.
fn given((text, spelled): (String, bool)) -> Option<String> {
    Some(text).filter(|text| spelled || !text.is_empty())
}

fn bounds(text: &str) -> Option<Vec<Option<String>>> {
    let mut reader = Reader(text);
    let range = reader.range()?;
    reader.ends()?;
    Some(range.into())
}

/// The bounds of all ranges of a multirange.
fn ranges(text: &str) -> Option<Vec<Option<String>>> {
    let mut reader = Reader(text);
    let mut bounds = Vec::new();
    reader.spaces();
    reader.takes('{')?;
    reader.spaces();
    while !reader.0.starts_with('}') {
        bounds.extend(reader.range()?);
        if reader.takes(',').is_none() {
            break;
        }
    }
    reader.takes('}')?;
    reader.spaces();
    reader.ends()?;
    Some(bounds)
}

/// The fields of a composite value; `None` is NULL.
fn fields(text: &str) -> Option<Vec<Option<String>>> {
    let mut reader = Reader(text);
    let mut fields = Vec::new();
    reader.spaces();
    reader.takes('(')?;
    loop {
        fields.push(given(reader.part(&[',', ')'])?));
        if reader.takes(',').is_none() {
            break;
        }
    }
    reader.takes(')')?;
    reader.spaces();
    reader.ends()?;
    Some(fields)
}

fn elements(text: &str, delimiter: char) -> Option<Vec<Option<String>>> {
    let mut reader = Reader(text);
    let mut elements = Vec::new();
    reader.spaces();
    if reader.0.starts_with('[') {
        // The bounds of its dimensions.
        reader.0 = &reader.0[reader.0.find('=')? + 1..];
        reader.spaces();
    }
    reader.array(delimiter, &mut elements)?;
    reader.spaces();
    reader.ends()?;
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::table::Length;
    use crate::core::table::calendar::Eras;

    fn date() -> ColumnKind {
        ColumnKind::Calendar(Calendar::Date(Eras::All))
    }

    fn instants() -> ColumnKind {
        ColumnKind::Range(Box::new(ColumnKind::Instant(6)))
    }

    #[test]
    fn a_word_for_the_moment_is_found_however_a_range_spells_it() {
        let at = "2013-01-31 10:00:00+00";
        for good in [
            format!("[{at},)"),
            format!(r#"["{at}","2014-01-31T10:00:00Z")"#),
            format!(" ( {at} , infinity ] "),
            "empty".to_owned(),
            " EMPTY ".to_owned(),
            "(,)".to_owned(),
        ] {
            assert_eq!(unfit(&instants(), &good), None, "{good}");
        }
        for bad in
            ["[now,)", r"[n\ow,)", r#"(n"o"w,)"#, r#"("now",)"#, "(, now)", "(,today]", "[now", "x"]
        {
            assert!(unfit(&instants(), bad).is_some(), "{bad}");
        }
        let several = ColumnKind::Multirange(Box::new(date()));
        for good in ["{}", "{[2013-01-31,2013-02-01), (2014-01-31,)}", "{empty}", " { } "] {
            assert_eq!(unfit(&several, good), None, "{good}");
        }
        for bad in ["{[2013-01-31,today)}", "{(,2013-01-31), [n\\ow,)}", "[2013-01-31,)", "{[,)"] {
            assert!(unfit(&several, bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn the_fields_of_a_composite_value_are_judged_each_by_its_own_kind() {
        let dates = ColumnKind::Array(Box::new(date()), ',');
        let kinds = vec![
            ColumnKind::Text,
            date(),
            ColumnKind::Numeric(Some(1)),
            ColumnKind::Short(Length::Characters(2)),
            dates,
            ColumnKind::Composite(vec![date()]),
        ];
        let kind = ColumnKind::Composite(kinds);
        assert!(is_judged(&kind));
        for good in [
            "(now,2013-01-31,1.5,US,,)",
            r#"("see you ""tomorrow""",,,,,)"#,
            r#"(\(,2013-01-31,,,"{2013-01-31,NULL,""2013-02-01""}","(2013-01-31)")"#,
            "(,,,,{},)",
            r#"(,,,,"[2:3]={2013-01-31,2013-01-30}",)"#,
            r#"(,,,,"{{2013-01-31},{null}}",)"#,
        ] {
            assert_eq!(unfit(&kind, good), None, "{good}");
        }
        for bad in [
            "(,now,,,,)",
            r"(,n\ow,,,,)",
            "(,,1.25,,,)",
            r#"(,,,"US ",,)"#,
            "(,,,US ,,)",
            "(,,,,{today},)",
            r#"(,,,,"{2013-01-31,""now""}",)"#,
            r#"(,,,,,"(now)")"#,
            "(,,,,",
            "x",
        ] {
            assert!(unfit(&kind, bad).is_some(), "{bad}");
        }
        assert!(!is_judged(&ColumnKind::Composite(vec![ColumnKind::Text, ColumnKind::Notation])));
    }
}
