//! Parameters of a database URL that other clients know and the drivers here do not.
//!
//! Pure. What is pasted from elsewhere is taken where it asks for what is done anyway, and otherwise
//! refused by its name, with the mend.

/// Parameters of other clients: their names, the values by which they ask for what is done here anyway,
/// and what to do about any other value.
type Foreign = (&'static [&'static str], &'static [&'static str], &'static str);
const POSTGRES: &[Foreign] = &[
    (
        &["target_session_attrs", "targetServerType"],
        &["any", "read-write", "primary"],
        "only a server that takes writes is connected to, of several the first; remove it",
    ),
    (
        &["channel_binding"],
        &["disable", "prefer"],
        "channels are not bound to logins; remove it, and let sslmode=verify-full and sslrootcert say \
         whom to trust",
    ),
    (&["gssencmode"], &["disable", "prefer"], "there is no encryption by GSSAPI: use sslmode"),
    (&["sslnegotiation"], &["postgres"], "TLS is negotiated as by any server: remove it"),
    (&["sslsni"], &["1"], "the server's name is always told: remove it"),
    (&["sslcompression"], &["0"], "nothing is compressed: remove it"),
    (&["client_encoding"], &["UTF8", "UTF-8", "auto"], "texts are in UTF-8: remove it"),
    (&["load_balance_hosts"], &["disable"], "servers are tried in their order: remove it"),
    (
        &["ApplicationName", "fallback_application_name"],
        &[],
        "it is called `application_name` here",
    ),
    (
        &["currentSchema", "schema", "search_path"],
        &[],
        "write options[search_path]=… here, or the schema in a route's `table`",
    ),
    (&["ssl"], &[], "it is called `sslmode` here, as in sslmode=verify-full"),
    (TUNING, &[], WAITS),
    (
        &["pgbouncer", "prepareThreshold", "reWriteBatchedInserts", "statement_cache_size"],
        &[],
        "it is about another client; remove it",
    ),
    (
        &["sslcrl", "sslpassword", "passfile", "service", "require_auth", "requirepeer"],
        &[],
        "there is no such thing here; remove it",
    ),
];
const MYSQL: &[Foreign] = &[
    (
        &["useSSL", "tls", "requireSSL"],
        &[],
        "it is called `ssl-mode` here, as in ssl-mode=REQUIRED",
    ),
    (&["serverTimezone", "loc", "parseTime"], &[], "times are in UTC; remove it"),
    (&["characterEncoding", "useUnicode"], &[], "texts are in UTF-8; remove it"),
    (
        &["allowPublicKeyRetrieval"],
        &[],
        "a password goes by TLS, or by mysql_native_password; remove it",
    ),
    (TUNING, &[], WAITS),
];
const TUNING: &[&str] = &[
    "connect_timeout",
    "connectTimeout",
    "loginTimeout",
    "socketTimeout",
    "timeout",
    "pool_timeout",
    "connection_limit",
    "autoReconnect",
    "tcpKeepAlive",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
];
const WAITS: &str = "connecting and each answer have limits of their own, and what fails is tried again; \
                     remove it";

/// Whether the parameter is one by which other clients do what is done here anyway.
///
/// # Errors
/// What to do about one that asks for something else.
pub(super) fn is_done_anyway(
    name: &str,
    value: &str,
    is_mysql: bool,
) -> Result<bool, &'static str> {
    let foreign = if is_mysql { MYSQL } else { POSTGRES };
    let Some((_, taken, mend)) = foreign.iter().find(|(names, ..)| names.contains(&name)) else {
        return Ok(false);
    };
    if taken.iter().any(|taken| taken.eq_ignore_ascii_case(value)) { Ok(true) } else { Err(mend) }
}
