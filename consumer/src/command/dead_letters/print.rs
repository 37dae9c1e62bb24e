//! Dead letters as text: a table, all fields of one, or JSON.
//!
//! Keys, values and reasons come from records, so characters that control a terminal are escaped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use write_behind_consumer::dead_letters::fate::Fate;
use write_behind_consumer::dead_letters::{StoredDeadLetter, Tally};

const HEAD: [&str; 7] = ["TOPIC", "PLACE", "STATE", "SET ASIDE", "KEY", "SQLSTATE", "REASON"];
const KEY_CHARS: usize = 40;
const REASON_CHARS: usize = 100;

/// Letters as lines: of JSON, or of a table, which are kept until all of them are known.
pub(super) struct Lines {
    json: bool,
    rows: Vec<[String; 7]>,
    listed: usize,
}

impl Lines {
    pub(super) fn new(json: bool) -> Self {
        Self { json, rows: Vec::new(), listed: 0 }
    }

    pub(super) fn add(&mut self, letter: &StoredDeadLetter) {
        self.listed += 1;
        if self.json {
            outln!("{}", json(letter));
            return;
        }
        let known = &letter.dead_letter;
        self.rows.push([
            escaped(letter.scope.topic.as_bytes()),
            place(letter),
            letter.state.to_string(),
            time(letter.failed_at),
            known.record.key.as_deref().map_or_else(|| "-".to_owned(), |key| cut(key, KEY_CHARS)),
            known.sqlstate.clone().unwrap_or_else(|| "-".to_owned()),
            cut(known.reason.as_bytes(), REASON_CHARS),
        ]);
    }

    pub(super) fn listed(&self) -> usize {
        self.listed
    }

    pub(super) fn print(&self) {
        if self.rows.is_empty() {
            return;
        }
        let head = HEAD.map(str::to_owned);
        let rows = || std::iter::once(&head).chain(&self.rows);
        let width = |column: usize| rows().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
        for row in rows() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            outln!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

/// Prints how many match, and how many of them were listed.
pub(super) fn counts(tallies: &[Tally], listed: usize) {
    let all: u64 = tallies.iter().map(|tally| tally.letters).sum();
    if all > listed as u64 {
        outln!("({listed} of {all} listed; --limit lists more)");
    }
    for Tally { topic, state, letters } in tallies {
        outln!("{}: {letters} {state}", escaped(topic.as_bytes()));
    }
    if tallies.is_empty() {
        outln!("no dead letter matches");
    }
}

/// Prints all fields of a letter.
pub(super) fn whole(letter: &StoredDeadLetter) {
    let known = &letter.dead_letter;
    let record = &known.record;
    outln!("topic      {}", escaped(letter.scope.topic.as_bytes()));
    outln!("place      {}", place(letter));
    outln!("cluster    {}", escaped(letter.scope.cluster.as_bytes()));
    outln!("state      {}", letter.state);
    outln!("set aside  {}", time(letter.failed_at));
    outln!("reason     {}", escaped(known.reason.as_bytes()));
    outln!("sqlstate   {}", known.sqlstate.as_deref().unwrap_or("none: it was not the database"));
    outln!("key        {}", shown(record.key.as_deref(), "none"));
    for (name, value) in &record.headers {
        outln!("header     {}: {}", escaped(name.as_bytes()), shown(value.as_deref(), "null"));
    }
    outln!(
        "value      {}",
        shown(record.value.as_deref(), "none: a tombstone, which deletes the row")
    );
}

/// Prints what happened to a letter, or would happen.
pub(super) fn fate(letter: &StoredDeadLetter, fate: &Fate, dry_run: bool, as_json: bool) {
    let (outcome, why) = fate.told();
    if as_json {
        let mut object = at(letter);
        object.insert("outcome".to_owned(), outcome.into());
        object.insert("dry_run".to_owned(), dry_run.into());
        if let Fate::Replayed(left_out) = fate {
            object.insert("left_out".to_owned(), left_out.clone().into());
        }
        object.insert("why".to_owned(), why.into());
        outln!("{}", Value::Object(object));
        return;
    }
    let would = if dry_run { "would be " } else { "" };
    let why = why.map_or_else(String::new, |why| format!(": {}", escaped(why.as_bytes())));
    outln!("{} {} {would}{outcome}{why}", escaped(letter.scope.topic.as_bytes()), place(letter));
}

/// A letter as a JSON object. Bytes that are no text are in base64, under a name that says so.
pub(super) fn json(letter: &StoredDeadLetter) -> Value {
    let mut object = at(letter);
    let known = &letter.dead_letter;
    object.insert("cluster".to_owned(), letter.scope.cluster.clone().into());
    object.insert("state".to_owned(), letter.state.as_str().into());
    object.insert("failed_at".to_owned(), time(letter.failed_at).into());
    object.insert("reason".to_owned(), known.reason.clone().into());
    object.insert("sqlstate".to_owned(), known.sqlstate.clone().into());
    insert_bytes(&mut object, "key", known.record.key.as_deref());
    insert_bytes(&mut object, "value", known.record.value.as_deref());
    let headers = known.record.headers.iter().map(|(name, value)| {
        let mut header = Map::from_iter([("name".to_owned(), name.clone().into())]);
        insert_bytes(&mut header, "value", value.as_deref());
        Value::Object(header)
    });
    object.insert("headers".to_owned(), headers.collect());
    Value::Object(object)
}

fn at(letter: &StoredDeadLetter) -> Map<String, Value> {
    let place = json!({
        "topic": letter.scope.topic,
        "partition": letter.partition().0,
        "offset": letter.offset().0,
    });
    if let Value::Object(place) = place { place } else { Map::new() }
}

fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), text.into()),
        Some(Err(_)) => {
            let base64 = STANDARD.encode(bytes.unwrap_or_default());
            object.insert(format!("{name}_base64"), base64.into())
        }
    };
}

fn place(letter: &StoredDeadLetter) -> String {
    format!("{}:{}", letter.partition(), letter.offset())
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Text as it is; other bytes as far as they are text, and all of them in base64.
fn shown(bytes: Option<&[u8]>, none: &str) -> String {
    let Some(bytes) = bytes else { return format!("({none})") };
    match std::str::from_utf8(bytes) {
        Ok(_) => escaped(bytes),
        Err(_) => format!("{} (not UTF-8; base64 {})", escaped(bytes), STANDARD.encode(bytes)),
    }
}

fn cut(bytes: &[u8], chars: usize) -> String {
    let text = escaped(bytes);
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn escaped(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Also those that reverse the direction of writing.
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_command_a_terminal_is_escaped_and_other_text_is_not() {
        assert_eq!(escaped("\u{1b}[2J\r\n\u{202e}x".as_bytes()), "\\u{1b}[2J\\r\\n\\u{202e}x");
        assert_eq!(escaped("{\"name\":\"Zoë\"}".as_bytes()), "{\"name\":\"Zoë\"}");
        assert_eq!(cut("äöü".as_bytes(), 2), "äö…");
        assert_eq!(shown(Some(&[0xff, b'a']), ""), "\u{fffd}a (not UTF-8; base64 /2E=)");
    }
}
