//! Guesses which client, serializer or tool wrote a value that is not an object of columns. Says
//! what to do, and nothing of the content.

use serde::de::IgnoredAny;

/// What a `document` looks like that is no JSON object, as far as its first bytes tell; `None`: it
/// begins as an object does.
pub(crate) fn of_value(document: &[u8]) -> Option<&'static str> {
    let begins = |bytes: &[u8]| document.starts_with(bytes);
    if begins(b"\xef\xbb\xbf") {
        return Some("it begins with a byte order mark; write UTF-8 without one");
    }
    let without_mark = begins(b"{\0") || begins(b"\0{\0");
    if without_mark || begins(b"\xff\xfe") || begins(b"\xfe\xff") {
        return Some("it is UTF-16; write UTF-8");
    }
    if begins(b"\x1f\x8b") {
        return Some(
            "it is compressed with gzip; let the Kafka client compress (`compression.type`)",
        );
    }
    // The framing of schema registries: a zero, and the schema's number in four bytes.
    if begins(&[0]) && document.len() >= 5 {
        return Some(
            "it has a schema registry's framing (a zero byte and a schema's number); write plain JSON, \
             with a serializer that knows no registry",
        );
    }
    let document = document.trim_ascii();
    Some(match document.first() {
        None => "it is empty; a delete has no value at all (kcat: -Z)",
        Some(b'{') => return None,
        Some(b'<') => "it looks like XML",
        Some(b'[') => "it is a list; write a record for each of its rows",
        Some(b'"') => "it is a text; was an object serialized twice?",
        Some(_) if document == b"null" => {
            "it is the document null; a delete has no value at all (kcat: -Z)"
        }
        Some(_) if serde_json::from_slice::<IgnoredAny>(document).is_ok() => {
            "it is one number or boolean; a value is an object of columns"
        }
        Some(_) => "it does not begin as one does",
    })
}

/// What a refused `key` looks like, as far as it tells of another serializer. `columns`: how many the
/// table's key has.
pub(crate) fn of_key(key: &[u8], columns: usize) -> Option<&'static str> {
    let begins = |bytes: &[u8]| key.starts_with(bytes);
    if begins(b"\xef\xbb\xbf") {
        return Some("begins with a byte order mark; write UTF-8 without one");
    }
    if begins(&[0]) && key.len() >= 5 {
        return Some(
            "has a schema registry's framing (a zero byte and a schema's number), or is a number of \
             eight bytes; write plain text, with the serializer of strings",
        );
    }
    if begins(b"\xff\xfe") || begins(b"\xfe\xff") || key.get(1) == Some(&0) {
        return Some("is UTF-16, or a number in binary; write plain UTF-8");
    }
    let connect = of_text_key(key);
    if connect.is_some() {
        return connect;
    }
    match key {
        [b'"', .., b'"'] => Some(
            "is a JSON text, in quotes; write it plain (Kafka Connect: key.converter is the \
             StringConverter)",
        ),
        [b'{', .., b'}'] if columns == 1 => Some(
            "is a JSON object; the key of one column is its plain text (Kafka Connect: the \
             transformation ExtractField$Key)",
        ),
        _ => None,
    }
}

/// What a key looks like that is no text which anybody means as one, although a text column could hold
/// it: what Kafka Connect's JSON converter writes with schemas.
pub(crate) fn of_text_key(key: &[u8]) -> Option<&'static str> {
    let payload = b",\"payload\":";
    let is_connect =
        key.starts_with(b"{\"schema\":") && key.windows(payload.len()).any(|part| part == payload);
    is_connect.then_some(
        "looks like a Kafka Connect envelope (schema, payload): set key.converter.schemas.enable=false, \
         or key.converter to the StringConverter",
    )
}

/// What an object with these `names` looks like, when the table has no such columns.
#[must_use]
pub fn of_names(names: &[&str]) -> Option<&'static str> {
    let has = |wanted: &str| names.contains(&wanted);
    if has("schema") && has("payload") && names.len() == 2 {
        return Some(
            "the value looks like a Kafka Connect envelope (schema, payload): set \
             value.converter.schemas.enable=false",
        );
    }
    if has("op") && (has("before") || has("after")) {
        return Some(
            "the value looks like a Debezium envelope (before, after, op): unwrap it with the \
             transformation ExtractNewRecordState",
        );
    }
    (has("specversion") && has("type") && has("source")).then_some(
        "the value looks like a CloudEvents envelope (specversion, type, source): write its data alone",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{JsonError, members};
    use crate::key::{self, KeyColumn, KeyError, KeyKind};

    #[test]
    fn a_value_that_is_no_object_is_told_by_what_it_looks_like_and_without_its_content() {
        for (document, told) in [
            (&b""[..], "a delete has no value at all"),
            (b" \n", "it is empty"),
            (b"null", "a delete has no value at all"),
            (b"\xef\xbb\xbf{\"a\":1}", "byte order mark"),
            (b"\xff\xfe{\0}\0", "UTF-16"),
            (b"{\0\"\0h\0", "UTF-16"),
            (b"\0{\0\"\0h", "UTF-16"),
            (b"\x1f\x8b\x08hush", "compression.type"),
            (b"\0\0\0\0\x07{\"hush\":1}", "schema registry"),
            (b"\0\0\0\0\x07\xc3\x28hush", "schema registry"),
            (b"[{\"hush\":1}]", "a record for each"),
            (b"\"{\\\"hush\\\":1}\"", "serialized twice"),
            (b"<hush/>", "XML"),
            (b"4711", "one number or boolean"),
            (b"true", "one number or boolean"),
            (b"hush", "does not begin as one does"),
            (b"2024-01-01,hush", "does not begin as one does"),
            (b"{\"hush\":", "it ends too early"),
            (b"{\"hush\":1", "it ends too early"),
            (b"{hush}", "key must be a string at line 1 column 2"),
            (b"{}{\"hush\":1}", "trailing characters at line 1 column 3"),
        ] {
            let error = members(document).unwrap_err();
            assert!(matches!(error, JsonError::NotAnObject(_)), "{error:?}");
            let error = error.to_string();
            assert!(error.starts_with("the value is not a JSON object: "), "{error}");
            assert!(error.contains(told) && !error.contains("hush"), "{error}");
        }
        assert_eq!(members(b"{\"a\":\"\xff\"}").unwrap_err(), JsonError::NotUtf8);
    }

    #[test]
    fn a_refused_key_is_told_by_what_it_looks_like_and_without_its_content() {
        let connect = br#"{"schema":{"type":"string","optional":false},"payload":"hush"}"#;
        let column = |name: &str, kind| KeyColumn { name: name.to_owned(), kind };
        let number = [column("id", KeyKind::Integer(0..=99))];
        let text = [column("id", KeyKind::Text)];
        let both = [column("a", KeyKind::Text), column("b", KeyKind::Text)];
        for (key, columns, told) in [
            (&b"\"7\""[..], &number[..], "StringConverter"),
            (b"\"hush\"", &both, "StringConverter"),
            (b"{\"id\":7}", &number, "ExtractField$Key"),
            (b"\xef\xbb\xbf7", &number, "byte order mark"),
            (b"\0\0\0\x01\x07hush", &text, "schema registry"),
            (b"\0\0\0\0\0\0\0\x07", &number, "eight bytes"),
            (b"h\0u\0s\0h\0", &text, "UTF-16"),
            (b"\xff\xfeh\0", &text, "UTF-16"),
            (connect, &number, "key.converter.schemas.enable=false"),
            (connect, &text, "key.converter.schemas.enable=false"),
            (connect, &both, "key.converter.schemas.enable=false"),
        ] {
            let error = key::decode(key, columns).unwrap_err();
            assert!(matches!(error, KeyError::Mistaken(_)), "{key:?}: {error:?}");
            let written = std::str::from_utf8(key).map_or(Ok(Vec::new()), key::encode);
            assert_eq!(written == Err(error.clone()), key == connect, "our writer: {written:?}");
            let error = error.to_string();
            assert!(error.starts_with("the key ") && error.contains(told), "{key:?}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
        for plain in ["", "\"7\"", "{\"id\":7}", "\u{feff}7", "{\"schema\":1}"] {
            assert_eq!(key::decode(plain.as_bytes(), &text), Ok(vec![plain.to_owned()]));
        }
    }

    #[test]
    fn an_envelope_is_recognised_by_its_names() {
        for (names, told) in [
            (&["schema", "payload"][..], Some("value.converter.schemas.enable=false")),
            (&["before", "after", "op", "source", "ts_ms"], Some("ExtractNewRecordState")),
            (&["op", "after"], Some("ExtractNewRecordState")),
            (&["specversion", "id", "source", "type", "data"], Some("its data alone")),
            (&["schema", "payload", "score"], None),
            (&["op", "score"], None),
            (&["type", "source"], None),
            (&[], None),
        ] {
            let found = of_names(names);
            assert_eq!(found.is_some(), told.is_some(), "{names:?}: {found:?}");
            assert!(
                found.is_none_or(|found| found.contains(told.unwrap())),
                "{names:?}: {found:?}"
            );
        }
    }
}
