//! An entry says what its write was, and nothing else is read as one.

use proptest::prelude::*;
use uuid::Uuid;
use write_behind_shared::Change;

use super::*;
use crate::core::journal_entry::JournalEntry;

fn entry(delta: &Delta, headers: Option<&RecordHeaders>, is_joined: bool) -> Vec<u8> {
    let (value, add) = delta.to_record().expect("one record");
    let entry = JournalEntry {
        partition: partition::partition_of(b"7", 12),
        id: WriteId { writer: Uuid::from_u128(3), sequence: 1 << 40 },
        is_joined,
        priority: if is_joined { Priority::High } else { Priority::Normal },
        key: b"7",
        delta,
        value: value.as_deref(),
        add: add.as_deref(),
        headers,
    };
    let mut bytes = Vec::new();
    entry.write(&mut bytes);
    bytes
}

fn deltas() -> [Delta; 4] {
    let change = Change::new().add("n", 5).set("name", &"x").expect("JSON");
    [
        Delta::Put(Row::from(&br#"{"n":1}"#[..])),
        Delta::Delete,
        Delta::changes(change.clone(), None),
        Delta::changes(change, Some(&"n".into())),
    ]
}

#[test]
fn every_kind_of_write_is_read_as_it_was_written() {
    let mut headers = RecordHeaders::default();
    headers.add("traceparent", "00-1-2-01");
    headers.add("", b"");
    for delta in deltas() {
        let version: Option<Arc<str>> = matches!(delta, Delta::Versioned(_)).then(|| "n".into());
        for (headers, is_joined) in [(None, true), (Some(&headers), false)] {
            let bytes = entry(&delta, headers, is_joined);
            let read = Replayed::read(&bytes, 12, version.as_ref()).expect("an entry");
            assert_eq!(format!("{:?}", read.delta), format!("{delta:?}"));
            assert_eq!((&*read.key, read.headers.as_deref()), (&b"7"[..], headers));
            assert_eq!((read.is_joined, read.priority == Priority::High), (is_joined, is_joined));
            assert_eq!(read.id, WriteId { writer: Uuid::from_u128(3), sequence: 1 << 40 });
        }
    }
}

#[test]
fn the_bytes_are_those_that_the_documentation_shows() {
    let [put, ..] = deltas();
    let mut golden = vec![1, 0x10];
    golden.extend(partition::partition_of(b"7", 12).0.to_le_bytes());
    golden.extend([0; 15]);
    golden.extend([3, 0, 0, 1, 0, 0, 0, 0, 0]);
    golden.extend([1, 0, 0, 0, b'7', 7, 0, 0, 0]);
    golden.extend(br#"{"n":1}"#);
    assert_eq!(entry(&put, None, false), golden);
}

#[test]
fn an_entry_of_another_version_or_topic_is_refused() {
    let [put, ..] = deltas();
    let mut bytes = entry(&put, None, false);
    let of = partition::partition_of(b"7", 12).0;
    let belongs_to = partition::partition_of(b"7", 5).0;
    let astray = Unreadable::Astray { partition: of, belongs_to };
    assert_eq!(Replayed::read(&bytes, 5, None).map(drop), Err(astray));
    bytes[0] = 2;
    assert_eq!(Replayed::read(&bytes, 12, None).map(drop), Err(Unreadable::Version(2)));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_to_be_read(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        starts_right in any::<bool>(),
    ) {
        if let (true, Some(first)) = (starts_right, bytes.first_mut()) {
            *first = VERSION;
        }
        let _ = Replayed::read(&bytes, 12, None);
    }

    #[test]
    fn an_entry_that_was_cut_short_is_no_other_write(which in 0_usize..4, part in 0.0..1.0) {
        let bytes = entry(&deltas()[which], None, false);
        let cut = (bytes.len() as f64 * part) as usize;
        prop_assert!(Replayed::read(&bytes[..cut], 12, None).is_err());
    }
}
