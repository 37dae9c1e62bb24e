//! Why a key is refused.

/// How long a key may be, in bytes. No database indexes a longer one.
pub const KEY_BYTES_MAX: usize = 8 << 10;

/// Why a key cannot be written or read.
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
    /// Not the canonical text of the column's type.
    #[error("{text:?} is not the canonical text of {kind} (key column {column:?})")]
    NotCanonical {
        /// What stands there.
        text: String,
        /// What should.
        kind: &'static str,
        /// The key column.
        column: String,
    },
    /// A tuple's values have no names.
    #[error("a tuple does not name its columns: name them with `key_columns`")]
    NoColumnNames,
    /// The key does not have as many columns as were named.
    #[error("`key_columns` names {named} columns, but the key has {parts}")]
    ColumnCount {
        /// How many were named.
        named: usize,
        /// How many the key has.
        parts: usize,
    },
    /// The key names its columns itself, and otherwise.
    #[error("the key has the columns {key}, but `key_columns` names {named}")]
    OtherColumns {
        /// Those of the key.
        key: String,
        /// Those that were named.
        named: String,
    },
    /// A composite key that is not a canonical object of exactly the key columns.
    #[error("a composite key must be a canonical JSON object of exactly its columns: {0}")]
    NotCanonicalObject(String),
}
