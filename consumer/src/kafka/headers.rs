//! The headers of a message, also one whose name is not UTF-8.
//!
//! rdkafka panics at such a name, and has no call that returns a header's bytes. So the panic is
//! caught here. The header is named [`UNREADABLE`], which makes its record a bad one like any other.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _};
use write_behind_shared::record::UNREADABLE;

/// A header's name and value.
pub(super) type NamedHeader<'m> = (&'m str, Option<&'m [u8]>);

thread_local! {
    /// Whether this thread expects a panic, so that nobody is told of it.
    static EXPECTS_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// The headers of `message`, in order.
pub(super) fn headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<NamedHeader<'m>> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let all = || headers.iter().map(|header| named(&header)).collect();
    quietly(all).unwrap_or_else(|| {
        silence();
        let one = |at| quietly(|| named(&headers.get(at))).unwrap_or((UNREADABLE, None));
        (0..headers.count()).map(one).collect()
    })
}

fn named<'m>(header: &Header<'m, &'m [u8]>) -> NamedHeader<'m> {
    (header.key, header.value)
}

/// What `read` returns; `None`: it panicked.
fn quietly<T>(read: impl FnOnce() -> T) -> Option<T> {
    EXPECTS_PANIC.set(true);
    // No state is shared with `read`, so none can be left half changed.
    let read = catch_unwind(AssertUnwindSafe(read)).ok();
    EXPECTS_PANIC.set(false);
    read
}

/// Changes the process's panic hook, once there is a reason to: a topic may be full of such names, and
/// each would be a message on standard error.
fn silence() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !EXPECTS_PANIC.get() {
                before(panic);
            }
        }));
    });
}
