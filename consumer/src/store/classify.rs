//! The drivers' errors, as what to do about them.
//!
//! Only what is certainly the data's fault counts as the data's: an outage or a broken schema
//! mistaken for bad data would empty the topic into the dead letters.

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::store::codes::{self, Class, Told};
use crate::store::{StoreError, unreached};

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
    /// See [`Class::Uncertain`].
    Uncertain(Rejection),
    /// Anything else: drop the connection.
    Store(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(error) = error else {
            return Failure::Store(unreached::judge(&error));
        };
        let (code, class) = judged(&*error);
        // Only the message: a database's DETAIL repeats rows, and errors end in logs.
        let reason = error.message().to_owned();
        let told = match &code {
            Some(code) => format!("{reason} ({code})"),
            None => reason.clone(),
        };
        let rejection = Rejection { sqlstate: code, reason };
        match class {
            Class::Data => Failure::Data(rejection),
            Class::MissingReference => Failure::MissingReference(rejection),
            Class::Twice => Failure::Twice,
            Class::Uncertain => Failure::Uncertain(rejection),
            Class::Locked => Failure::Store(StoreError::Conflict(format!(
                "a row or table is locked by another session: {told}"
            ))),
            Class::Conflict => Failure::Store(StoreError::Conflict(format!(
                "a transaction of another session was in the way: {told}"
            ))),
            Class::Unavailable => Failure::Store(StoreError::Unavailable(told)),
            Class::Saturated => Failure::Store(StoreError::Saturated(told)),
            Class::Stop => Failure::Store(StoreError::Stop(match mend(rejection.code()) {
                Some(mend) => format!("{told}; {mend}"),
                None => told,
            })),
        }
    }
}

/// The error's code and class.
fn judged(error: &dyn DatabaseError) -> (Option<String>, Class) {
    let message = error.message();
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        // Its states are too coarse: a missing reference has that of a value that is there twice.
        let code = error.number().to_string();
        let class = codes::mysql(Told { code: &code, message, ..Told::default() });
        return (Some(code), class);
    }
    let Some(code) = error.code() else { return (None, Class::Unavailable) };
    let told = Told { code: &code, message, ..Told::default() };
    let class = if error.try_downcast_ref::<SqliteError>().is_some() {
        codes::sqlite(told)
    } else {
        let of_postgres = error.try_downcast_ref::<PgDatabaseError>();
        let routine = of_postgres.and_then(PgDatabaseError::routine).unwrap_or_default();
        let names_constraint = of_postgres.is_some_and(|error| error.constraint().is_some());
        codes::postgres(Told { routine, names_constraint, ..told })
    };
    (Some(code.into_owned()), class)
}

impl Rejection {
    /// The code; empty: there is none.
    pub(crate) fn code(&self) -> &str {
        self.sqlstate.as_deref().unwrap_or_default()
    }

    /// Rows that are one row, where there may be one.
    pub(crate) fn twice(reason: &str) -> Self {
        Self { sqlstate: Some("21000".to_owned()), reason: reason.to_owned() }
    }

    /// The error of a transaction that fails by it.
    pub(crate) fn uncertain(&self) -> StoreError {
        StoreError::Uncertain(self.code().to_owned())
    }

    fn told(&self) -> String {
        format!("{} ({})", self.reason, self.code())
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
        "23514" | "1526" | "1748" | "1863" => {
            Some("create the partition that the row belongs to; the route then goes on by itself")
        }
        "2F005" => Some("correct the trigger's function: each of its paths must end with RETURN"),
        "55000" => Some(
            "if the table is published, give it a replica identity (a primary key, or ALTER TABLE … \
             REPLICA IDENTITY)",
        ),
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
            Failure::Data(rejection) | Failure::MissingReference(rejection) => {
                StoreError::Stop(rejection.told())
            }
            Failure::Uncertain(rejection) => StoreError::Unavailable(rejection.told()),
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
    fn an_error_for_a_person_says_what_to_do() {
        for code in
            ["42P01", "3F000", "42703", "42501", "28P01", "28000", "3D000", "2F005", "55000"]
        {
            assert!(mend(code).is_some_and(|mend| !mend.is_empty()), "{code}");
            assert_eq!(codes::postgres(Told { code, ..Told::default() }), Class::Stop, "{code}");
        }
        for code in ["1526", "1748", "1863"] {
            assert!(mend(code).is_some_and(|mend| mend.contains("partition")), "{code}");
            assert_eq!(codes::mysql(Told { code, ..Told::default() }), Class::Stop, "{code}");
        }
    }
}
