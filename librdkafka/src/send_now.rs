//! What a producer has queued, sent without waiting for `linger.ms`.

use std::ffi::c_int;
use std::time::Duration;

use rdkafka::bindings::rd_kafka_flush;
use rdkafka::client::{Client, ClientContext};

/// Makes a producer send what it has queued without waiting for `linger.ms`. Blocks until all of it
/// is answered, but no longer than `at_most`, in whole milliseconds; what is queued meanwhile does
/// not wait either.
///
/// `rdkafka`'s own `flush` polls as well, and so takes delivery reports away from the thread that
/// is there for them; this takes none.
pub fn send_now<C: ClientContext>(client: &Client<C>, at_most: Duration) {
    let millis = c_int::try_from(at_most.as_millis()).unwrap_or(c_int::MAX);
    #[expect(unsafe_code, reason = "rdkafka has no call for it that does not poll")]
    // SAFETY: the pointer is that of a client which is borrowed for the length of this call, and
    // librdkafka's calls may be made from any thread. With delivery reports as events, which is how
    // rdkafka asks for them, this call waits for a count and takes nothing from any queue.
    let _ = unsafe { rd_kafka_flush(client.native_ptr(), millis) };
}
