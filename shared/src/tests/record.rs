//! Golden bytes of the wire contract; and what is encoded decodes to the same.

use proptest::prelude::*;

use super::*;

fn write_id() -> WriteId {
    let writer = Uuid::parse_str("0011aabb-2233-4455-8677-8899aabbccdd").unwrap();
    WriteId { writer, sequence: 258 }
}

#[test]
fn the_write_id_has_these_24_bytes() {
    let bytes = [
        0x00, 0x11, 0xaa, 0xbb, 0x22, 0x33, 0x44, 0x55, 0x86, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc,
        0xdd, 0, 0, 0, 0, 0, 0, 1, 2,
    ];
    assert_eq!(write_id().encode(), bytes);
    assert_eq!(WriteId::decode(&bytes), Some(write_id()));
    assert_eq!(WriteId::decode(&bytes[..23]), None);
    assert_eq!(WriteId::decode(&[&bytes[..], &[0]].concat()), None);
}

#[test]
fn a_change_has_these_bytes() {
    let change = Change::new().set("name", "Ada").unwrap().add("visits", 1).add("miles", -3);
    let encoded = change.encode().unwrap();
    assert_eq!(encoded.value.as_deref(), Some(&br#"{"miles":-3,"name":"Ada","visits":1}"#[..]));
    assert_eq!(encoded.add.as_deref(), Some("miles,visits"));
    let deleted = Change::delete().encode().unwrap();
    assert_eq!(deleted, Encoded { value: None, add: None });
}

#[test]
fn a_record_of_another_client_is_read() {
    let change = decode(Some(br#" { "score" : 12.50, "seen": null } "#), None).unwrap();
    let row = change.to_row().unwrap().unwrap();
    assert_eq!(row, br#"{"score":12.50,"seen":null}"#);
    assert!(!change.resets());
    assert!(decode(None, None).unwrap().resets());
    assert!(decode(Some(b"{}"), None).unwrap().writes());
}

#[test]
fn a_bad_record_is_refused_with_its_reason() {
    let reason = |value: Option<&[u8]>, add| decode(value, add).unwrap_err().to_string();
    assert_eq!(
        reason(Some(br#"{"a":1}"#), Some("b")),
        "the header `add` names \"b\", which is not in the value"
    );
    assert_eq!(reason(Some(br#"{"a":1}"#), Some("a,a")), "the header `add` names \"a\" twice");
    assert_eq!(
        reason(Some(br#"{"a":null}"#), Some("a")),
        "column \"a\" is an increment, but null is not a number of at most 1000 digits"
    );
    assert_eq!(reason(None, Some("a")), "a tombstone has no columns to add to");
    assert!(reason(Some(b""), None).starts_with("the value is not a JSON object"));
    assert!(reason(Some(b"null"), None).starts_with("the value is not a JSON object"));
    assert_eq!(
        reason(Some(br#"{"a":1,"b":1}"#), Some("a, b")),
        "the header `add` names \" b\", which is not in the value"
    );
}

#[test]
fn a_delta_of_too_many_digits_is_refused_and_only_its_beginning_told() {
    let add = |delta: &str| decode(Some(format!(r#"{{"a":{delta}}}"#).as_bytes()), Some("a"));
    let digits = |count: usize| "7".repeat(count);
    for delta in ["1e1000", "1e131000", "1e-1001", &digits(1_001), &digits(1 << 20)] {
        let reason = add(delta).unwrap_err().to_string();
        assert!(reason.contains("1000 digits") && reason.len() < 200, "{reason}");
    }
    for delta in ["1e999", "1e-1000", "0.001e1002", &digits(1_000)] {
        assert!(add(delta).is_ok(), "{delta:.40}");
    }
}

#[test]
fn headers_are_read_and_unknown_ones_ignored() {
    let id = write_id().encode();
    let headers = [("trace", None), (ADD, Some(&b"a,b"[..])), (WRITE_ID, Some(&id[..]))];
    let read = Headers::read(headers.into_iter()).unwrap();
    assert_eq!(read, Headers { add: Some("a,b"), write_id: Some(write_id()), is_high: false });
}

#[test]
fn headers_that_lie_are_refused() {
    let read = |headers: &[(&'static str, Option<&'static [u8]>)]| {
        Headers::read(headers.iter().copied()).unwrap_err()
    };
    assert_eq!(read(&[(ADD, None)]), RecordError::AddHeader);
    assert_eq!(read(&[(ADD, Some(b"\xff"))]), RecordError::AddHeader);
    assert_eq!(read(&[(ADD, Some(b"a")), (ADD, Some(b"a"))]), RecordError::AddHeader);
    assert_eq!(read(&[(WRITE_ID, Some(b"short"))]), RecordError::WriteIdHeader);
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        cells in prop::collection::btree_map("[a-z\"\\\\é]{1,6}", (any::<bool>(), any::<i64>()), 0..6)
    ) {
        let mut change = Change::new();
        for (name, (add, number)) in &cells {
            change = if *add { change.add(name, *number) } else { change.set(name, number).unwrap() };
        }
        let encoded = change.encode().unwrap();
        let decoded = decode(encoded.value.as_deref(), encoded.add.as_deref()).unwrap();
        prop_assert_eq!(format!("{decoded:?}"), format!("{change:?}"));
    }

    #[test]
    fn folding_a_record_in_place_is_folding_its_change_and_a_bad_one_changes_nothing(
        records in prop::collection::vec((0_usize..6, 0_usize..3), 0..8),
    ) {
        let values =
            [None, Some("{}"), Some(r#"{"a":1,"b":2}"#), Some(r#"{"b":3}"#), Some("{"),
             Some(r#"{"b":"x","a":1}"#)];
        let adds = [None, Some("b"), Some("b,a")];
        let (mut in_place, mut model) = (Change::default(), Change::default());
        for (value, add) in records {
            let (value, add) = (values[value].map(str::as_bytes), adds[add]);
            match decode(value, add) {
                Ok(change) => {
                    model.fold(change);
                    prop_assert_eq!(fold(&mut in_place, value, add), Ok(()));
                }
                Err(error) => prop_assert_eq!(fold(&mut in_place, value, add), Err(error)),
            }
            prop_assert_eq!(format!("{in_place:?}"), format!("{model:?}"));
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(value: Vec<u8>, add in prop::option::of(".{0,9}")) {
        let _ = decode(Some(&value), add.as_deref());
    }
}

#[test]
fn headers_are_limited_in_number_and_in_bytes() {
    let many = |count: usize| Headers::read((0..count).map(|_| ("h", Some(&[][..]))));
    assert_eq!(many(HEADERS_MAX), Ok(Headers::default()));
    assert_eq!(many(HEADERS_MAX + 1), Err(RecordError::TooManyHeaders));
    let large = vec![0; HEADER_BYTES_MAX - 1];
    let with = |name| Headers::read([(name, Some(&large[..]))].into_iter());
    assert_eq!(with("h"), Ok(Headers::default()));
    assert_eq!(with("hh"), Err(RecordError::TooManyHeaders));
}

#[test]
fn a_header_whose_name_could_not_be_read_makes_a_bad_record() {
    let read = |name| Headers::read([("fine", None), (name, None)].into_iter());
    assert_eq!(read(UNREADABLE), Err(RecordError::HeaderName));
    assert_eq!(read("\u{fffd}x"), Ok(Headers::default()));
}
