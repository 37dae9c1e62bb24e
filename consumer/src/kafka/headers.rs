//! The headers of a message, also one whose name is not UTF-8.
//!
//! rdkafka panics at such a name, and has no call that returns a header's bytes. So the panic is
//! caught here. The header is named [`UNREADABLE`], which makes its record a bad one like any other.

use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _};
use write_behind_shared::expected_panic::catch;
use write_behind_shared::record::UNREADABLE;

/// A header's name and value.
pub(super) type NamedHeader<'m> = (&'m str, Option<&'m [u8]>);

/// The headers of `message`, in order.
pub(super) fn headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<NamedHeader<'m>> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let all = || headers.iter().map(|header| named(&header)).collect();
    catch(all).unwrap_or_else(|| {
        let one = |at| catch(|| named(&headers.get(at))).unwrap_or((UNREADABLE, None));
        (0..headers.count()).map(one).collect()
    })
}

fn named<'m>(header: &Header<'m, &'m [u8]>) -> NamedHeader<'m> {
    (header.key, header.value)
}
