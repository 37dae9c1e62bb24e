//! Decision table: what an error of the database means for the batch.
//!
//! Only what is certainly the data's fault counts as the data's. A code that is not listed counts
//! as an outage: an outage mistaken for bad data would empty the topic into the dead letters.

use sqlx::mysql::MySqlDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::store::{StoreError, unreached};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The row is refused, and will be again.
    Data,
    /// The row refers to a missing one, which may still arrive.
    MissingReference,
    /// Two rows of one statement are one row to the database: write them one by one.
    Twice,
    /// It will pass: reconnect and retry.
    Unavailable,
    /// The statement was too much for it.
    Saturated,
    /// A person must act.
    Stop,
}

/// SQLSTATEs by prefix; the longest that matches decides.
const POSTGRES: &[(&str, Class)] = &[
    // Conflicts with other transactions, and locks that did not come in time.
    ("40", Class::Unavailable),
    ("55P03", Class::Unavailable),
    // A statement that took too long, or one too large for the server's memory or disk.
    ("57014", Class::Saturated),
    ("53", Class::Saturated),
    // Connections: too many, broken, ended by an administrator or a restart.
    ("53300", Class::Unavailable),
    ("08", Class::Unavailable),
    ("57P", Class::Unavailable),
    ("58", Class::Unavailable),
    ("25P03", Class::Unavailable),
    // A standby, after a failover: a new connection may reach the primary.
    ("25006", Class::Unavailable),
    // Values that don't fit, and constraints.
    ("22", Class::Data),
    ("23", Class::Data),
    ("23503", Class::MissingReference),
    // ON DELETE RESTRICT, as Postgres 18 tells it.
    ("23001", Class::MissingReference),
    // A sequence that is used up: every further row would be refused.
    ("2200H", Class::Stop),
    ("44000", Class::Data),
    // An index row, or a value's nesting, beyond the server's limits.
    ("54000", Class::Data),
    ("54001", Class::Data),
    // Too many columns in a statement, or arguments: the table's shape, not a row's.
    ("54011", Class::Stop),
    ("54023", Class::Stop),
    // A trigger that raises an exception.
    ("P0001", Class::Data),
    ("21000", Class::Twice),
    // The schema, rights, credentials.
    ("0A000", Class::Stop),
    ("28", Class::Stop),
    ("3D000", Class::Stop),
    ("3F000", Class::Stop),
    ("42", Class::Stop),
    ("428C9", Class::Stop),
    // Pages that can't be read: a retry reads the same.
    ("XX001", Class::Stop),
    ("XX002", Class::Stop),
    // A statement after one that failed: a bug of ours (INV-12). The batch is retried, and the log
    // tells it as every failed attempt.
    ("25P02", Class::Unavailable),
    // A prepared statement that a connection pooler in between has lost.
    ("26000", Class::Unavailable),
];

/// MySQL's and MariaDB's error numbers.
const MYSQL: &[(Class, &[u16])] = &[
    // Conflicts with other transactions, and locks that did not come in time.
    (Class::Unavailable, &[1020, 1205, 1213]),
    // Connections: too many, broken, ended by an administrator, a shutdown or a limit.
    (Class::Unavailable, &[1040, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1927]),
    // A server that takes no writes: after a failover, a new connection may reach one that does.
    (Class::Unavailable, &[1290, 1792, 1836, 3100]),
    // Prepared statements: their tables were altered, or there are too many.
    (Class::Unavailable, &[1243, 1461, 1615]),
    // A savepoint that is gone with its transaction.
    (Class::Unavailable, &[1305]),
    // A statement that took too long or was ended, or one too large for the server's memory,
    // messages, locks or disk.
    (Class::Saturated, &[1317, 1969, 3024, 1021, 1037, 1038, 1041, 1114, 1153, 1206]),
    // Values that don't fit.
    (Class::Data, &[1048, 1264, 1265, 1292, 1364, 1365, 1366, 1367, 1406, 1411, 1416, 1525, 1690]),
    (Class::Data, &[3140, 3141, 3157]),
    // A row beyond the size of a page or of the undo log.
    (Class::Data, &[1118, 1713]),
    // Constraints: unique keys, CHECK in MySQL and in MariaDB, no partition for a row.
    (Class::Data, &[1022, 1062, 1586, 1761, 1762, 3819, 4025, 1526, 1748]),
    // A trigger that signals an error.
    (Class::Data, &[1644]),
    (Class::MissingReference, &[1216, 1217, 1451, 1452]),
    // The schema, rights, credentials.
    (Class::Stop, &[1044, 1045, 1046, 1049, 1054, 1064, 1109, 1130, 1142, 1143, 1146, 1227, 1251]),
    (Class::Stop, &[1356, 1370, 1442, 1449, 1698, 1820, 1862, 3118, 4151]),
    // A sequence, or the numbers of an AUTO_INCREMENT column, that are used up.
    (Class::Stop, &[167, 1467, 4084]),
    // Settings: the engine, collations, variables, the binary log.
    (Class::Stop, &[1193, 1231, 1235, 1267, 1271, 1286, 1665, 1785]),
];

/// SQLite's primary result codes.
const SQLITE: &[(u32, Class)] = &[
    (18, Class::Data), // SQLITE_TOOBIG
    (19, Class::Data), // SQLITE_CONSTRAINT
    (20, Class::Data), // SQLITE_MISMATCH
    (1, Class::Stop),  // SQLITE_ERROR: no such table or column
    (3, Class::Stop),  // SQLITE_PERM
    (8, Class::Stop),  // SQLITE_READONLY
    (11, Class::Stop), // SQLITE_CORRUPT
    (14, Class::Stop), // SQLITE_CANTOPEN
    (23, Class::Stop), // SQLITE_AUTH
    (26, Class::Stop), // SQLITE_NOTADB
];
/// `SQLITE_CONSTRAINT_FOREIGNKEY`.
const SQLITE_FOREIGN_KEY: u32 = 787;
const SQLITE_FOREIGN_KEY_MESSAGE: &str = "FOREIGN KEY constraint failed";
/// SQLite's message about `abs` of the smallest integer, by which a sum out of range fails: see the
/// text of its statements.
const SQLITE_OVERFLOW: &str = "integer overflow";

/// Why the database refuses a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The database's code.
    pub sqlstate: Option<String>,
    /// Its message.
    pub reason: String,
}

/// A statement's error, as what to do about it. Only here can a row be refused.
#[derive(Debug)]
pub enum Failure {
    /// See [`Class::Data`].
    Data(Rejection),
    /// See [`Class::MissingReference`].
    MissingReference(Rejection),
    /// See [`Class::Twice`].
    Twice,
    /// Anything else: drop the connection.
    Store(StoreError),
}

/// The class of a Postgres error code.
#[must_use]
pub fn postgres(sqlstate: &str, message: &str) -> Class {
    // The table was altered under a prepared statement; a new connection prepares it again.
    if sqlstate == "0A000" && message.contains("cached plan") {
        return Class::Unavailable;
    }
    let matching = POSTGRES.iter().filter(|(prefix, _)| sqlstate.starts_with(prefix));
    let longest = matching.max_by_key(|(prefix, _)| prefix.len());
    longest.map_or(Class::Unavailable, |(_, class)| *class)
}

/// The class of a MySQL error number.
#[must_use]
pub fn mysql(number: &str, _message: &str) -> Class {
    let number = number.parse::<u16>();
    let listed =
        MYSQL.iter().find(|(_, numbers)| number.as_ref().is_ok_and(|n| numbers.contains(n)));
    listed.map_or(Class::Unavailable, |(class, _)| *class)
}

/// The class of an SQLite extended result code.
#[must_use]
pub fn sqlite(code: &str, message: &str) -> Class {
    let Ok(code) = code.parse::<u32>() else { return Class::Unavailable };
    // ON DELETE RESTRICT is told as an error of a trigger.
    if code == SQLITE_FOREIGN_KEY || message == SQLITE_FOREIGN_KEY_MESSAGE {
        return Class::MissingReference;
    }
    if code & 0xff == 1 && message == SQLITE_OVERFLOW {
        return Class::Data;
    }
    let listed = SQLITE.iter().find(|(primary, _)| *primary == code & 0xff);
    listed.map_or(Class::Unavailable, |(_, class)| *class)
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        // Only the message: a database's DETAIL repeats rows, and errors end in logs.
        let sqlx::Error::Database(error) = error else {
            return Failure::Store(unreached::judge(&error));
        };
        let message = error.message().to_owned();
        let (code, class_of): (_, fn(&str, &str) -> Class) =
            if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
                // Its states are too coarse: a missing reference has that of a value that is there
                // twice.
                (Some(error.number().to_string()), mysql)
            } else if error.try_downcast_ref::<SqliteError>().is_some() {
                (error.code().map(Into::into), sqlite)
            } else {
                (error.code().map(Into::into), postgres)
            };
        let class = code.as_deref().map_or(Class::Unavailable, |code| class_of(code, &message));
        let told = match &code {
            Some(code) => format!("{message} ({code})"),
            None => message.clone(),
        };
        match class {
            Class::Data => Failure::Data(Rejection { sqlstate: code, reason: message }),
            Class::MissingReference => {
                Failure::MissingReference(Rejection { sqlstate: code, reason: message })
            }
            Class::Twice => Failure::Twice,
            Class::Unavailable => Failure::Store(StoreError::Unavailable(told)),
            Class::Saturated => Failure::Store(StoreError::Saturated(told)),
            Class::Stop => Failure::Store(StoreError::Stop(match code.as_deref().and_then(mend) {
                Some(mend) => format!("{told}; {mend}"),
                None => told,
            })),
        }
    }
}

/// Outside of the writes to the target table, where no row can be refused.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Failure::from(error).of_no_row()
    }
}

/// What a person must do about an error, where its code tells.
fn mend(code: &str) -> Option<&'static str> {
    match code {
        "42P01" | "3F000" => Some("create or rename it back, or correct the route's `table`"),
        "42703" => Some("add the column again"),
        "42501" => Some("grant this user SELECT, INSERT, UPDATE and DELETE on the table"),
        "42P05" => Some("a pooler in between pools by transaction: let it pool by session"),
        "28P01" | "28000" | "3D000" => Some("correct `database.url`"),
        "2200H" | "4084" => Some(
            "a sequence is used up: give it and its column room (ALTER SEQUENCE … AS bigint, \
             ALTER TABLE … ALTER COLUMN … TYPE bigint)",
        ),
        "167" | "1467" => Some("an AUTO_INCREMENT column is used up: make it a bigint"),
        _ => None,
    }
}

impl Failure {
    /// The error where no row of the target table is involved, so that none can be refused.
    pub(crate) fn of_no_row(self) -> StoreError {
        match self {
            Failure::Store(error) => error,
            Failure::Data(rejection) | Failure::MissingReference(rejection) => StoreError::Stop(
                format!("{} ({})", rejection.reason, rejection.sqlstate.unwrap_or_default()),
            ),
            Failure::Twice => StoreError::Stop("a row would be changed twice (21000)".to_owned()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_postgres_code_has_the_class_the_policy_gives_it() {
        let policy: &[(Class, &[&str])] = &[
            (
                Class::Unavailable,
                &[
                    "40001", "40P01", "40003", "55P03", "53300", "57P01", "57P02", "57P03",
                    "58000", "58030", "08000", "08006", "08007", "25P02", "25P03", "25006",
                    "26000",
                ],
            ),
            (Class::Saturated, &["57014", "53100", "53200", "53400"]),
            (
                Class::Data,
                &[
                    "22001", "22003", "22008", "22012", "22021", "22P02", "22P05", "23502",
                    "23505", "23514", "23P01", "44000", "54000", "54001", "P0001",
                ],
            ),
            (Class::MissingReference, &["23503", "23001"]),
            (Class::Twice, &["21000"]),
            (
                Class::Stop,
                &[
                    "42P01", "42703", "42501", "42P10", "428C9", "28P01", "3D000", "3F000",
                    "0A000", "54011", "54023", "XX001", "XX002", "2200H",
                ],
            ),
        ];
        for (class, codes) in policy {
            for code in *codes {
                assert_eq!(postgres(code, ""), *class, "{code}");
            }
        }
    }

    #[test]
    fn an_error_for_a_person_says_what_to_do() {
        for code in ["42P01", "3F000", "42703", "42501", "28P01", "28000", "3D000", "2200H"] {
            assert!(mend(code).is_some_and(|mend| !mend.is_empty()), "{code}");
            assert_eq!(postgres(code, ""), Class::Stop, "{code}");
        }
    }

    #[test]
    fn an_unknown_code_is_never_the_datas_fault() {
        for code in ["", "XX000", "99999", "2", "F0000"] {
            assert_eq!(postgres(code, ""), Class::Unavailable, "{code:?}");
        }
        assert_eq!(sqlite("", ""), Class::Unavailable);
        assert_eq!(sqlite("999", ""), Class::Unavailable);
        for number in ["", "x", "0", "1105", "2013", "9999", "99999"] {
            assert_eq!(mysql(number, ""), Class::Unavailable, "{number:?}");
        }
    }

    #[test]
    fn a_plan_made_stale_by_ddl_is_prepared_again() {
        let message = "cached plan must not change result type";
        assert_eq!(postgres("0A000", message), Class::Unavailable);
    }

    #[test]
    fn every_mysql_number_has_the_class_the_policy_gives_it() {
        let policy: &[(Class, &[&str])] = &[
            (
                Class::Unavailable,
                &["1040", "1205", "1213", "1290", "1305", "1836", "1927", "2006", "2013"],
            ),
            (Class::Saturated, &["1114", "1153", "1206", "1317", "1969", "3024"]),
            (
                Class::Data,
                &[
                    "1048", "1062", "1264", "1292", "1364", "1366", "1406", "1644", "1690", "3819",
                    "4025",
                ],
            ),
            (Class::MissingReference, &["1451", "1452"]),
            (
                Class::Stop,
                &["1044", "1045", "1049", "1054", "1142", "1146", "1665", "167", "1467", "4084"],
            ),
        ];
        for (class, numbers) in policy {
            for number in *numbers {
                assert_eq!(mysql(number, ""), *class, "{number}");
            }
        }
    }

    #[test]
    fn a_mysql_number_is_listed_once() {
        let numbers: Vec<u16> = MYSQL.iter().flat_map(|(_, numbers)| *numbers).copied().collect();
        let once: std::collections::BTreeSet<_> = numbers.iter().collect();
        assert_eq!(once.len(), numbers.len());
    }

    #[test]
    fn every_sqlite_code_has_the_class_the_policy_gives_it() {
        let policy: &[(Class, &[&str])] = &[
            (Class::Unavailable, &["5", "517", "6", "7", "10", "13", "17"]),
            (Class::Data, &["275", "1299", "1555", "2067", "3091", "18", "20"]),
            (Class::MissingReference, &["787"]),
            (Class::Stop, &["1", "3", "8", "11", "14", "26"]),
        ];
        for (class, codes) in policy {
            for code in *codes {
                assert_eq!(sqlite(code, ""), *class, "{code}");
            }
        }
        assert_eq!(sqlite("1", "integer overflow"), Class::Data);
        assert_eq!(sqlite("1811", "FOREIGN KEY constraint failed"), Class::MissingReference);
        assert_eq!(sqlite("1811", "not that"), Class::Data);
    }
}
