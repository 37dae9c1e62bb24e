//! F3, the consumer's buffer: as each record folded into its row by itself, without the repeated ones.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use uuid::Uuid;
use write_behind_consumer::core::pipeline::bounds::Bounds;
use write_behind_consumer::core::pipeline::buffer::{Buffer, Folded, PartitionMemory};
use write_behind_consumer::core::record::Incoming;
use write_behind_shared::{Change, NextOffset, Offset, Partition, WriteId, record};

use crate::outcome::told;
use crate::targets::{Target, fold};

pub const TARGET: Target = Target {
    name: "buffer",
    what: "a buffer holds what each of its records makes of its row, without the repeated ones",
    run,
    words: &[
        "\n",
        "\t",
        "1A:a\t{\"a\":1}\n",
        "2B:\t{\"a\":\"x\",\"b\":2}\n",
        "1A:\t-\n",
        "3A:",
        "1Aa",
        "{\"a\":1,\"b\":\"yy\"}",
        "{\"a\":23,\"b\":\"z\"}",
        "\"b\":",
        "null",
        "\\n",
    ],
    examples: &[
        "1A:\t{\"a\":1,\"b\":\"x\"}\n1A:\t{\"a\":22,\"b\":\"yy\"}\n1B:a\t{\"a\":1}\n1A:\t-\n2-:\t{}",
        "1A:\t{\"a\":1}\n1a:\t{\"a\":1}\n1A:b\t{\"a\":1}\n1A:\t{",
    ],
};

/// A record of the buffer as a line: key, writer, a colon, and then as [`fold::line`] has it. A writer
/// in lower case writes its last sequence again; `-` names no write.
fn run(input: &[u8]) -> u64 {
    let mut buffer = Buffer::new(Partition(0), NextOffset(0), Duration::ZERO);
    let mut memory = PartitionMemory::new(&Bounds::STANDARD, Vec::new());
    let (mut model, mut last) = (BTreeMap::<Vec<u8>, Change>::new(), HashMap::<u8, u64>::new());
    let (mut bad, mut repeated, mut offset) = (0, 0, 0);
    for text in input.split(|byte| *byte == b'\n').take(32) {
        let [key, writer, b':', rest @ ..] = text else { continue };
        let (add, value) = fold::line(rest);
        let is_again = writer.is_ascii_lowercase();
        let writer = writer.to_ascii_uppercase();
        let sequence = last.get(&writer).map_or(0, |last| last + u64::from(!is_again));
        let is_repeated = last.get(&writer).is_some_and(|last| sequence <= *last);
        let write_id = WriteId { writer: Uuid::from_u128(writer.into()), sequence }.encode();
        let mut headers = vec![];
        headers.extend(add.map(|add| (record::ADD, Some(add.as_bytes()))));
        headers.extend((writer != b'-').then_some((record::WRITE_ID, Some(&write_id[..]))));
        let key = [*key];
        let incoming = Incoming {
            partition: Partition(0),
            offset: Offset(offset),
            timestamp: None,
            key: Some(&key),
            value,
            headers: &headers,
        };
        offset += 1;
        let folded = buffer.fold(&incoming, &mut memory);
        if let Err(why) = &folded {
            buffer.set_aside(&incoming, why);
        }
        if writer != b'-' && is_repeated {
            assert_eq!(folded, Ok(Folded::Duplicate));
            repeated += 1;
            continue;
        }
        last.insert(writer, sequence);
        let change = model.entry(key.to_vec()).or_default();
        assert_eq!(folded.map(drop), record::fold(change, value, add), "{:?}", text.escape_ascii());
        bad += usize::from(folded_is_bad(value, add));
    }
    assert_eq!((buffer.next(), buffer.records()), (NextOffset(offset), offset as u64));
    let contents = buffer.into_contents();
    assert_eq!((contents.dead_letters.len(), contents.duplicates.len()), (bad, repeated));
    model.retain(|_, change| change.resets() || change.writes());
    let found: BTreeMap<Vec<u8>, String> =
        contents.rows.iter().map(|row| (row.key.to_vec(), format!("{:?}", row.change))).collect();
    let expected: BTreeMap<Vec<u8>, String> =
        model.iter().map(|(key, change)| (key.clone(), format!("{change:?}"))).collect();
    assert_eq!(found, expected);
    told("", &[bad, repeated, found.len(), offset as usize])
}

fn folded_is_bad(value: Option<&[u8]>, add: Option<&str>) -> bool {
    record::decode(value, add).is_err()
}
