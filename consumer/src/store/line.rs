//! A line of an answer of the bookkeeping tables, read value by value.

use write_behind_shared::{NextOffset, Offset, Partition};

use crate::store::StoreError;
use crate::store::statement::{Statement, Statements, Value};

/// A line. Each call reads the next value; `None`: that is of another kind.
pub(super) struct Line(std::vec::IntoIter<Value>);

/// Runs `statement`, and reads each line of its answer. `table` is the table that it asks.
///
/// # Errors
/// The database's, or that the table holds a line that `read` can't read.
pub(super) async fn select<S: Statements, T>(
    store: &mut S,
    statement: Statement,
    table: &str,
    mut read: impl FnMut(&mut Line) -> Option<T> + Send,
) -> Result<Vec<T>, StoreError> {
    let lines = store.select(statement).await?.into_iter();
    let read: Option<_> = lines.map(|line| read(&mut Line(line.into_iter()))).collect();
    let unreadable = || StoreError::Stop(format!("{table} holds a value that no consumer wrote"));
    read.ok_or_else(unreadable)
}

impl Line {
    pub(super) fn integer(&mut self) -> Option<i64> {
        if let Value::Integer(integer) = self.0.next()? { Some(integer) } else { None }
    }

    pub(super) fn partition(&mut self) -> Option<Partition> {
        i32::try_from(self.integer()?).ok().map(Partition)
    }

    pub(super) fn offset(&mut self) -> Option<Offset> {
        self.integer().map(Offset)
    }

    pub(super) fn next_offset(&mut self) -> Option<NextOffset> {
        self.integer().map(NextOffset)
    }

    /// A text that is not NULL.
    pub(super) fn text(&mut self) -> Option<String> {
        self.nullable_text()?
    }

    #[expect(clippy::option_option, reason = "a NULL and what is no text are two answers")]
    pub(super) fn nullable_text(&mut self) -> Option<Option<String>> {
        if let Value::Text(text) = self.0.next()? { Some(text) } else { None }
    }

    #[expect(clippy::option_option, reason = "a NULL and what are no bytes are two answers")]
    pub(super) fn nullable_bytes(&mut self) -> Option<Option<Vec<u8>>> {
        if let Value::Bytes(bytes) = self.0.next()? { Some(bytes) } else { None }
    }
}
