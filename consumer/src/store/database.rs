//! The target database that a URL names: its servers, of which one that takes writes is used.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;

use crate::store::any_store::AnyStore;
use crate::store::mysql::MysqlStore;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::unreached::NO_WRITES;
use crate::store::url::{UrlError, check_sqlite, servers};
use crate::store::{StoreError, Timeouts};

/// A target database's URL, parsed. Holds the password, and never shows it.
#[derive(Clone)]
pub struct Database {
    servers: Vec<Server>,
    /// The server that took writes last, in all clones. Each connection begins there: else each would
    /// wait out the limit of a server that is down.
    last: Arc<AtomicUsize>,
}

/// One of the servers that a URL names, or a file.
#[derive(Clone)]
enum Server {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
    Mysql(Box<MySqlConnectOptions>),
}

/// What to do where a pooler refuses a parameter of the connection.
const NOT_TAKEN: &str = "a pooler in between does not take it: remove it from `database.url`, or let the \
                         pooler pass over it (PgBouncer: ignore_startup_parameters)";
/// What to do where a pooler pools by transaction.
const BY_TRANSACTION: &str = "a pooler there gives each transaction another session of the server, and \
                              settings and prepared statements get lost; let it pool by session \
                              (PgBouncer: pool_mode = session), or connect to the server itself";

impl Database {
    /// Reads a URL: `postgres://user:password@host/name`, the same with `mysql://` or `mariadb://`,
    /// or `sqlite://file`.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let postgres = |url: String| {
            let options = PgConnectOptions::from_str(&url);
            let options = options.map_err(|error| malformed(&url, &error))?;
            let host = without_brackets(options.get_host());
            Ok(Server::Postgres(Box::new(options.host(&host))))
        };
        let mysql = |url: String| {
            let options = MySqlConnectOptions::from_str(&url);
            let options = options.map_err(|error| malformed(&url, &error))?;
            let host = without_brackets(options.get_host());
            Ok(Server::Mysql(Box::new(options.host(&host))))
        };
        let servers: Result<Vec<_>, _> = match scheme {
            "postgres" | "postgresql" => servers(url, false)?.into_iter().map(postgres).collect(),
            "mysql" | "mariadb" => servers(url, true)?.into_iter().map(mysql).collect(),
            "sqlite" => {
                check_sqlite(url)?;
                let options = SqliteConnectOptions::from_str(url);
                let options = options.map_err(|error| malformed(url, &error))?;
                Ok(vec![Server::Sqlite(Box::new(options))])
            }
            other => return Err(UrlError::Scheme(other.to_owned())),
        };
        Ok(Self::of(servers?))
    }

    fn of(servers: Vec<Server>) -> Self {
        Self { servers, last: Arc::default() }
    }

    /// Connects to the server that took writes last, or else to the first that does.
    ///
    /// # Errors
    /// [`StoreError`]; only `Stop` does not pass by itself.
    pub async fn connect(&self, timeouts: &Timeouts) -> Result<AnyStore, StoreError> {
        let mut refused = Vec::new();
        let last = self.last.load(Ordering::Relaxed);
        let others = (0..self.servers.len()).filter(|place| *place != last);
        for place in std::iter::once(last).chain(others) {
            let Some(server) = self.servers.get(place) else { continue };
            match server.connect(timeouts).await {
                Ok(store) => {
                    self.last.store(place, Ordering::Relaxed);
                    return Ok(store);
                }
                Err(error) => refused.push(error),
            }
        }
        Err(no_writes(refused))
    }
}

/// What it means that each server has failed.
fn no_writes(mut refused: Vec<StoreError>) -> StoreError {
    // One that can't be reached may be the one that takes writes, and come back.
    let answers = |error: &StoreError| match error {
        StoreError::Stop(_) => true,
        other => other.to_string().ends_with(NO_WRITES),
    };
    let stops = |error: &StoreError| matches!(error, StoreError::Stop(_));
    let all = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match refused.pop() {
        Some(error) if refused.is_empty() => error,
        Some(last) => {
            refused.push(last);
            if refused.iter().all(answers) && refused.iter().any(stops) {
                StoreError::Stop(all)
            } else {
                StoreError::Unavailable(all)
            }
        }
        None => StoreError::Unavailable(all),
    }
}

impl Server {
    async fn connect(&self, timeouts: &Timeouts) -> Result<AnyStore, StoreError> {
        let connected = match self {
            Server::Postgres(options) => {
                PostgresStore::connect(options, timeouts).await.map(AnyStore::Postgres)
            }
            Server::Sqlite(options) => {
                SqliteStore::connect(options, timeouts).await.map(AnyStore::Sqlite)
            }
            Server::Mysql(options) => {
                MysqlStore::connect(options, timeouts).await.map(AnyStore::Mysql)
            }
        };
        // The address first: who reads it knows at once which of many databases is meant.
        connected.map_err(|error| match error {
            StoreError::Unavailable(why) if why.contains("unsupported startup parameter") => {
                StoreError::Stop(format!("{self:?}: {why}; {NOT_TAKEN}"))
            }
            StoreError::Unavailable(why) => StoreError::Unavailable(format!("{self:?}: {why}")),
            StoreError::Stop(why) => StoreError::Stop(format!("{self:?}: {why}")),
            other => other,
        })
    }
}

impl Database {
    /// Why not to write by way of this address, to which `store` is connected: a pooler there gives
    /// each transaction another session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pooling(
        &self,
        store: &mut AnyStore,
        timeouts: &Timeouts,
    ) -> Result<Option<String>, StoreError> {
        let AnyStore::Postgres(store) = store else { return Ok(None) };
        let AnyStore::Postgres(mut other) = self.connect(timeouts).await? else { return Ok(None) };
        let shares = store.shares_sessions(&mut other).await?;
        Ok(shares.then(|| format!("{self:?}: {BY_TRANSACTION}")))
    }

    /// Those of several servers that take writes now, by their addresses.
    pub async fn taking_writes(&self, timeouts: &Timeouts) -> Vec<String> {
        let mut found = Vec::new();
        for server in &self.servers {
            let place = format!("{server:?}");
            if !found.contains(&place) && server.connect(timeouts).await.is_ok() {
                found.push(place);
            }
        }
        found
    }

    /// Whether the URL names several servers.
    pub fn is_of_several(&self) -> bool {
        self.servers.len() > 1
    }

    /// The host, if the connection to it may be unencrypted.
    pub fn in_the_clear(&self) -> Option<&str> {
        self.servers.iter().find_map(Server::in_the_clear)
    }
}

impl Server {
    fn in_the_clear(&self) -> Option<&str> {
        match self {
            Server::Postgres(options) => {
                let socket = options.get_socket().and_then(|path| path.to_str());
                let mode = options.get_ssl_mode();
                let may = matches!(mode, PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer);
                may.then(|| socket.unwrap_or(options.get_host()))
            }
            Server::Mysql(options) => {
                let socket = options.get_socket().and_then(|path| path.to_str());
                let may = matches!(
                    options.get_ssl_mode(),
                    MySqlSslMode::Disabled | MySqlSslMode::Preferred
                );
                may.then(|| socket.unwrap_or(options.get_host()))
            }
            Server::Sqlite(_) => None,
        }
    }
}

/// An IPv6 address has brackets in a URL, and none in a socket's address: the driver keeps them.
fn without_brackets(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// The place as a URL spells it.
fn place(socket: Option<&PathBuf>, host: &str, port: u16) -> String {
    match socket {
        Some(socket) => socket.display().to_string(),
        None if host.contains(':') => format!("[{host}]:{port}"),
        None => format!("{host}:{port}"),
    }
}

fn malformed(url: &str, error: &sqlx::Error) -> UrlError {
    let reason = error.to_string();
    // A parser's message may quote what it could not read: a part of the URL, such as the password.
    let quotes_the_url = url
        .split([':', '/', '@', '?', '&', '='])
        .any(|part| part.len() > 2 && reason.contains(part));
    UrlError::Malformed(if quotes_the_url { "it is malformed".to_owned() } else { reason })
}

impl fmt::Debug for Database {
    /// The places without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self.servers.iter().map(|server| format!("{server:?}")).collect();
        f.write_str(&places.join(", "))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Postgres(options) => {
                let name = options.get_database().unwrap_or(options.get_username());
                let place = place(options.get_socket(), options.get_host(), options.get_port());
                write!(f, "postgres://{place}/{name}")
            }
            Server::Mysql(options) => {
                let place = place(options.get_socket(), options.get_host(), options.get_port());
                write!(f, "mysql://{place}/{}", options.get_database().unwrap_or_default())
            }
            Server::Sqlite(options) => {
                write!(f, "sqlite://{}", options.get_filename().display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions as _;

    use super::*;
    use crate::store::Store as _;

    #[tokio::test]
    async fn a_connection_begins_with_the_server_that_took_writes_last() {
        let folder = tempfile::tempdir().unwrap();
        let server = |name: &str| {
            let options = SqliteConnectOptions::new().filename(folder.path().join(name));
            (Server::Sqlite(Box::new(options.clone())), options.create_if_missing(true))
        };
        let ((first, create_first), (second, create_second)) = (server("a.db"), server("b.db"));
        let database = Database::of(vec![first, second]);
        let (clone, timeouts) = (database.clone(), &Timeouts::STANDARD);
        assert!(database.connect(timeouts).await.is_err(), "there is neither");
        let mut second = create_second.connect().await.unwrap();
        let create = "CREATE TABLE of_the_second (id integer PRIMARY KEY)";
        sqlx::raw_sql(create).execute(&mut second).await.unwrap();
        clone.connect(timeouts).await.unwrap();
        assert_eq!(database.taking_writes(timeouts).await.len(), 1);
        create_first.connect().await.unwrap();
        assert_eq!(database.taking_writes(timeouts).await.len(), 2);
        let mut store = database.connect(timeouts).await.unwrap();
        store.describe("of_the_second", &[]).await.unwrap();
    }

    #[test]
    fn what_a_person_must_mend_stops_unless_a_server_may_come_back() {
        let stop = || StoreError::Stop("wrong password".to_owned());
        let down = || StoreError::Unavailable("connection refused".to_owned());
        let standby = || StoreError::Unavailable(format!("it is a standby; {NO_WRITES}"));
        for (refused, stops) in [
            (vec![stop()], true),
            (vec![down()], false),
            (vec![standby(), standby()], false),
            (vec![stop(), stop()], true),
            (vec![stop(), standby()], true),
            (vec![standby(), stop()], true),
            (vec![stop(), down()], false),
            (vec![standby(), stop(), down()], false),
        ] {
            let told = no_writes(refused);
            assert_eq!(matches!(told, StoreError::Stop(_)), stops, "{told:?}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_told_and_a_password_never() {
        let error = Database::parse("mongodb://u:hush@h/db").unwrap_err();
        assert_eq!(error, UrlError::Scheme("mongodb".to_owned()));
        let error = Database::parse("postgres://u:hush@h:port/db").unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
        let error = Database::parse("postgres://u@h/db?sslmode=hush").unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
        let database = Database::parse("postgres://u:hush@h:5/db?password=hush").unwrap();
        assert_eq!(format!("{database:?}"), "postgres://h:5/db");
        for scheme in ["mysql", "mariadb"] {
            let database = Database::parse(&format!("{scheme}://u:hush@h:5/db")).unwrap();
            assert_eq!(format!("{database:?}"), "mysql://h:5/db");
        }
        let error = Database::parse("mysql://u:hush@h/db?ssl-mode=hush").unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
    }

    #[tokio::test]
    async fn a_database_that_is_down_is_unavailable_and_its_password_stays_secret() {
        for scheme in ["postgres", "mysql"] {
            let database = Database::parse(&format!("{scheme}://u:hush@127.0.0.1:1/db")).unwrap();
            let error = database.connect(&Timeouts::STANDARD).await.unwrap_err();
            let unavailable =
                matches!(&error, StoreError::Unavailable(why) if !why.contains("hush"));
            assert!(unavailable, "{error}");
        }
    }
}
