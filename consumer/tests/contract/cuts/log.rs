//! Logs of few rows, with records that are bad in every way there is, and what they come to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use write_behind_consumer::core::record::RawRecord;
use write_behind_shared::{Number, Offset, Partition};

use super::kinds::Kind;

/// A record to be.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: &'static str,
    /// `None` deletes the row.
    pub cells: Option<Vec<Cell>>,
    /// Whether its value lacks its last bracket.
    pub broken: bool,
}

/// A column of a record. Only a suspect may be bad of itself, and each record has at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub column: &'static str,
    pub json: &'static str,
    pub is_add: bool,
    pub is_suspect: bool,
}

/// Rows by key: the columns' texts.
pub type Rows = BTreeMap<String, Vec<Option<String>>>;

const fn set(column: &'static str, json: &'static str) -> Cell {
    Cell { column, json, is_add: false, is_suspect: false }
}

const fn add(column: &'static str, json: &'static str) -> Cell {
    Cell { is_add: true, ..set(column, json) }
}

const fn suspect(cell: Cell) -> Cell {
    Cell { is_suspect: true, ..cell }
}

/// Good in every table and state. The sums of a log stay within each column's range.
const GOOD: &[Cell] = &[
    set("hits", "0"),
    set("hits", "5"),
    set("hits", "\"576\""),
    add("hits", "1"),
    add("hits", "7"),
    set("price", "1.25"),
    set("price", "\"-3.50\""),
    set("price", "null"),
    add("price", "0.25"),
    add("price", "\"-1.5\""),
    add("price", "3"),
    set("small", "-7"),
    set("small", "100"),
    set("small", "null"),
    add("small", "100"),
    add("small", "-99"),
    set("ratio", "0.5"),
    set("ratio", "-2.25"),
    add("ratio", "0.25"),
    add("ratio", "-0.75"),
    set("name", "\"ab\""),
    set("name", "null"),
    set("total", "9"),
    add("total", "1000000007"),
    add("total", "-5"),
    set("five", "8"),
];

/// Values of unique keys, few enough to meet.
const CONTESTED: &[Cell] = &[
    set("name", "\"ab\""),
    set("name", "\"cd\""),
    set("name", "\"ef\""),
    set("name", "null"),
    set("small", "1"),
    set("small", "2"),
    add("small", "1"),
    set("five", "8"),
];

/// Each log has suspects of one or two of these kinds, so that they meet.
const SUSPECTS: &[&[Cell]] = &[
    &[suspect(set("hits", "null"))],
    &[suspect(set("hits", "-5"))],
    &[suspect(set("hits", "\"x\"")), suspect(add("hits", "0.5"))],
    &[suspect(set("price", "99999.99"))],
    &[suspect(set("price", "1.005")), suspect(set("price", "true"))],
    &[suspect(add("price", "0.005"))],
    &[suspect(add("price", "20000")), suspect(add("price", "-20000"))],
    &[suspect(add("price", "0.1234567890123456")), suspect(add("price", "-0.1234567890123456"))],
    &[suspect(set("small", "40000"))],
    &[suspect(add("small", "40000")), suspect(add("small", "-40000"))],
    &[suspect(add("small", "1.5")), suspect(add("small", "-1.5"))],
    &[suspect(set("ratio", "1e400"))],
    &[suspect(add("ratio", "1e400")), suspect(add("ratio", "-1e400"))],
    &[suspect(add("total", "9223372036854775808")), suspect(add("total", "-9223372036854775809"))],
    &[suspect(set("name", "\"too long\"")), suspect(set("name", "7")), suspect(add("name", "1"))],
    &[suspect(set("name", "\"bad\""))],
    &[suspect(add("total", "1e131000")), suspect(set("zz", "1")), suspect(set("id", "99"))],
    &[suspect(add("five", "1"))],
];

/// A column that one kind of table requires in a new row.
const REQUIRED: Cell = set("req", "\"r\"");

/// What records say of a row's version: also nothing.
const VERSIONS: &[&[Cell]] = &[
    &[set("v", "1")],
    &[set("v", "2")],
    &[set("v", "2")],
    &[set("v", "3")],
    &[set("v", "3")],
    &[set("v", "10")],
    &[],
];

/// Logs that are the smallest of their kind: a bad value under an increment, bad deltas that make a
/// good sum; unique values that two rows want, that one gives up for the other, and that two exchange.
pub fn examples(kind: &Kind) -> Vec<Vec<Entry>> {
    let named = |key: &'static str, json: &'static str| Entry {
        key,
        cells: Some(vec![set("name", json)]),
        broken: false,
    };
    let (ab, cd, ef) = ("\"ab\"", "\"cd\"", "\"ef\"");
    let gone = Entry { key: "4", cells: None, broken: false };
    let mut examples = vec![
        vec![named("4", ab), named("1", ab)],
        vec![named("4", ab), named("4", cd), named("1", ab)],
        vec![named("4", ab), gone, named("1", ab)],
        vec![named("1", ab), named("2", cd), named("1", ef), named("2", ab), named("1", cd)],
    ];
    if kind.unique.is_empty() {
        examples.clear();
    }
    let of = |cell: Cell| {
        let version = kind.version.map(|column| set(column, "3"));
        let cells = version.into_iter().chain([cell]).collect();
        Entry { key: "1", cells: Some(cells), broken: false }
    };
    let large = "9223372036854775808";
    let bad = [
        [suspect(set("hits", "null")), add("hits", "1")],
        [suspect(add("price", "0.005")), suspect(add("price", "0.005"))],
        [suspect(add("total", large)), suspect(add("total", "-9223372036854775809"))],
    ]
    .map(|cells| std::iter::once(Entry::whole("1", kind)).chain(cells.map(of)).collect());
    examples.extend(bad);
    examples
}

/// Logs for such a table. Most of their values are of the suspects' columns.
pub fn a_log(kind: &'static Kind) -> impl Strategy<Value = Vec<Entry>> {
    let kinds = prop::sample::subsequence(SUSPECTS.to_vec(), 1..=2);
    kinds.prop_flat_map(move |kinds| {
        let suspects: Vec<Cell> = kinds.concat();
        let meets = |good: &&Cell| suspects.iter().any(|suspect| suspect.column == good.column);
        let mut beside: Vec<Cell> = GOOD.iter().filter(meets).copied().collect();
        let adds: Vec<Cell> = beside.iter().copied().filter(|cell| cell.is_add).collect();
        beside.extend(adds.repeat(3));
        if !kind.unique.is_empty() {
            beside.extend(CONTESTED.repeat(4));
        }
        if beside.is_empty() {
            beside = GOOD.to_vec();
        }
        prop::collection::vec(an_entry(suspects, beside, kind), 2..20)
    })
}

fn an_entry(
    suspects: Vec<Cell>,
    beside: Vec<Cell>,
    kind: &'static Kind,
) -> impl Strategy<Value = Entry> {
    let good = prop_oneof![3 => prop::sample::select(beside), 1 => prop::sample::select(GOOD)];
    let good = prop::collection::vec(good, 0..3);
    let suspect = prop::option::weighted(0.25, prop::sample::select(suspects));
    let required = prop::bool::weighted(0.6);
    let version = prop::sample::select(VERSIONS);
    let cells =
        (good, suspect, required, version).prop_map(move |(good, suspect, required, version)| {
            let mut cells: Vec<Cell> = suspect.into_iter().collect();
            cells.extend((kind.requires && required).then_some(REQUIRED));
            cells.extend(version.iter().filter(|_| kind.version.is_some()));
            for cell in good {
                if cells.iter().all(|other| other.column != cell.column) {
                    cells.push(cell);
                }
            }
            cells
        });
    let (writes, one, two, more) =
        if kind.unique.is_empty() { (0.94, 9, 4, 0) } else { (0.88, 4, 4, 4) };
    let cells = prop::option::weighted(writes, cells);
    let key = prop_oneof![one => Just("1"), two => Just("2"), more => Just("4"), 1 => Just("03")];
    (key, cells, prop::bool::weighted(0.03)).prop_map(|(key, cells, broken)| Entry {
        key,
        cells,
        broken,
    })
}

impl Entry {
    /// A record that is good and makes a whole row.
    pub fn whole(key: &'static str, kind: &Kind) -> Self {
        let required = kind.requires.then_some(REQUIRED);
        let version = kind.version.map(|column| set(column, "0"));
        let cells = required.into_iter().chain(version).chain([set("hits", "1")]).collect();
        Self { key, cells: Some(cells), broken: false }
    }

    pub fn record(&self, offset: usize) -> RawRecord {
        let value = self.cells.as_ref().map(|cells| {
            let members: Vec<String> =
                cells.iter().map(|cell| format!("\"{}\":{}", cell.column, cell.json)).collect();
            let bracket = if self.broken { "" } else { "}" };
            format!("{{{}{bracket}", members.join(",")).into_bytes().into_boxed_slice()
        });
        let added: Vec<&str> = self
            .cells
            .iter()
            .flatten()
            .filter_map(|cell| cell.is_add.then_some(cell.column))
            .collect();
        let add = ("add".to_owned(), Some(added.join(",").into_bytes().into()));
        RawRecord {
            partition: Partition(0),
            offset: Offset(i64::try_from(offset).unwrap()),
            key: Some(self.key.as_bytes().into()),
            value,
            headers: if added.is_empty() { Vec::new() } else { vec![add] },
        }
    }

    /// Whether it replaces the column whole, as a delete replaces all of them.
    pub fn replaces(&self, column: &str) -> bool {
        let sets = |cell: &Cell| cell.column == column && !cell.is_add;
        self.cells.as_ref().is_none_or(|cells| cells.iter().any(sets))
    }

    /// Whether it sets what a new row requires.
    pub fn is_whole(&self) -> bool {
        self.cells.iter().flatten().any(|cell| *cell == REQUIRED)
    }

    /// The version that it sets.
    pub fn version(&self) -> Option<i64> {
        let version = self.cells.iter().flatten().find(|cell| cell.column == "v")?;
        version.json.parse().ok()
    }

    /// Whether it may change what the row has in these columns.
    pub fn touches(&self, columns: &[&str]) -> bool {
        let of_them = |cell: &Cell| columns.contains(&cell.column);
        self.cells.as_ref().is_none_or(|cells| cells.iter().any(of_them))
    }

    pub fn suspect(&self) -> Option<&Cell> {
        self.cells.iter().flatten().find(|cell| cell.is_suspect)
    }
}

/// The rows that the records make one by one, without those set aside: a model that knows no batch.
pub fn rows_of(log: &[Entry], set_aside: &BTreeSet<usize>, kind: &Kind) -> Rows {
    let (mut rows, defaults) = (Rows::new(), kind.defaults);
    let mut versions: BTreeMap<&str, i64> = BTreeMap::new();
    for (offset, entry) in log.iter().enumerate() {
        if set_aside.contains(&offset) {
            continue;
        }
        let Some(cells) = &entry.cells else {
            rows.remove(entry.key);
            versions.remove(entry.key);
            continue;
        };
        if let Some(version) = entry.version().filter(|_| kind.version.is_some()) {
            let newest = versions.entry(entry.key).or_insert(version);
            if version < *newest {
                continue;
            }
            *newest = version;
        }
        let own = |(_, text): &(_, Option<&str>)| text.map(str::to_owned);
        let row = || defaults.iter().map(own).collect();
        let row = rows.entry(entry.key.to_owned()).or_insert_with(row);
        for cell in cells {
            let Some(place) = defaults.iter().position(|(name, _)| *name == cell.column) else {
                continue;
            };
            let text = cell.json.trim_matches('"').to_owned();
            row[place] = match &row[place] {
                _ if cell.json == "null" => None,
                Some(held) if cell.is_add => sum(held, &text),
                _ => Some(text),
            };
        }
    }
    rows
}

/// The rows that have what the record at `offset` takes, each with the unique key's columns.
pub fn in_the_way(
    log: &[Entry],
    offset: usize,
    set_aside: &BTreeSet<usize>,
    kind: &Kind,
) -> Vec<(String, &'static [&'static str])> {
    let mut set_aside = set_aside.clone();
    set_aside.remove(&offset);
    let rows = rows_of(&log[..=offset], &set_aside, kind);
    let key = log[offset].key;
    let Some(own) = rows.get(key) else { return Vec::new() };
    let place =
        |column: &&'static str| kind.defaults.iter().position(|(name, _)| name == column).unwrap();
    let mut found = Vec::new();
    for unique in kind.unique {
        let places: Vec<usize> = unique.iter().map(place).collect();
        let same = |other: &Vec<Option<String>>| {
            places.iter().all(|place| own[*place].is_some() && own[*place] == other[*place])
        };
        let others = rows.iter().filter(|(other, row)| *other != key && same(row));
        found.extend(others.map(|(other, _)| (other.clone(), *unique)));
    }
    found
}

/// A sum that is no number stands for no text that a table could hold.
fn sum(held: &str, delta: &str) -> Option<String> {
    let number = |text: &str| text.parse::<Number>().ok();
    let sum = number(held).zip(number(delta)).map(|(held, delta)| held.plus(&delta).to_string());
    sum.or_else(|| Some(format!("{held} + {delta}")))
}

/// Whether the rows are the same, however the database spells a number, and to the digits that
/// `SQLite` keeps of a decimal.
pub fn are_same(one: &Rows, other: &Rows) -> bool {
    let alike = |one: &Option<String>, other: &Option<String>| match (one, other) {
        (Some(one), Some(other)) => {
            let numbers = one.parse::<f64>().ok().zip(other.parse::<f64>().ok());
            let close = |(one, other): (f64, f64)| (one - other).abs() < 1e-9 * (1.0 + one.abs());
            let both_integers = one.parse::<i64>().is_ok() && other.parse::<i64>().is_ok();
            one == other || !both_integers && numbers.is_some_and(close)
        }
        _ => one == other,
    };
    one.keys().eq(other.keys())
        && one
            .values()
            .zip(other.values())
            .all(|(one, other)| one.iter().zip(other).all(|(one, other)| alike(one, other)))
}
