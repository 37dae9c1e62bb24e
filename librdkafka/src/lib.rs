//! The calls into librdkafka that `rdkafka` does not have, and nothing else: all unsafe code of this
//! workspace is here, and what each file offers is safe.

mod delivery_status;
mod headers;
mod send_now;
mod topic;

pub use delivery_status::may_be_in_the_log;
pub use headers::{Header, headers};
pub use send_now::send_now;
pub use topic::{Record, Topic};
