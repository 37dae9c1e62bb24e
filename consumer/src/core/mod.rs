//! The state machines of the consumer and the words they share. Pure: no clock, no task, no input or
//! output; what happens is told to them, and what they answer is done by others.

pub mod record;
pub mod batch;
pub mod bookkeeping_key;
pub mod assign;
pub(crate) mod row_by_row;
pub(crate) mod writes;
pub(crate) mod span_read;
pub mod flood;
pub mod table;
pub mod pipeline;
pub mod dead_letters;
