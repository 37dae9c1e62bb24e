//! The headers of a message, whose names may be any bytes: `rdkafka` panics at one that is not UTF-8.

use std::ffi::CStr;
use std::ptr::{null, null_mut};

use rdkafka::bindings as c;
use rdkafka::message::BorrowedMessage;

/// A header's name, and its value, if it has one.
pub type Header<'m> = (&'m str, Option<&'m [u8]>);

/// The headers of `message`, in order. A name that is not UTF-8 is given as `unreadable`.
#[must_use]
pub fn headers<'m>(message: &'m BorrowedMessage<'_>, unreadable: &'m str) -> Vec<Header<'m>> {
    let mut all = null_mut();
    #[expect(unsafe_code, reason = "rdkafka keeps the pointer of its own headers to itself")]
    // SAFETY: the message lives as long as `message`, and so do its headers: librdkafka finds them in
    // it, and keeps them with it.
    let code = unsafe { c::rd_kafka_message_headers(message.ptr(), &raw mut all) };
    if code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Vec::new();
    }
    let mut headers = Vec::new();
    loop {
        let (mut name, mut value, mut length) = (null(), null(), 0);
        #[expect(unsafe_code, reason = "rdkafka makes a text of the name")]
        // SAFETY: `all` was set above. librdkafka writes the three if it knows a header of this
        // number, and says so if it does not.
        let code = unsafe {
            let (name, value) = (&raw mut name, &raw mut value);
            c::rd_kafka_header_get_all(all, headers.len(), name, value, &raw mut length)
        };
        if code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return headers;
        }
        #[expect(unsafe_code, reason = "what librdkafka points to is borrowed from the message")]
        // SAFETY: the name is a C string, and the value, if there is one, has this length. Both stay
        // where they are, and as they are, for as long as the message lives.
        headers.push(unsafe {
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), length));
            (CStr::from_ptr(name).to_str().unwrap_or(unreadable), value)
        });
    }
}
