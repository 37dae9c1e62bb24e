//! The priority of a write.

/// How soon a write is written to the database, beside those of other partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priority {
    /// In its turn.
    #[default]
    Normal,
    /// Soon, with everything that is ahead of it in its partition.
    High,
}
