//! A library's panic as an answer, where the library has no call that returns an error.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread expects a panic, so that nobody is told of it.
    static EXPECTS_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// What `call` returns; `None`: it panicked. The first such panic of the process is told on standard
/// error as any other is, and no later one: records could cause one each.
///
/// `call` must leave nothing half changed if it panics.
pub fn catch<T>(call: impl FnOnce() -> T) -> Option<T> {
    EXPECTS_PANIC.set(true);
    let answer = catch_unwind(AssertUnwindSafe(call)).ok();
    EXPECTS_PANIC.set(false);
    if answer.is_none() {
        silence();
    }
    answer
}

/// Changes the process's panic hook, which is left alone until there is a reason.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_expected_panic_is_told_and_all_others_that_are_not_expected() {
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        set_hook(Box::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let panics = || catch(|| -> u32 { panic!("a name that is not UTF-8") });
        assert_eq!([panics(), panics(), catch(|| 7)], [None, None, Some(7)]);
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert!(catch_unwind(|| panic!("an error of ours")).is_err());
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }
}
