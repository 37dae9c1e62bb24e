//! A folded change checked against its table: each value as the text that its column takes, or the
//! reason why the change does not fit.
//!
//! Pure. It does not know what the row already holds: constraints are left to the database.

use std::borrow::Cow;

use write_behind_shared::change::NotNumeric;
use write_behind_shared::json::unquoted;
use write_behind_shared::key::{self, KeyError, KeyKind};
use write_behind_shared::{Cell, Change, Number, mistaken};

use crate::core::table::column::{Unfit, is_not, text_of, unfit_key};
use crate::core::table::increment::{delta_text, sum_text};
use crate::core::table::{Column, ColumnKind, Table};

/// The change of one row, in the database's notation.
///
/// Texts borrow from the record wherever it spells them as the database takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The texts of the key columns, in the key's order.
    pub key: Vec<Cow<'a, str>>,
    /// Whether the row is deleted first.
    pub delete: bool,
    /// The columns then written, by index, each once and without key columns. `None`: the row is
    /// not written.
    pub write: Option<Vec<(usize, RowCell<'a>)>>,
    /// The columns that are set and then added to, by index, with what is added: written after
    /// `write`. So the database judges the value under an increment too, as it would if a batch had
    /// ended between them.
    pub then_add: Vec<(usize, String)>,
}

/// The change of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowCell<'a> {
    /// Sets it to this value; `None` is NULL.
    Set(Option<Cow<'a, str>>),
    /// Adds this to it; a missing or NULL column starts from nothing.
    Add(String),
}

impl RowCell<'_> {
    /// The value or the delta; `None` is NULL.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            RowCell::Set(text) => text.as_deref(),
            RowCell::Add(text) => Some(text),
        }
    }

    fn into_owned(self) -> RowCell<'static> {
        match self {
            RowCell::Set(text) => RowCell::Set(text.map(|text| Cow::Owned(text.into_owned()))),
            RowCell::Add(text) => RowCell::Add(text),
        }
    }
}

/// Why a change does not fit its table. It won't fit unless the table changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The table does not have the column, the database generates it, or the route leaves it out.
    #[error("there is no column {0:?} that a record may write")]
    UnknownColumn(String),
    /// The table has none of these columns, for they are those of an envelope around the row.
    #[error("{0}")]
    Envelope(&'static str),
    /// A key column in the value differs from the key, or is incremented.
    #[error("the key column {0:?} may be repeated in the value only as it stands in the key")]
    KeyColumn(String),
    /// A write lacks the version that its route requires.
    #[error("the version in {0:?} is missing: a value that this route takes sets one")]
    NoVersion(String),
    /// An increment of a column whose default is neither NULL nor 0.
    #[error("column {0:?} can't be incremented, for its default is neither 0 nor NULL: drop it")]
    Default(String),
    /// An increment of a value that is not a number.
    #[error(transparent)]
    NotNumeric(#[from] NotNumeric),
    /// A value that does not fit its column's type.
    #[error("column {column:?}: {why}")]
    Value {
        /// The column.
        column: String,
        /// The reason.
        why: Unfit,
    },
}

impl Misfit {
    /// The message without any content of the record except column names.
    pub(crate) fn without_values(&self) -> String {
        match self {
            Misfit::Key(KeyError::NotCanonical { kind, column, .. }) => {
                format!("the key is not the canonical text of {kind} (key column {column:?})")
            }
            Misfit::Key(KeyError::NotCanonicalObject(_)) => {
                "a composite key must be a canonical JSON object of exactly its columns".to_owned()
            }
            Misfit::NotNumeric(NotNumeric { column, .. }) => {
                format!("column {column:?} is incremented but does not hold a number")
            }
            Misfit::Value { column, why } => format!("column {column:?}: the value {}", why.why),
            Misfit::Key(_)
            | Misfit::UnknownColumn(_)
            | Misfit::Envelope(_)
            | Misfit::KeyColumn(_)
            | Misfit::NoVersion(_)
            | Misfit::Default(_) => self.to_string(),
        }
    }
}

fn unknown_column(name: &str, change: &Change) -> Misfit {
    let names: Vec<&str> = change.cells().map(|(name, _)| name).collect();
    let looks_like = mistaken::of_names(&names);
    looks_like.map_or_else(|| Misfit::UnknownColumn(name.to_owned()), Misfit::Envelope)
}

impl<'a> Row<'a> {
    /// Judges `change` of the row `key` by `table`.
    ///
    /// # Errors
    /// [`Misfit`], if the change or one of the records folded into it is bad.
    pub fn judge(table: &Table, key: &'a [u8], change: &'a Change) -> Result<Self, Misfit> {
        let key = key::texts(key, table.record_key())?;
        judge_key(table, &key)?;
        let delete = change.resets();
        if !change.writes() {
            return Ok(Self { key, delete, write: None, then_add: Vec::new() });
        }
        let mut write = Vec::with_capacity(change.cells().len());
        let mut then_add = Vec::new();
        for (name, cell) in change.cells() {
            let key_columns = table.record_key();
            if let Some(place) = key_columns.iter().position(|column| column.name == name) {
                if !repeats(&key_columns[place].kind, &key[place], cell) {
                    return Err(Misfit::KeyColumn(name.to_owned()));
                }
                continue;
            }
            let place = table.member(name);
            let place = place.ok_or_else(|| unknown_column(name, change))?;
            let column = &table.columns[place];
            if !matches!(cell, Cell::Set(_)) && !column.counts_from_nothing {
                return Err(Misfit::Default(name.to_owned()));
            }
            if table.version == Some(place) {
                judge_version(name, column, cell)?;
            }
            write.push((place, judge_cell(name, column, cell, delete)?));
            if let Cell::SetThenAdd(_, sum) = cell {
                then_add.push((place, sum.total().to_string()));
            }
        }
        if let Some(version) = table.version
            && !write.iter().any(|(place, _)| *place == version)
        {
            return Err(Misfit::NoVersion(table.columns[version].name.clone()));
        }
        Ok(Self { key, delete, write: Some(write), then_add })
    }

    /// The row that is written after this one, if a column is set and then added to.
    pub(crate) fn then(&self, table: &Table) -> Option<Row<'_>> {
        if self.then_add.is_empty() {
            return None;
        }
        let added = self.then_add.iter().map(|(at, text)| (*at, RowCell::Add(text.clone())));
        // With its version the row is left out exactly if this one was.
        let version = self.write.iter().flatten().filter(|(at, _)| Some(*at) == table.version);
        let write = added.chain(version.cloned()).collect();
        let key = self.key.iter().map(|text| Cow::Borrowed(&**text)).collect();
        Some(Row { key, delete: false, write: Some(write), then_add: Vec::new() })
    }

    /// The row with every value as the increments leave it.
    #[must_use]
    pub(crate) fn summed(mut self) -> Self {
        for (at, delta) in std::mem::take(&mut self.then_add) {
            let cell = self.write.iter_mut().flatten().find(|(place, _)| *place == at);
            let Some((_, RowCell::Set(text))) = cell else { continue };
            let numbers = text.as_deref().map(|base| (base.parse::<Number>(), delta.parse()));
            let sum = match numbers {
                Some((Ok(base), Ok(delta))) => base.plus(&delta).to_string(),
                _ => delta,
            };
            *text = Some(sum.into());
        }
        self
    }

    /// The first of `columns` that the row is written without.
    pub(crate) fn lacks(&self, columns: &[usize]) -> Option<usize> {
        let cells = self.write.as_ref()?;
        columns.iter().copied().find(|place| cells.iter().all(|(named, _)| named != place))
    }

    /// The texts of the key columns, then those of the written columns; `None` is NULL.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Option<&str>> {
        let cells = self.write.iter().flatten().map(|(_, cell)| cell.text());
        self.key.iter().map(|text| Some(&**text)).chain(cells)
    }

    /// The row with texts of its own.
    #[must_use]
    pub fn into_owned(self) -> Row<'static> {
        let own = |cells: Vec<(usize, RowCell<'a>)>| {
            cells.into_iter().map(|(place, cell)| (place, cell.into_owned())).collect()
        };
        Row {
            key: self.key.into_iter().map(|text| Cow::Owned(text.into_owned())).collect(),
            delete: self.delete,
            write: self.write.map(own),
            then_add: self.then_add,
        }
    }
}

/// Refuses a key that its column would change: it would be another row's.
fn judge_key(table: &Table, key: &[Cow<'_, str>]) -> Result<(), Misfit> {
    for (column, text) in table.key.iter().zip(key) {
        // Only texts can be changed, and looking for the column takes time.
        if column.kind == KeyKind::Text
            && let Some(place) = table.column(&column.name)
            && let Some(why) = unfit_key(&table.columns[place].kind, text)
        {
            return Err(Misfit::Value { column: column.name.clone(), why });
        }
    }
    Ok(())
}

fn judge_cell<'a>(
    name: &str,
    column: &Column,
    cell: &'a Cell,
    from_nothing: bool,
) -> Result<RowCell<'a>, Misfit> {
    let misfit = |why| Misfit::Value { column: name.to_owned(), why };
    match cell {
        Cell::Set(value) => set_text(column, value.get()).map(RowCell::Set).map_err(misfit),
        Cell::Add(increments) => {
            let text = sum_text(column, increments).map_err(misfit)?;
            Ok(if from_nothing { RowCell::Set(Some(text.into())) } else { RowCell::Add(text) })
        }
        // The value is judged too, by its type here, and by the database before it is added to.
        Cell::SetThenAdd(value, increments) => {
            sum_text(column, increments).map_err(misfit)?;
            set_text(column, value.get()).map(RowCell::Set).map_err(misfit)
        }
    }
}

fn set_text<'a>(column: &Column, json: &'a str) -> Result<Option<Cow<'a, str>>, Unfit> {
    if !column.takes_null && json == "null" {
        return Err(is_not(json, "a value that the column takes: it would put its own there"));
    }
    text_of(&column.kind, json)
}

/// Accepts a version, unless its column would round it: which of two versions is older would then
/// depend on who rounds.
fn judge_version(name: &str, column: &Column, cell: &Cell) -> Result<(), Misfit> {
    let missing = || Misfit::NoVersion(name.to_owned());
    let Cell::Set(value) = cell else { return Err(missing()) };
    match (&column.kind, unquoted(value.get()).parse()) {
        _ if value.get() == "null" => Err(missing()),
        (ColumnKind::Numeric(_), Ok(number)) => delta_text(column, &number)
            .map(|_| ())
            .map_err(|why| Misfit::Value { column: name.to_owned(), why }),
        _ => Ok(()),
    }
}

/// Whether `cell` gives a key column exactly the key's value.
fn repeats(kind: &KeyKind, key: &str, cell: &Cell) -> bool {
    let Cell::Set(value) = cell else { return false };
    let kind = match kind {
        KeyKind::Integer(range) => ColumnKind::Integer(range.clone()),
        KeyKind::Boolean => ColumnKind::Boolean,
        KeyKind::Text | KeyKind::Uuid | KeyKind::Date => ColumnKind::Text,
    };
    matches!(text_of(&kind, value.get()), Ok(Some(text)) if text == key)
}

#[cfg(test)]
#[path = "tests/row.rs"]
mod tests;
