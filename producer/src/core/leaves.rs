//! Whether one row is being put into the cache, outside of its partition's lock.

/// How far a row is on its way to the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// It stays.
    #[default]
    No,
    /// It is put there, and is the same since.
    Unchanged,
    /// It is put there, and something has happened to it.
    Changed,
}

impl Leaves {
    /// Something is about to happen to the row.
    pub(crate) fn changes(&mut self) {
        if *self == Leaves::Unchanged {
            *self = Leaves::Changed;
        }
    }
}
