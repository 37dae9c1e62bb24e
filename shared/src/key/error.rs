//! Why a key is refused.

/// The longest key, in bytes. No database indexes a longer one.
pub const KEY_BYTES_MAX: usize = 8 << 10;

/// Why a value cannot be written as a key, or a key cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The Rust value has no canonical text: a float, a null, a list, a nested struct.
    #[error("a key is an integer, a text, a boolean, or a struct of these, not {0}")]
    NotAKey(String),
    /// Longer than [`KEY_BYTES_MAX`].
    #[error("the key is longer than {KEY_BYTES_MAX} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the key is not UTF-8")]
    NotUtf8,
    /// No text column can hold a NUL character.
    #[error("the key holds a NUL character")]
    Nul,
    /// What another client, serializer or tool writes, as far as its first bytes tell.
    #[error("the key {0}")]
    Mistaken(&'static str),
    /// Not the canonical text of the column's type.
    #[error("{text:?} is not the canonical text of {kind} (key column {column:?})")]
    NotCanonical {
        /// What the key has.
        text: String,
        /// What it should have.
        kind: &'static str,
        /// The key column.
        column: String,
    },
    /// The values of a tuple have no names, and none were given.
    #[error("a tuple does not name its columns: name them with `key_columns`")]
    NoColumnNames,
    /// The key has more or fewer columns than were named.
    #[error("`key_columns` names {named} columns, but the key has {parts}")]
    ColumnCount {
        /// How many columns were named.
        named: usize,
        /// How many columns the key has.
        parts: usize,
    },
    /// The key names its columns itself, and differently.
    #[error("the key has the columns {key}, but `key_columns` names {named}")]
    OtherColumns {
        /// The columns of the key.
        key: String,
        /// The columns that were named.
        named: String,
    },
    /// A composite key that is not a canonical object of exactly the key columns.
    #[error("a composite key must be a canonical JSON object of exactly its columns: {0}")]
    NotCanonicalObject(String),
}
