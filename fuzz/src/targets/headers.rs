//! F5, headers and write-ids: read as the wire contract says, whatever else stands there.

use arbitrary::{Result, Unstructured};
use write_behind_shared::record::{
    ADD, HEADER_BYTES_MAX, HEADERS_MAX, HIGH, PRIORITY, UNREADABLE, WRITE_ID,
};
use write_behind_shared::{Headers, RecordError, WriteId};

use crate::outcome::told;
use crate::targets::Target;

pub const TARGET: Target = Target {
    name: "headers",
    what: "of all headers those of the contract are picked, each once; a write-id has 24 bytes and comes back as it was",
    run,
    words: &["high", "add", "a,b", "\u{1}", "\u{2}", "\u{3}", "\u{4}", "0123456789abcdef01234567"],
    examples: &["\u{1}\u{3}a,b", "\u{2}\u{18}0123456789abcdef01234567"],
};

type Header = (String, Option<Vec<u8>>);

fn headers(source: &mut Unstructured<'_>) -> Result<Vec<Header>> {
    let mut all = Vec::new();
    while !source.is_empty() {
        let name = match source.arbitrary::<u8>()? % 8 {
            0 | 1 => ADD.to_owned(),
            2 | 3 => WRITE_ID.to_owned(),
            4 => PRIORITY.to_owned(),
            5 => UNREADABLE.to_owned(),
            6 => "more".repeat(usize::from(source.arbitrary::<u8>()?)),
            _ => String::new(),
        };
        let length = source.arbitrary::<u8>()?;
        let value = match length {
            255 => None,
            24 if source.len() >= 24 => Some(source.bytes(24)?.to_vec()),
            _ => Some(source.bytes(usize::from(length % 32).min(source.len()))?.to_vec()),
        };
        let times = if length == 254 { usize::from(source.arbitrary::<u8>()?) * 2 } else { 1 };
        all.extend(std::iter::repeat_n((name, value), times));
    }
    Ok(all)
}

/// The same by another way.
fn expected(all: &[Header]) -> std::result::Result<(Option<&str>, Option<WriteId>, bool), ()> {
    let bytes = |(name, value): &Header| name.len() + value.as_ref().map_or(0, Vec::len);
    if all.len() > HEADERS_MAX || all.iter().map(bytes).sum::<usize>() > HEADER_BYTES_MAX {
        return Err(());
    }
    let of = |wanted: &'static str| all.iter().filter(move |(name, _)| name == wanted);
    if of(ADD).count() > 1 || of(WRITE_ID).count() > 1 || of(UNREADABLE).count() > 0 {
        return Err(());
    }
    let add = match of(ADD).next() {
        Some((_, value)) => Some(std::str::from_utf8(value.as_deref().ok_or(())?).map_err(drop)?),
        None => None,
    };
    let write_id = match of(WRITE_ID).next() {
        Some((_, value)) => Some(WriteId::decode(value.as_deref().ok_or(())?).ok_or(())?),
        None => None,
    };
    let is_high = of(PRIORITY).any(|(_, value)| value.as_deref() == Some(HIGH.as_bytes()));
    Ok((add, write_id, is_high))
}

fn run(input: &[u8]) -> u64 {
    assert_eq!(WriteId::decode(input).is_some(), input.len() == 24);
    assert!(WriteId::decode(input).is_none_or(|id| id.encode() == input));
    let all = headers(&mut Unstructured::new(input)).unwrap_or_default();
    let lent = all.iter().map(|(name, value)| (&**name, value.as_deref()));
    let read = Headers::read(lent);
    match (read, expected(&all)) {
        (Ok(read), Ok(expected)) => {
            assert_eq!((read.add, read.write_id, read.is_high), expected);
            let is = [read.add.is_some(), read.write_id.is_some(), read.is_high].map(usize::from);
            told("", &[is[0], is[1], is[2], all.len()])
        }
        (Err(why), Err(())) => {
            assert!(!matches!(why, RecordError::TooManyHeaders) || all.len() > 8);
            told(why, &[])
        }
        (read, expected) => panic!("{read:?}, and {expected:?} is right"),
    }
}
