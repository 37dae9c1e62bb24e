//! Why a database can't be reached, in a person's words: what no server has said.

use std::io::ErrorKind;
use std::path::Path;

use sqlx::Error;

use crate::store::StoreError;

/// What a server says that can be reached and takes no writes.
pub(super) const NO_WRITES: &str = "waiting for one that takes writes";

/// An error that is not the database's own answer, as what to do about it. Nearly all of them pass:
/// a server may be away, restart or be replaced.
pub(super) fn judge(error: &Error) -> StoreError {
    if let Error::Tls(why) = error
        && why.to_string().contains("server does not support TLS")
    {
        let mend = "let the server offer it, or correct `sslmode` in `database.url`";
        return StoreError::Stop(format!("{why}; {mend}"));
    }
    StoreError::Unavailable(match error {
        Error::Io(error) => of_io(error),
        Error::Tls(why) => of_tls(&why.to_string()),
        Error::Protocol(_) => {
            "what answers there does not speak the database's protocol: is it the \
                               right port?"
                .to_owned()
        }
        other => other.to_string(),
    })
}

/// A certificate that is not accepted may be one that is just being replaced.
fn of_tls(why: &str) -> String {
    let certificate = why.contains("certificate verify failed");
    let mend = "; correct `sslrootcert` (MySQL: `ssl-ca`) or the host in `database.url`";
    format!("TLS: {why}{}", if certificate { mend } else { "" })
}

fn of_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    // The resolver has no kind of its own.
    if text.starts_with("failed to lookup address") {
        return "the host's name does not resolve".to_owned();
    }
    let told = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "the connection was cut",
        ErrorKind::UnexpectedEof => "the connection was closed without an answer",
        ErrorKind::TimedOut => "the network gives no answer",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "there is no route to it",
        ErrorKind::NotFound => "there is no such socket or file",
        _ => return without_number(&text).to_owned(),
    };
    told.to_owned()
}

/// `(os error 111)` helps nobody.
fn without_number(text: &str) -> &str {
    text.split_once(" (os error").map_or(text, |(told, _)| told)
}

/// Why an SQLite file can't be opened, where the file system tells.
pub(super) fn of_file(file: &Path) -> Option<String> {
    let shown = file.display();
    if file.is_dir() {
        return Some(format!("{shown} is a folder; name the file in it"));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Some(format!("there is no folder {}", folder.display()));
    }
    match file.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Some(format!(
            "there is no file {shown}, and write-behind creates none: create it with your tables, or \
             correct the path"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Database, Timeouts};

    #[test]
    fn what_no_server_has_said_is_told_in_words_and_ends_only_what_a_person_must_mend() {
        let io = |kind| Error::Io(std::io::Error::from(kind));
        let other = |text: &str| Error::Io(std::io::Error::other(text.to_owned()));
        let tls = |text: &str| Error::Tls(text.to_owned().into());
        for (error, told, ends) in [
            (io(ErrorKind::ConnectionRefused), "connection refused", false),
            (io(ErrorKind::UnexpectedEof), "closed without an answer", false),
            (other("failed to lookup address information: no"), "name does not resolve", false),
            (other("odd thing (os error 5)"), "odd thing", false),
            (tls("server does not support TLS"), "correct `sslmode`", true),
            (tls("certificate verify failed"), "correct `sslrootcert`", false),
            (tls("unexpected end of file"), "TLS: unexpected end", false),
            (Error::Protocol("odd".to_owned()), "is it the right port?", false),
        ] {
            let judged = judge(&error);
            assert_eq!(matches!(judged, StoreError::Stop(_)), ends, "{judged:?}");
            let judged = judged.to_string();
            assert!(judged.contains(told) && !judged.contains("os error"), "{judged}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named_with_what_is_wrong_and_is_not_created() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().display();
        for (path, told) in [
            (format!("{base}/none.db"), "there is no file"),
            (format!("{base}/none/x.db"), "there is no folder"),
            (format!("{base}"), "is a folder"),
        ] {
            let database = Database::parse(&format!("sqlite://{path}")).unwrap();
            let error = database.connect(&Timeouts::STANDARD).await.unwrap_err();
            assert!(matches!(&error, StoreError::Stop(_)), "{error}");
            let error = error.to_string();
            assert!(error.contains(told) && error.contains(&path), "{error}");
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
