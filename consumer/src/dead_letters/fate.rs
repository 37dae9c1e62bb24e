//! What becomes of a dead letter when it is replayed.

use crate::core::dead_letters::DeadLetterState;

/// What became of a letter, or would become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is applied, without these columns, which later records have set.
    Replayed(Vec<String>),
    /// Later records have set or deleted everything that it changes.
    Superseded,
    /// It is refused again, and stays open.
    Rejected {
        /// Why.
        reason: String,
        /// The database's code, when it was the database that refused.
        sqlstate: Option<String>,
    },
    /// Its record can't be decoded, so it can never be replayed.
    Undecodable(String),
    /// The log no longer has what came after it.
    Gone,
    /// The log has another record in its place.
    AnotherLog,
    /// It is closed already: by another replay, or by this one when the answer was lost.
    Closed(DeadLetterState),
}

impl Fate {
    /// The outcome in a word or two, and what there is to say of it.
    pub fn told(&self) -> (&'static str, Option<String>) {
        match self {
            Fate::Replayed(left_out) if left_out.is_empty() => ("replayed", None),
            Fate::Replayed(left_out) => {
                ("replayed", Some(format!("later records' values stay in {}", left_out.join(", "))))
            }
            Fate::Superseded => (
                "superseded",
                Some("later records have set or deleted all that it says".to_owned()),
            ),
            Fate::Rejected { reason, sqlstate: None } => ("left open", Some(reason.clone())),
            Fate::Rejected { reason, sqlstate: Some(code) } => {
                ("left open", Some(format!("{reason} ({code})")))
            }
            Fate::Undecodable(reason) => {
                let mend = "it can never be applied: discard it, and write a corrected record";
                ("left open", Some(format!("{reason}; {mend}")))
            }
            Fate::Gone => {
                let mend = "the log no longer has the records behind it, so newer values could be \
                            overwritten: discard it, or --force if nothing wrote to the row since";
                ("left open", Some(mend.to_owned()))
            }
            Fate::AnotherLog => {
                let mend = "the log has another record at this offset: the topic was created again";
                ("left open", Some(mend.to_owned()))
            }
            Fate::Closed(state) => ("closed already", Some(format!("it is {state}"))),
        }
    }
}
