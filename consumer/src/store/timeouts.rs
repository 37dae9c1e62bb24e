//! How long each kind of wait for the database may last.

use std::time::Duration;

/// How long the database may take. Each bounds a wait that would otherwise have no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, all round trips included.
    pub connect: Duration,
    /// For one statement, on the server: then the batch is halved.
    pub statement: Duration,
    /// For a row or table that another transaction has locked.
    pub lock: Duration,
    /// Between two statements of a transaction: after it the server ends the transaction of a
    /// consumer that hangs, so that its successor need not wait for its locks.
    pub idle_in_transaction: Duration,
    /// For one answer, here: after it the connection is given up. Longer than `statement`, or the
    /// server's own, clearer answer is never heard.
    pub answer: Duration,
}

impl Timeouts {
    /// What suits most.
    pub const STANDARD: Self = Self {
        connect: Duration::from_secs(10),
        statement: Duration::from_secs(20),
        lock: Duration::from_secs(10),
        idle_in_transaction: Duration::from_secs(8),
        answer: Duration::from_secs(30),
    };
}
