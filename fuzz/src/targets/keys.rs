//! F2, keys: what is taken is the one text of its row, which the producer would write, too.

use serde_json::{Map, Value};
use uuid::Uuid;
use write_behind_shared::key::{self, KeyColumn, KeyKind};

use crate::outcome::told;
use crate::targets::Target;

pub const TARGET: Target = Target {
    name: "keys",
    what: "a key is taken only in the form that the producer writes, and two keys are never one row",
    run,
    words: &[
        "{",
        "}",
        "\"a\":",
        "\"b\":",
        "\"c\":",
        ",",
        "-0",
        "0",
        "1",
        "32768",
        "true",
        "false",
        "null",
        "\"\"",
        "\\u0000",
        "\\u00e9",
        "é",
        "2024-02-29",
        "2023-02-29",
        "0000-01-01",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "\u{10ffff}",
        "\\n",
        " ",
    ],
    examples: &[
        "07",
        "1-7",
        "2x",
        "36ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "4true",
        "52024-02-29",
        r#"6{"a":7,"b":"x"}"#,
        r#"7{"a":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","b":true,"c":"2024-02-29"}"#,
    ],
};

fn column(name: &str, kind: KeyKind) -> KeyColumn {
    KeyColumn { name: name.to_owned(), kind }
}

fn columns(which: u8) -> Vec<KeyColumn> {
    let all = KeyKind::Integer(i64::MIN..=i64::MAX);
    match which {
        b'0' => vec![column("a", all)],
        b'1' => vec![column("a", KeyKind::Integer(-32_768..=32_767))],
        b'2' => vec![column("a", KeyKind::Text)],
        b'3' => vec![column("a", KeyKind::Uuid)],
        b'4' => vec![column("a", KeyKind::Boolean)],
        b'5' => vec![column("a", KeyKind::Date)],
        b'6' => vec![column("a", all), column("b", KeyKind::Text)],
        _ => vec![
            column("a", KeyKind::Uuid),
            column("b", KeyKind::Boolean),
            column("c", KeyKind::Date),
        ],
    }
}

/// Whether `text` is the only text of its value.
fn is_canonical(kind: &KeyKind, text: &str) -> bool {
    match kind {
        KeyKind::Integer(range) => {
            text.parse().is_ok_and(|it: i64| it.to_string() == text && range.contains(&it))
        }
        KeyKind::Text => !text.contains('\0'),
        KeyKind::Uuid => Uuid::parse_str(text).is_ok_and(|it| it.hyphenated().to_string() == text),
        KeyKind::Boolean => matches!(text, "true" | "false"),
        KeyKind::Date => {
            let parts: Vec<&str> = text.split('-').collect();
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            lengths == [4, 2, 2] && parts.iter().all(|it| it.bytes().all(|b| b.is_ascii_digit()))
        }
    }
}

fn run(input: &[u8]) -> u64 {
    let Some((which, key)) = input.split_first() else { return 0 };
    let columns = columns(*which);
    let texts = match key::decode(key, &columns) {
        Ok(texts) => texts,
        Err(why) => return told(why, &[usize::from(*which % 8)]),
    };
    assert_eq!(texts.len(), columns.len());
    for (column, text) in columns.iter().zip(&texts) {
        assert!(is_canonical(&column.kind, text), "{text:?} as {:?}", column.kind);
    }
    if let [text] = &texts[..] {
        assert_eq!(text.as_bytes(), key, "a key of one column is its text");
    } else {
        let object: Map<String, Value> = serde_json::from_slice(key).expect("an object");
        assert_eq!(key::encode(&object).expect("it can be written"), key);
    }
    told("", &[usize::from(*which % 8), texts[0].len()])
}
