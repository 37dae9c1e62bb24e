//! What a record of the simulation means, and the rows that records in a log make: the oracle's own
//! fold, which shares no code with the product.

use std::collections::BTreeMap;

use uuid::Uuid;

/// A row. Each increment adds a bit of its own to `n`, so the sum names what is lost or doubled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRow {
    pub n: Option<i64>,
    pub v: Option<i64>,
    /// The name of the record that set it last.
    pub tag: Option<String>,
    /// The row of the first route that this one refers to.
    pub parent: Option<i64>,
}

/// What a record does to its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Adds this bit to `n`.
    Add(i64),
    /// Sets `n` to this bit.
    Put(i64),
    /// Sets `v`.
    SetV(i64),
    /// Adds to `v`.
    AddV(i64),
    /// Refers to this row.
    Refer(i64),
    /// Deletes the row.
    Delete,
    /// Is no record at all: it can't be decoded.
    Undecodable,
    /// Names a column that there is not.
    UnknownColumn,
    /// Sets `v` to what is no number.
    Misfit,
}

/// A record, as the oracle knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    pub key: i64,
    pub effect: Effect,
    /// Its name, which it also leaves in `tag`, unless it deletes.
    pub name: String,
    /// Its writer and sequence.
    pub write: Option<(Uuid, u64)>,
    /// For [`Effect::Refer`]: where the log that has the parent ended when this was written.
    pub parent_end: Option<(i32, i64)>,
}

impl Meaning {
    /// Whether it can be applied whatever its row holds, as far as the table's constraints allow.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !matches!(self.effect, Effect::Undecodable | Effect::UnknownColumn | Effect::Misfit)
    }

    /// Whether a later record of the row may hide that this one is bad, by what it replaces.
    #[must_use]
    pub fn is_hidden_by(&self, later: &Meaning) -> bool {
        let of_the_row = later.key == self.key && later.is_sound();
        of_the_row
            && match self.effect {
                Effect::Undecodable => false,
                Effect::Misfit => matches!(later.effect, Effect::Delete | Effect::SetV(_)),
                _ => later.effect == Effect::Delete,
            }
    }

    /// The row after this record, given the row before.
    #[must_use]
    pub fn applied(&self, before: Option<&ModelRow>) -> Option<ModelRow> {
        let mut row = before.cloned().unwrap_or_default();
        match self.effect {
            Effect::Delete => return None,
            Effect::Undecodable => return before.cloned(),
            Effect::Add(bit) => row.n = Some(row.n.unwrap_or(0) + bit),
            Effect::Put(bit) => row.n = Some(bit),
            Effect::SetV(value) => row.v = Some(value),
            Effect::AddV(delta) => row.v = Some(row.v.unwrap_or(0) + delta),
            Effect::Refer(parent) => row.parent = Some(parent),
            // What is good of a record that was not set aside is applied.
            Effect::UnknownColumn | Effect::Misfit => {}
        }
        row.tag = Some(self.name.clone());
        Some(row)
    }
}

/// The rows of one partition, and the writers seen in it.
#[derive(Clone, Debug, Default)]
pub struct ModelRows {
    pub rows: BTreeMap<i64, ModelRow>,
    /// The last sequence of each writer, and where it stands.
    pub writers: BTreeMap<Uuid, (u64, i64)>,
}

impl ModelRows {
    /// Whether the record was there before, by its writer's sequence. Notes the sequence, and forgets
    /// all but `writers_max` writers, those whose last records stand latest.
    pub fn is_duplicate(&mut self, meaning: &Meaning, at: i64, writers_max: usize) -> bool {
        let Some((writer, sequence)) = meaning.write else { return false };
        if self.writers.get(&writer).is_some_and(|(last, _)| sequence <= *last) {
            return true;
        }
        self.writers.insert(writer, (sequence, at));
        while self.writers.len() > writers_max {
            let oldest = self.writers.iter().min_by_key(|(_, (_, at))| *at);
            let Some(oldest) = oldest.map(|(writer, _)| *writer) else { break };
            self.writers.remove(&oldest);
        }
        false
    }

    pub fn apply(&mut self, meaning: &Meaning) {
        match meaning.applied(self.rows.get(&meaning.key)) {
            Some(row) => drop(self.rows.insert(meaning.key, row)),
            None => drop(self.rows.remove(&meaning.key)),
        }
    }
}
