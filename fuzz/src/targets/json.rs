//! F1, the JSON of a record's value: split into members exactly if it is one object within the limits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use write_behind_shared::json::{
    DEPTH_MAX, JsonError, MEMBERS_MAX, any_member, depth_exceeds, excerpt, members, plain_scalar,
    spells_nul, unquoted,
};

use crate::outcome::told;
use crate::targets::Target;

pub const TARGET: Target = Target {
    name: "json",
    what: "an object is split into the members that serde_json reads, and nothing else is taken",
    run,
    words: &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"a\"",
        "\"b\":",
        "null",
        "true",
        "1e5",
        "\\u0000",
        "\\\"",
        "\\\\",
        "\\ud800",
        "\u{feff}",
        " ",
        "{\"a\":1}",
        "\"a\":\"\",",
    ],
    examples: &[
        r#"{"a":1,"b":"x\u0000","c":[{}],"d":{"e":null}}"#,
        r#"{"a":1,"a":2}"#,
        r#"[{"a":1}]"#,
        r#"{"a":1} x"#,
        r#"{"schema":{},"payload":{}}"#,
        "",
    ],
};

/// The members by another way, the last of those of one name.
type Read<'i> = BTreeMap<Cow<'i, str>, &'i RawValue>;

fn run(input: &[u8]) -> u64 {
    let read = std::str::from_utf8(input).ok().and_then(|text| serde_json::from_str(text).ok());
    let read: Option<Read<'_>> = read;
    let found = match members(input) {
        Ok(found) => found,
        Err(why) => {
            let is_right = match &why {
                JsonError::TooDeep => depth_exceeds(input, DEPTH_MAX),
                JsonError::NotUtf8 => std::str::from_utf8(input).is_err(),
                JsonError::NotAnObject(_) => read.is_none(),
                JsonError::TooManyMembers | JsonError::NamedTwice(_) => read.is_some(),
            };
            assert!(is_right, "refused for nothing: {why}");
            return told(why, &[]);
        }
    };
    let read = read.expect("it was taken, so it is an object");
    assert!(found.len() <= MEMBERS_MAX && !depth_exceeds(input, DEPTH_MAX));
    assert_eq!(found.len(), read.len(), "each name once");
    let mut kinds = 0;
    for (name, raw) in &found {
        let text = raw.get();
        assert_eq!(text, read[name].get());
        let _ = (excerpt(text), unquoted(text));
        // A string may spell half of a pair of surrogates: then it has no text.
        let string = serde_json::from_str::<String>(text).ok();
        let has_nul = string.as_ref().is_some_and(|text| text.contains('\0'));
        assert!(!has_nul || spells_nul(text), "a NUL that nobody sees");
        let expected = match text.as_bytes()[0] {
            b'"' => string,
            b'{' | b'[' | b'n' => None,
            _ => Some(text.to_owned()),
        };
        assert_eq!(plain_scalar(text).map(Cow::into_owned), expected, "the plain text of {text}");
        kinds |= 1 << (text.as_bytes()[0] % 16);
    }
    let text = std::str::from_utf8(input).expect("it was split");
    let has_a = any_member(text, |name, _| name == "a");
    assert_eq!(has_a, Ok(read.contains_key("a")));
    told("members", &[found.len(), kinds])
}
