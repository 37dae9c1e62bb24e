//! Coordinates in `PostGIS`' notations: what the database would silently move or lose.
//!
//! A `geography` keeps a longitude of 200 as -160 and a latitude of 100 as 80, with a notice that nobody
//! reads; in either type a number beyond the floats becomes infinite.

use std::iter::from_fn;

use crate::core::table::digits::is_near_a_float;

const LONGITUDE_MAX: f64 = 180.0;
const LATITUDE_MAX: f64 = 90.0;
/// How deep collections may stand in each other.
const DEPTH_MAX: usize = 32;

/// Why `text` does not fit a column of geometries, to follow the words "the value". What can't be
/// parsed is the database's to refuse.
pub(super) fn unfit(text: &str, on_globe: bool) -> Option<String> {
    let notation = text.trim_start();
    let is_hexadecimal = notation.starts_with('0');
    if !is_hexadecimal && numbers(notation).any(|number| !is_near_a_float(number, false)) {
        return Some("has a coordinate that no float is near".to_owned());
    }
    if !on_globe {
        return None;
    }
    let points =
        if is_hexadecimal { binary_points(notation) } else { Some(written_points(notation)) };
    match points {
        None => Some("is not in the notation of its type".to_owned()),
        Some(points) => points.into_iter().any(is_beyond).then(|| {
            "has a longitude beyond 180 degrees or a latitude beyond 90, which the column would move"
                .to_owned()
        }),
    }
}

fn is_beyond((longitude, latitude): (f64, f64)) -> bool {
    longitude.abs() > LONGITUDE_MAX || latitude.abs() > LATITUDE_MAX
}

/// The finite numbers in a text, as they are spelled.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| {
        !letter.is_ascii_alphanumeric() && !matches!(letter, '.' | '+' | '-')
    });
    words.filter(|word| {
        word.ends_with(|letter: char| letter.is_ascii_digit() || letter == '.')
            && word.parse::<f64>().is_ok()
    })
}

/// The points of a well-known text, such as `SRID=4326;LINESTRING(1 2,3 4)`.
fn written_points(text: &str) -> Vec<(f64, f64)> {
    let (_, text) = text.split_once(';').unwrap_or(("", text));
    let tuples = text.split(['(', ')', ',']);
    let points = tuples.filter_map(|tuple| {
        let mut numbers = tuple.split_ascii_whitespace().filter_map(|word| word.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    });
    points.collect()
}

/// The points of a well-known binary in hexadecimal.
fn binary_points(text: &str) -> Option<Vec<(f64, f64)>> {
    let digits: Vec<u32> =
        text.trim_end().chars().map(|letter| letter.to_digit(16)).collect::<Option<_>>()?;
    let bytes = digits.chunks(2).map(|pair| Some((pair.first()? * 16 + pair.get(1)?) as u8));
    let mut reader = Reader { bytes: bytes.collect::<Option<_>>()?, at: 0, points: Vec::new() };
    reader.geometry(0)?;
    (reader.at == reader.bytes.len()).then_some(reader.points)
}

/// A binary that is read from its beginning.
struct Reader {
    bytes: Vec<u8>,
    at: usize,
    points: Vec<(f64, f64)>,
}

impl Reader {
    fn geometry(&mut self, depth: usize) -> Option<()> {
        let is_little = self.take::<1>()? == [1];
        let of = self.natural(is_little)?;
        // Either flags in the highest bits, or thousands in the number.
        let (kind, thousands) = (of & 0x0fff_ffff, (of & 0x0fff_ffff) / 1_000);
        let more = match thousands {
            0 => usize::from(of & 0x8000_0000 != 0) + usize::from(of & 0x4000_0000 != 0),
            3 => 2,
            _ => 1,
        };
        if of & 0x2000_0000 != 0 {
            self.natural(is_little)?;
        }
        let count = |reader: &mut Self| reader.natural(is_little);
        match kind % 1_000 {
            1 => self.point(is_little, more),
            2 => (0..count(self)?).try_for_each(|_| self.point(is_little, more)),
            3 => (0..count(self)?)
                .try_for_each(|_| (0..count(self)?).try_for_each(|_| self.point(is_little, more))),
            4..=7 if depth < DEPTH_MAX => {
                (0..count(self)?).try_for_each(|_| self.geometry(depth + 1))
            }
            _ => None,
        }
    }

    fn point(&mut self, is_little: bool, more: usize) -> Option<()> {
        let mut numbers = from_fn(|| {
            let bytes = self.take()?;
            Some(if is_little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) })
        });
        let point = (numbers.next()?, numbers.next()?);
        (0..more).try_for_each(|_| numbers.next().map(drop))?;
        self.points.push(point);
        Some(())
    }

    fn natural(&mut self, is_little: bool) -> Option<u32> {
        let bytes = self.take()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn take<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let bytes = self.bytes.get(self.at..self.at + BYTES)?.try_into().ok()?;
        self.at += BYTES;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The binary of a line: its points, a third coordinate, the number of its coordinate system.
    fn line(points: &[(f64, f64)], is_little: bool, third: Option<f64>, system: bool) -> String {
        let natural =
            |n: u32| if is_little { n.to_le_bytes().to_vec() } else { n.to_be_bytes().to_vec() };
        let float =
            |n: f64| if is_little { n.to_le_bytes().to_vec() } else { n.to_be_bytes().to_vec() };
        let flags = u32::from(third.is_some()) << 31 | u32::from(system) << 29;
        let mut bytes = vec![u8::from(is_little)];
        bytes.extend(natural(flags | 2));
        bytes.extend(if system { natural(4326) } else { Vec::new() });
        bytes.extend(natural(points.len() as u32));
        for (longitude, latitude) in points {
            bytes.extend([float(*longitude), float(*latitude)].concat());
            bytes.extend(third.map(float).unwrap_or_default());
        }
        hex(&bytes).to_uppercase()
    }

    #[test]
    fn a_place_beyond_the_globe_is_found_in_every_notation() {
        for (text, fits) in [
            ("POINT(200 10)", false),
            ("POINT(-180 90)", true),
            ("POINT(10 90.5)", false),
            ("POINT(-180.0000001 1)", false),
            ("SRID=4326;POINT(10 20)", true),
            ("SRID=4326;POINT(181 20)", false),
            ("POINT Z (1 2 300)", true),
            ("point z(1 2e2 300)", false),
            ("POINT EMPTY", true),
            ("MULTIPOINT((1 2),(3 91))", false),
            ("MULTIPOINT(1 2, 3 4)", true),
            ("POLYGON((170 0,190 0,190 10,170 0))", false),
            ("GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(200 1,2 2))", false),
            // Malformed: the database refuses it.
            ("POINT(1", true),
        ] {
            assert_eq!(unfit(text, true).is_none(), fits, "{text}");
        }
        for (points, fits) in [
            (&[(1.0, 2.0), (180.0, -90.0)][..], true),
            (&[(1.0, 2.0), (200.0, 1.0)], false),
            (&[(1.0, -91.0)], false),
            (&[], true),
        ] {
            for is_little in [true, false] {
                for third in [None, Some(500.0)] {
                    for system in [false, true] {
                        let text = line(points, is_little, third, system);
                        assert_eq!(unfit(&text, true).is_none(), fits, "{text}");
                        assert_eq!(unfit(&text, false), None, "a plane has no edge: {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn collections_and_thousands_are_read_and_what_ends_too_early_is_no_geometry() {
        let count = |n: u32| hex(&n.to_le_bytes());
        let hex_point = |kind: u32, numbers: &[f64]| {
            let numbers: String = numbers.iter().map(|n| hex(&n.to_le_bytes())).collect();
            format!("01{}{numbers}", count(kind))
        };
        for (kind, more) in [(1, &[][..]), (1001, &[9.0]), (2001, &[9.0]), (3001, &[9.0, 9.0])] {
            for (longitude, fits) in [(20.0, true), (200.0, false)] {
                let point = hex_point(kind, &[&[longitude, 1.0][..], more].concat());
                assert_eq!(unfit(&point, true).is_none(), fits, "{point}");
                let several = format!("01{}{}{point}{point}", count(7), count(2));
                assert_eq!(unfit(&several, true).is_none(), fits, "{several}");
                assert!(unfit(&several[..several.len() - 2], true).is_some(), "it ends too early");
                assert!(unfit(&format!("{several}00"), true).is_some(), "there is more");
            }
        }
        let ring = format!("{}{}", count(1), hex_point(1, &[200.0, 1.0]).split_off(10));
        assert!(unfit(&format!("01{}{}{ring}", count(3), count(1)), true).is_some(), "a polygon");
        let deep = format!("01{}{}", count(7), count(1)).repeat(100_000);
        assert!(unfit(&deep, true).is_some(), "it does not fill the stack");
        assert!(unfit("01zz", true).is_some());
        assert!(unfit("0", true).is_some());
    }

    fn hex(bytes: &[u8]) -> String {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect()
    }

    #[test]
    fn a_number_that_no_float_is_near_fits_no_geometry() {
        for on_globe in [false, true] {
            for (text, fits) in [
                ("POINT(1 1e400)", false),
                ("POINT(1e-400 1)", false),
                ("POINT(0.1 0)", true),
                ("POINT(NaN 1)", true),
                ("LINESTRING(1 2,3 -4.)", true),
            ] {
                assert_eq!(unfit(text, on_globe).is_none(), fits, "{text}");
            }
        }
        assert!(unfit(r#"{"type":"Point","coordinates":[1e400,2]}"#, false).is_some());
        assert!(unfit(r#"{"type":"Point","coordinates":[1e4,2]}"#, false).is_none());
    }
}
