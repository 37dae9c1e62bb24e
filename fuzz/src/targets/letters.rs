//! F11, dead letters: what a replayed letter still changes leaves the row as if it had never been set aside.

use std::collections::BTreeMap;

use write_behind_consumer::core::dead_letters::effective_change::{
    EffectiveChange, effective_change,
};
use write_behind_shared::{Cell, Change, record};

use crate::outcome::told;
use crate::targets::{Target, fold};

pub const TARGET: Target = Target {
    name: "letters",
    what: "a letter that is replayed behind later records leaves the row as the log has it",
    run,
    words: &[
        "\n",
        "\t{\"a\":1}\n",
        "a\t{\"a\":2}\n",
        "\t-\n",
        "b\t{\"b\":3}\n",
        "\t{\"a\":5,\"b\":7}\n",
        "a,b\t{\"a\":1,\"b\":1}\n",
    ],
    examples: &[
        "\t{\"a\":1}\n\t{\"a\":5,\"b\":7}\na\t{\"a\":2}",
        "\t{\"a\":1}\n\t-\n\t{\"b\":1}",
        "\na\t{\"a\":1}\n\t{\"a\":2}",
        "\t{\"a\":9}\na\t{\"a\":1}\na\t{\"a\":2}",
    ],
};

/// A row of integers; `None`: it is not there.
type Row = Option<BTreeMap<String, i128>>;

fn apply(row: &mut Row, change: &Change) -> Option<()> {
    if change.resets() {
        *row = None;
    }
    if !change.writes() {
        return Some(());
    }
    let row = row.get_or_insert_with(BTreeMap::new);
    for (name, cell) in change.cells() {
        let held = row.get(name).copied().unwrap_or(0);
        let integer = |text: &str| text.parse::<i64>().map(i128::from).ok();
        let value = match cell {
            Cell::Set(value) => integer(value.get())?,
            Cell::Add(added) => held.checked_add(integer(&added.total().to_string())?)?,
            Cell::SetThenAdd(..) => integer(&cell.value(name).ok()?)?,
        };
        row.insert(name.to_owned(), value);
    }
    Some(())
}

/// The first line is the row before, the second the letter, the others come behind it.
fn judged(input: &[u8]) -> Option<u64> {
    let mut lines = input.split(|byte| *byte == b'\n').take(12).map(fold::line);
    let mut decode = || lines.next().map(|(add, value)| record::decode(value, add).ok());
    let mut before: Row = None;
    if let Some(change) = decode()? {
        apply(&mut before, &change)?;
    }
    let letter = decode()??;
    let mut later = Change::default();
    while let Some(change) = decode() {
        later.fold(change?);
    }
    let mut expected = before.clone();
    apply(&mut expected, &letter)?;
    apply(&mut expected, &later)?;
    let mut found = before;
    apply(&mut found, &later)?;
    let kind = match effective_change(&letter, &later, None) {
        EffectiveChange::Whole(change) => {
            apply(&mut found, &change)?;
            1
        }
        EffectiveChange::Part(change, left_out) => {
            apply(&mut found, &change)?;
            4 + left_out.len()
        }
        EffectiveChange::Nothing => 2,
    };
    assert_eq!(found, expected, "letter {letter:?}, later {later:?}");
    Some(told("", &[kind, found.map_or(0, |row| 1 + row.len()), later.cells().len()]))
}

fn run(input: &[u8]) -> u64 {
    judged(input).unwrap_or_default()
}
