//! Single records that come in parts within a transaction, because memory can't hold all of them.

use std::fmt;
use std::pin::Pin;

use crate::core::record::{DeadLetter, RawRecord};
use crate::core::table::row::Row;

/// Single records, in log order after those before.
#[derive(Debug)]
pub struct Part {
    /// Those to apply.
    pub records: Vec<(RawRecord, Row<'static>)>,
    /// Those that are bad.
    pub dead_letters: Vec<DeadLetter>,
}

/// A part could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread;

/// The next part; `None`: there is none.
pub type PartFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Part>, Unread>> + Send + 'a>>;

/// The single records after those that a transaction begins with.
pub trait MoreRecords: fmt::Debug + Send + Sync {
    /// The next part, or the first of them.
    fn next_part(&self, is_first: bool) -> PartFuture<'_>;
}
