//! Write-behind.
mod write_behind;
mod builder;
mod encode;
mod accept;
mod admission;
mod ledger;
mod entry;
mod pending;
mod lanes;
mod publish;
mod persisted;
mod read;
mod load;
mod write;
mod metrics;
mod error;

pub use admission::WhenFull;
pub use builder::Builder;
pub use error::{
    BuildError, DeliveryError, Full, Halt, LoadError, ReadError, Refusal, Undelivered, WriteError,
};
pub use load::{Loaded, Loader};
pub use write::Write;
pub use write_behind::WriteBehind;
pub use write_behind_shared::{Change, NextOffset, Number};
