//! The target database that a URL names, and a store of any kind.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::writes::WriteStatement;
use crate::store::bookkeeping::Spelling;
use crate::store::classify::Failure;
use crate::store::inspect::MissingRight;
use crate::store::mysql::MysqlStore;
use crate::store::postgres::PostgresStore;
use crate::store::session::{Session, TransactionCommand};
use crate::store::snapshot::{Compared, Snapshot};
use crate::store::sqlite::SqliteStore;
use crate::store::statement::{Dialect, Statement, Statements, Value};
use crate::store::url::{UrlError, check_server, check_sqlite};
use crate::store::{StoreError, Timeouts, Transaction};

/// A target database's URL, parsed. Holds the password, and never shows it.
#[derive(Clone)]
pub struct Database(DatabaseKind);

#[derive(Clone)]
enum DatabaseKind {
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
        let kind = match scheme {
            "postgres" | "postgresql" => {
                check_server(url, false)?;
                let options = PgConnectOptions::from_str(url);
                let options = options.map_err(|error| malformed(url, &error))?;
                let host = without_brackets(options.get_host());
                DatabaseKind::Postgres(Box::new(options.host(&host)))
            }
            "sqlite" => {
                check_sqlite(url)?;
                let options = SqliteConnectOptions::from_str(url);
                DatabaseKind::Sqlite(Box::new(options.map_err(|error| malformed(url, &error))?))
            }
            "mysql" | "mariadb" => {
                check_server(url, true)?;
                let options = MySqlConnectOptions::from_str(url);
                let options = options.map_err(|error| malformed(url, &error))?;
                let host = without_brackets(options.get_host());
                DatabaseKind::Mysql(Box::new(options.host(&host)))
            }
            other => return Err(UrlError::Scheme(other.to_owned())),
        };
        Ok(Self(kind))
    }

    /// Connects.
    ///
    /// # Errors
    /// [`StoreError`]; only `Stop` does not pass by itself.
    pub async fn connect(&self, timeouts: &Timeouts) -> Result<AnyStore, StoreError> {
        let connected = match &self.0 {
            DatabaseKind::Postgres(options) => {
                PostgresStore::connect(options, timeouts).await.map(AnyStore::Postgres)
            }
            DatabaseKind::Sqlite(options) => {
                SqliteStore::connect(options, timeouts).await.map(AnyStore::Sqlite)
            }
            DatabaseKind::Mysql(options) => {
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
        let (AnyStore::Postgres(store), DatabaseKind::Postgres(options)) = (store, &self.0) else {
            return Ok(None);
        };
        let mut other = PostgresStore::connect(options, timeouts).await?;
        let shares = store.shares_sessions(&mut other).await?;
        Ok(shares.then(|| format!("{self:?}: {BY_TRANSACTION}")))
    }

    /// The host, if the connection to it may be unencrypted.
    pub fn in_the_clear(&self) -> Option<&str> {
        match &self.0 {
            DatabaseKind::Postgres(options) => {
                let socket = options.get_socket().and_then(|path| path.to_str());
                let mode = options.get_ssl_mode();
                let may = matches!(mode, PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer);
                may.then(|| socket.unwrap_or(options.get_host()))
            }
            DatabaseKind::Mysql(options) => {
                let socket = options.get_socket().and_then(|path| path.to_str());
                let may = matches!(
                    options.get_ssl_mode(),
                    MySqlSslMode::Disabled | MySqlSslMode::Preferred
                );
                may.then(|| socket.unwrap_or(options.get_host()))
            }
            DatabaseKind::Sqlite(_) => None,
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
    /// The place without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            DatabaseKind::Postgres(options) => {
                let name = options.get_database().unwrap_or(options.get_username());
                let place = place(options.get_socket(), options.get_host(), options.get_port());
                write!(f, "postgres://{place}/{name}")
            }
            DatabaseKind::Mysql(options) => {
                let place = place(options.get_socket(), options.get_host(), options.get_port());
                write!(f, "mysql://{place}/{}", options.get_database().unwrap_or_default())
            }
            DatabaseKind::Sqlite(options) => {
                write!(f, "sqlite://{}", options.get_filename().display())
            }
        }
    }
}

/// A store of any of the databases.
#[derive(Debug)]
pub enum AnyStore {
    /// Postgres.
    Postgres(PostgresStore),
    /// SQLite.
    Sqlite(SqliteStore),
    /// MySQL or MariaDB.
    Mysql(MysqlStore),
}

/// Awaits the same call on the store inside.
macro_rules! inside {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            AnyStore::Postgres($inner) => $call.await,
            AnyStore::Sqlite($inner) => $call.await,
            AnyStore::Mysql($inner) => $call.await,
        }
    };
}

impl Statements for AnyStore {
    fn dialect(&self) -> Dialect {
        match self {
            AnyStore::Postgres(store) => store.dialect(),
            AnyStore::Mysql(store) => store.dialect(),
            AnyStore::Sqlite(store) => store.dialect(),
        }
    }

    async fn perform(&mut self, statement: Statement) -> Result<u64, StoreError> {
        inside!(self, store => store.perform(statement))
    }

    async fn select(&mut self, statement: Statement) -> Result<Vec<Vec<Value>>, StoreError> {
        inside!(self, store => store.select(statement))
    }
}

impl Session for AnyStore {
    async fn create_bookkeeping(&mut self) -> Result<(), StoreError> {
        inside!(self, store => store.create_bookkeeping())
    }

    async fn read_catalog(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        inside!(self, store => store.read_catalog(table, key))
    }

    async fn command(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        inside!(self, store => store.command(command))
    }

    async fn move_offset(
        &mut self,
        transaction: &Transaction<'_>,
        span: &Span,
        last: Option<&LastRecord>,
    ) -> Result<u64, StoreError> {
        inside!(self, store => store.move_offset(transaction, span, last))
    }

    async fn write(
        &mut self,
        table: &Table,
        statement: &WriteStatement<'_>,
    ) -> Result<u64, Failure> {
        inside!(self, store => store.write(table, statement))
    }

    async fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> Result<(), StoreError> {
        inside!(self, store => store.note_writers(scope, writers))
    }

    async fn set_aside(
        &mut self,
        scope: &BookkeepingKey,
        letters: &[&DeadLetter],
        spelling: Spelling,
    ) -> Result<(), Failure> {
        inside!(self, store => store.set_aside(scope, letters, spelling))
    }

    async fn dangling(&mut self) -> Result<u64, StoreError> {
        inside!(self, store => store.dangling())
    }
}

impl Snapshot for AnyStore {
    async fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        inside!(self, store => store.begin_snapshot())
    }

    async fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row<'_>],
    ) -> Result<Vec<Compared>, StoreError> {
        inside!(self, store => store.compare(table, shape, rows))
    }

    async fn keys(
        &mut self,
        table: &Table,
        after: Option<&[String]>,
        limit: usize,
    ) -> Result<Vec<Vec<String>>, StoreError> {
        inside!(self, store => store.keys(table, after, limit))
    }

    async fn end_snapshot(&mut self) -> Result<(), StoreError> {
        inside!(self, store => store.end_snapshot())
    }
}

impl AnyStore {
    /// The rights that `run` needs on a table and on the bookkeeping and that the user does not
    /// have.
    ///
    /// Only Postgres is asked. In MySQL a right may come from a role, a pattern or the server, and
    /// the first statement that lacks one says so; who may write an SQLite file may write all of
    /// it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn missing_rights(&mut self, table: &Table) -> Result<Vec<MissingRight>, StoreError> {
        match self {
            AnyStore::Postgres(store) => store.missing_rights(table).await,
            AnyStore::Sqlite(_) | AnyStore::Mysql(_) => Ok(Vec::new()),
        }
    }

    /// The statements that grant what is missing on the tables and the bookkeeping; `None`: nothing
    /// is, or the database is not asked (see [`AnyStore::missing_rights`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn missing_grants(
        &mut self,
        tables: &[&Table],
    ) -> Result<Option<String>, StoreError> {
        match self {
            AnyStore::Postgres(store) => store.missing_grants(tables).await,
            AnyStore::Sqlite(_) | AnyStore::Mysql(_) => Ok(None),
        }
    }

    /// How many more connections this user could make; `None`: the database does not say. MySQL
    /// shows few users who else is connected.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn free_connections(&mut self) -> Result<Option<i64>, StoreError> {
        match self {
            AnyStore::Postgres(store) => store.free_connections().await,
            AnyStore::Sqlite(_) | AnyStore::Mysql(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
