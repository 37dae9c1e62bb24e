//! F1, the fold of records into a change: as a plain model folds them, in any grouping, and a bad record
//! changes nothing.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use bigdecimal::BigDecimal;
use serde_json::value::RawValue;
use write_behind_shared::{Cell, Change, record};

use crate::outcome::told;
use crate::targets::Target;

pub const TARGET: Target = Target {
    name: "fold",
    what: "records fold as a plain model folds them, in any grouping; a bad one changes nothing",
    run,
    words: &[
        "\n",
        "\t",
        "a\t{\"a\":1}\n",
        "\t{\"a\":\"x\"}\n",
        "\t-\n",
        "a,b\t{\"a\":1,\"b\":0.5}\n",
        "a,a",
        "\"a\":",
        "\"b\":",
        "1e999",
        "0.005",
        "\"1.5\"",
        "null",
        ",",
        "9223372036854775807",
    ],
    examples: &[
        "\t{\"a\":1}\na\t{\"a\":2}\na\t{\"a\":0.5}\n\t-\nb\t{\"a\":1,\"b\":-1}",
        "a\t{\"a\":\"0.005\"}\na\t{\"a\":1e3}",
        "a\t-",
        "b\t{\"a\":1}",
        "\t{}\n\t-\n\t{}",
    ],
};

/// A record as a line: the columns of increments, a tab, the value; `-` is a tombstone.
type Line<'i> = (Option<&'i str>, Option<&'i [u8]>);

pub fn line(line: &[u8]) -> Line<'_> {
    let tab = line.iter().position(|byte| *byte == b'\t');
    let (add, value) = tab.map_or((None, line), |at| (Some(&line[..at]), &line[at + 1..]));
    let add = add.and_then(|add| std::str::from_utf8(add).ok());
    (add, (value != b"-").then_some(value))
}

#[derive(Clone, Debug, PartialEq)]
enum ModelCell {
    Set(String),
    Add(BigDecimal),
    SetThenAdd(String, BigDecimal),
}

/// The model: whether the row is deleted first, and what is written then.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    resets: bool,
    written: Option<BTreeMap<String, ModelCell>>,
}

impl Model {
    fn take(&mut self, (add, value): Line<'_>) {
        let Some(value) = value else {
            *self = Self { resets: true, written: None };
            return;
        };
        let members: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(value).expect("it was taken");
        let added: Vec<&str> = add.map_or(Vec::new(), |add| add.split(',').collect());
        let written = self.written.get_or_insert_with(BTreeMap::new);
        for (name, value) in members {
            let text = value.get().to_owned();
            let new = if added.contains(&&*name) && add != Some("") {
                let delta = BigDecimal::from_str(text.trim_matches('"')).expect("a number");
                match written.remove(&name) {
                    None => ModelCell::Add(delta),
                    Some(ModelCell::Set(value)) => ModelCell::SetThenAdd(value, delta),
                    Some(ModelCell::Add(sum)) => ModelCell::Add(sum + delta),
                    Some(ModelCell::SetThenAdd(value, sum)) => {
                        ModelCell::SetThenAdd(value, sum + delta)
                    }
                }
            } else {
                ModelCell::Set(text)
            };
            written.insert(name, new);
        }
    }
}

fn as_model(change: &Change) -> Model {
    let cell = |cell: &Cell| {
        let sum = |text: String| BigDecimal::from_str(&text).expect("a sum is a number");
        match cell {
            Cell::Set(value) => ModelCell::Set(value.get().to_owned()),
            Cell::Add(added) => ModelCell::Add(sum(added.total().to_string())),
            Cell::SetThenAdd(value, added) => {
                ModelCell::SetThenAdd(value.get().to_owned(), sum(added.total().to_string()))
            }
        }
    };
    let cells = || change.cells().map(|(name, it)| (name.to_owned(), cell(it))).collect();
    Model { resets: change.resets(), written: change.writes().then(cells) }
}

fn fold<'i>(lines: impl Iterator<Item = &'i [u8]>) -> (Change, Model, usize) {
    let (mut change, mut model, mut bad) = (Change::default(), Model::default(), 0);
    for text in lines {
        let (add, value) = line(text);
        let before = format!("{change:?}");
        if record::fold(&mut change, value, add).is_ok() {
            model.take((add, value));
        } else {
            bad += 1;
            assert_eq!(format!("{change:?}"), before, "a bad record changed something");
        }
    }
    (change, model, bad)
}

fn run(input: &[u8]) -> u64 {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').take(24).collect();
    let (change, model, bad) = fold(lines.iter().copied());
    assert_eq!(as_model(&change), model);
    let _ = (change.to_row(), change.bytes(), change.needs_earlier_value());
    let at = input.len() % (lines.len() + 1);
    let (mut first, ..) = fold(lines[..at].iter().copied());
    first.fold(fold(lines[at..].iter().copied()).0);
    assert_eq!(format!("{first:?}"), format!("{change:?}"), "grouped at {at}");
    if let Ok(encoded) = change.encode()
        && change.writes()
    {
        let again = record::decode(encoded.value.as_deref(), encoded.add.as_deref());
        // An empty name, or one with a comma, can't be named in the header.
        if !change.cells().any(|(name, _)| name.is_empty() || name.contains(',')) {
            let again = again.map(|again| as_model(&again));
            assert_eq!(again.as_ref(), Ok(&model), "{encoded:?}");
        }
    }
    let cells = change.cells().map(|(_, cell)| std::mem::discriminant(cell));
    let kinds: std::collections::HashSet<_> = cells.collect();
    told("", &[bad, usize::from(change.resets()), change.cells().len(), kinds.len()])
}
