//! Removes the containers and their networks when the test binary ends, however it ends.
//!
//! testcontainers removes a container when its handle is dropped; what is shared by all tests of a
//! binary stands in a `static` and is never dropped, and a killed process drops nothing. So a small
//! shell waits for our end of a pipe to be closed, which the kernel does in every case, and removes
//! then what it was told of.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

const SCRIPT: &str = r#"while read -r kind id; do
    case $kind in
        container) containers="$containers $id" ;;
        network) networks="$networks $id" ;;
    esac
done
[ -z "$containers" ] || docker rm --force --volumes $containers
[ -z "$networks" ] || docker network rm $networks"#;

/// Removes a `container` or, afterwards, a `network` once this process is no more. Best effort: the
/// test command removes what is left, before and after.
pub(crate) fn remove_at_our_end(kind: &str, id: &str) {
    static REAPER: OnceLock<Option<Mutex<Child>>> = OnceLock::new();
    if std::env::var("TESTCONTAINERS_COMMAND").is_ok_and(|command| command == "keep") {
        return;
    }
    let Some(reaper) = REAPER.get_or_init(|| start().map(Mutex::new)) else { return };
    let mut reaper = reaper.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pipe) = reaper.stdin.as_mut() {
        // A reaper that is gone is no reason to fail a test.
        let _ = writeln!(pipe, "{kind} {id}");
    }
}

fn start() -> Option<Child> {
    Command::new("sh")
        .args(["-c", SCRIPT])
        // Out of our process group: what interrupts the tests must not interrupt the cleaning.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}
