//! Checks a database URL before the driver parses it, and names whatever the driver would misread
//! or ignore, with the fix.
//!
//! Pure. No message repeats a part of the URL that may be a piece of a password.

use crate::core::nearest::nearest;
use crate::store::foreign_parameters::is_done_anyway;

/// A URL of no database that the consumer can write to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not one of the databases.
    #[error(
        "the database URL must begin with postgres://, mysql:// or sqlite:// (or mariadb://), not {0:?}"
    )]
    Scheme(String),
    /// Malformed. The reason never repeats the URL, which may hold a password.
    #[error("the database URL can't be read: {0}")]
    Malformed(String),
}

/// The parameters that sqlx reads from a URL of Postgres.
const POSTGRES: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// The same of MySQL.
const MYSQL: &[&str] = &[
    "ssl-mode",
    "sslmode",
    "ssl-ca",
    "sslca",
    "ssl-cert",
    "sslcert",
    "ssl-key",
    "sslkey",
    "charset",
    "collation",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];
const SSLMODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
const SSL_MODES: &[&str] = &["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"];

const ENCODE: &str = "a character of the user or the password must be percent-encoded: / is %2F, ? is \
                      %3F, # is %23, @ is %40, : is %3A, [ is %5B";

/// Checks the URL of one server or of several; `is_mysql`: of MySQL or MariaDB, not of Postgres.
/// Returns a URL for each, without parameters that ask for what is done anyway.
pub(super) fn servers(url: &str, is_mysql: bool) -> Result<Vec<String>, UrlError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        let (scheme, _) = url.split_once(':').unwrap_or((url, ""));
        malformed(format!("write it like {scheme}://user:password@host/database"))
    })?;
    if rest.contains('#') {
        return Err(malformed(format!("it contains a #, which has no meaning there; {ENCODE}")));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    if behind.contains('@') {
        return Err(malformed(format!("an @ stands behind the host; {ENCODE}")));
    }
    let (path, parameters) = behind.split_once('?').unwrap_or((behind, ""));
    let mut kept = Vec::new();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let foreign = is_done_anyway(name, value, is_mysql);
        let refused = |mend| malformed(format!("its parameter `{name}` is not taken: {mend}"));
        if !foreign.map_err(refused)? {
            check_parameter(name, value, is_mysql)?;
            kept.push(parameter);
        }
    }
    let begin = authority.len() - authority.rsplit_once('@').map_or(authority, |(_, at)| at).len();
    let (user, places) = authority.split_at(begin);
    let kept = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    let server = |place: &str| {
        check_place(scheme, place)?;
        Ok(format!("{scheme}://{user}{place}{path}{kept}"))
    };
    places.split(',').map(server).collect()
}

/// `host:port`.
fn check_place(scheme: &str, place: &str) -> Result<(), UrlError> {
    let port = match place.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map_or("", |(_, port)| port),
        None if place.matches(':').count() > 1 => {
            // A password with a / or ? in it may end here, so no piece of it is shown.
            return Err(malformed(format!(
                "an IPv6 address stands in brackets, as in {scheme}://user:password@[::1]:5432/database; \
                 otherwise {ENCODE}"
            )));
        }
        None => place.find(':').map_or("", |at| &place[at..]),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !digits.is_empty() && digits.parse::<u16>().is_err() {
        return Err(malformed(format!(
            "what stands behind the host is no port, which is a number up to 65535; or {ENCODE}"
        )));
    }
    Ok(())
}

fn check_parameter(name: &str, value: &str, is_mysql: bool) -> Result<(), UrlError> {
    let known = if is_mysql { MYSQL } else { POSTGRES };
    let is_option = !is_mysql && name.starts_with("options[");
    if !known.contains(&name) && !is_option {
        // What is no plain word may be a piece of a password behind a `?`.
        let is_word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let hint = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        let named = if is_word && name.len() <= 40 { format!(" `{name}`") } else { String::new() };
        return Err(malformed(format!("it has an unknown parameter{named}; {hint}")));
    }
    if matches!(name, "sslmode" | "ssl-mode") {
        return check_mode(name, value, if is_mysql { SSL_MODES } else { SSLMODES });
    }
    if matches!(name, "host" | "hostaddr") && value.contains(',') {
        let why =
            "several hosts stand before the database, as in postgres://user@a:5432,b:5432/name";
        return Err(malformed(why.to_owned()));
    }
    let is_number = matches!(name, "port" | "statement-cache-capacity");
    if is_number && value.parse::<u16>().is_err() {
        return Err(malformed(format!("its parameter `{name}` is no number")));
    }
    Ok(())
}

fn check_mode(name: &str, value: &str, modes: &[&str]) -> Result<(), UrlError> {
    if modes.iter().any(|mode| mode.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    let there_are = modes.join(", ");
    let hint = match value {
        "no-verify" => "; what other clients call no-verify is require here".to_owned(),
        _ => nearest(value, modes.iter().copied())
            .map_or(String::new(), |meant| format!("; did you mean {meant}?")),
    };
    Err(malformed(format!("its parameter `{name}` must be one of {there_are}{hint}")))
}

/// Checks the URL of an SQLite file.
pub(super) fn check_sqlite(url: &str) -> Result<(), UrlError> {
    let file = url.strip_prefix("sqlite:").unwrap_or(url);
    let file = file.strip_prefix("//").unwrap_or(file);
    let (file, parameters) = file.split_once('?').unwrap_or((file, ""));
    if file.contains(":memory:") || parameters.contains("mode=memory") {
        let why = "a database in memory would be another one for each connection; name a file";
        return Err(malformed(why.to_owned()));
    }
    if file.is_empty() {
        return Err(malformed(
            "it names no file; write it like sqlite:///srv/scores.db".to_owned(),
        ));
    }
    if file.starts_with('~') {
        return Err(malformed("~ means nothing in a URL; write the whole path".to_owned()));
    }
    if parameters.split('&').any(|parameter| parameter == "mode=ro") {
        return Err(malformed("mode=ro takes no writes; remove it".to_owned()));
    }
    Ok(())
}

fn malformed(why: String) -> UrlError {
    UrlError::Malformed(why)
}

#[cfg(test)]
mod tests {
    use crate::store::Database;

    fn refusal(url: &str) -> Option<String> {
        Database::parse(url).err().map(|error| error.to_string())
    }

    #[test]
    fn what_a_driver_would_misread_is_named_with_the_mend_and_without_a_piece_of_the_password() {
        for (url, told) in [
            // Passwords that are not percent-encoded.
            ("postgres://u:hu/sh@h/db", "/ is %2F"),
            ("postgres://u:hu?sh@h/db", "? is %3F"),
            ("postgres://u:hu#sh@h/db", "# is %23"),
            ("postgres://u:p@hu/sh#x@h/db", "# is %23"),
            ("postgres://u:12/hush@h/db", "@ stands behind the host"),
            ("postgres://u:p@hu/sh@h/db", "@ stands behind the host"),
            ("postgres://u:hu?sh=x@h/db", "@ stands behind the host"),
            ("mysql://u:hu/sh@h/db", "/ is %2F"),
            ("postgres://u:p@h:hush/db", "is no port"),
            ("postgres://u:p@h:99999/db", "is no port"),
            // Hosts.
            ("postgres:///db?host=a,b", "as in postgres://user@a:5432,b:5432/name"),
            ("postgres://u:hush@a:1,b:99999/db", "is no port"),
            ("mysql://u:hush@a,::1/db", "in brackets"),
            ("postgres://u:hush@::1/db", "in brackets"),
            ("postgres://u:hush@2001:db8::1:5432/db", "in brackets"),
            // Parameters.
            (
                "postgres://u:hush@h/db?sslmod=require",
                "parameter `sslmod`; did you mean `sslmode`?",
            ),
            ("mysql://u:hush@h/db?sslmod=REQUIRED", "parameter `sslmod`; did you mean `ssl-mode`?"),
            ("postgres://u:hush@h/db?sslmode=no-verify", "no-verify is require here"),
            ("postgres://u:hush@h/db?sslmode=verify_full", "did you mean verify-full?"),
            ("postgres://u:hush@h/db?sslmode=", "must be one of disable, allow"),
            ("mysql://u:hush@h/db?ssl-mode=verify-identity", "did you mean VERIFY_IDENTITY?"),
            ("mysql://u:hush@h/db?nothing=1", "unknown parameter `nothing`; there are ssl-mode"),
            ("mysql://u:hush@h/db?useSSL=true", "`ssl-mode` here, as in ssl-mode=REQUIRED"),
            ("mysql://u:hush@h/db?connectTimeout=9", "limits of their own"),
            (
                "postgres://u:hush@h/db?target_session_attrs=standby",
                "only a server that takes writes",
            ),
            ("postgres://u:hush@h/db?channel_binding=require", "let sslmode=verify-full"),
            ("postgres://u:hush@h/db?connect_timeout=10", "limits of their own"),
            ("postgres://u:hush@h/db?keepalives_idle=10", "limits of their own"),
            ("postgres://u:hush@h/db?sslsni=0", "name is always told"),
            ("postgres://u:hush@h/db?client_encoding=latin1", "texts are in UTF-8"),
            ("postgres://u:hush@h/db?currentSchema=x", "options[search_path]"),
            ("postgres://u:hush@h/db?ApplicationName=x", "called `application_name` here"),
            ("postgres://u:hush@h/db?passfile=x", "there is no such thing here"),
            ("postgres://u:hush@h/db?hu%sh=1", "unknown parameter; there are"),
            ("postgres://u:hush@h/db?port=x", "`port` is no number"),
            ("postgres:h/db", "write it like postgres://user:password@host/database"),
            // SQLite.
            ("sqlite::memory:", "name a file"),
            ("sqlite://:memory:", "name a file"),
            ("sqlite://x.db?mode=memory", "name a file"),
            ("sqlite://", "it names no file"),
            ("sqlite://~/x.db", "write the whole path"),
            ("sqlite://x.db?mode=ro", "takes no writes"),
        ] {
            let refused = refusal(url).unwrap_or_else(|| panic!("{url} is taken"));
            assert!(refused.contains(told), "{url}: {refused}");
            for piece in ["hush", "hu", "sh@"] {
                assert!(!refused.contains(piece), "{url}: {refused}");
            }
        }
    }

    #[test]
    fn what_a_driver_reads_is_taken() {
        for (url, place) in [
            ("postgres://u:p%2F%3F%23%40@h/db", "postgres://h:5432/db"),
            ("postgres://u:a@b@h:1/db", "postgres://h:1/db"),
            ("postgres://u@[::1]/db", "postgres://[::1]:5432/db"),
            ("postgresql://u@[2001:db8::1]:1/db?sslmode=REQUIRE", "postgres://[2001:db8::1]:1/db"),
            ("mysql://u@[::1]/db", "mysql://[::1]:3306/db"),
            ("mariadb://u@h/db?ssl-mode=required&charset=utf8mb4", "mysql://h:3306/db"),
            (
                "postgres:///db?host=/run/postgresql&options=-c%20a%3Db",
                "postgres:///run/postgresql/db",
            ),
            ("postgres://u:p@a,b:5433/db", "postgres://a:5432/db, postgres://b:5433/db"),
            (
                "postgres://u@[::1],b/db?target_session_attrs=read-write",
                "postgres://[::1]:5432/db, postgres://b:5432/db",
            ),
            ("mysql://u@a,b:3307/db", "mysql://a:3306/db, mysql://b:3307/db"),
            (
                "postgres://h/db?sslmode=require&channel_binding=prefer&target_session_attrs=any",
                "postgres://h:5432/db",
            ),
            ("postgres://h/db?options[search_path]=x&application_name=a", "postgres://h:5432/db"),
            ("sqlite://x.db?mode=rwc", "sqlite://x.db"),
            ("sqlite:/srv/x.db", "sqlite:///srv/x.db"),
        ] {
            let database = Database::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(format!("{database:?}"), place, "{url}");
        }
    }
}
