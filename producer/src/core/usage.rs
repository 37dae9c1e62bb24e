//! Usage: how much of each limited resource writes take.

use std::ops::{Add, Index, Sub};

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// `max_pending`: writes that are not in the database take this many bytes of memory already.
    #[error("`max_pending` bytes are pending")]
    PendingBytes,
    /// `max_pending_rows`: this many rows have writes that are not in the database.
    #[error("`max_pending_rows` rows are pending")]
    PendingRows,
    /// `max_in_flight`: this many writes wait for Kafka's answer.
    #[error("`max_in_flight` writes wait for Kafka's answer")]
    InFlight,
    /// `max_in_flight_bytes`: writes that wait for Kafka's answer take this many bytes of memory.
    #[error("`max_in_flight_bytes` wait for Kafka's answer")]
    InFlightBytes,
    /// The journal: it has its largest size, its disk gives no more, or is slower than the writers.
    #[error("the journal has no room")]
    Journal,
}

impl Full {
    /// All limits that are counted here, in the order of a [`Usage`]: the journal counts its room
    /// itself.
    pub(crate) const ALL: [Full; 4] =
        [Full::PendingBytes, Full::PendingRows, Full::InFlight, Full::InFlightBytes];

    /// All limits, in the order in which every write takes their permits. The rows come last, under
    /// the partition's lock: only there it is known whether a row is pending already.
    pub(crate) const TAKEN: [Full; 4] =
        [Full::PendingBytes, Full::InFlight, Full::InFlightBytes, Full::PendingRows];

    /// The setting of the [`Builder`](crate::Builder) that it is.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Full::PendingBytes => "max_pending",
            Full::PendingRows => "max_pending_rows",
            Full::InFlight => "max_in_flight",
            Full::InFlightBytes => "max_in_flight_bytes",
            Full::Journal => "journal",
        }
    }
}

// A limit is also its place in a `Usage`.
const _: () = {
    let mut place = 0;
    while place < Full::ALL.len() {
        assert!(Full::ALL[place] as usize == place, "`Full::ALL` is in the order of the variants");
        place += 1;
    }
};

/// How much is used of each resource, by the limit on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage(pub(crate) [usize; Full::ALL.len()]);

impl Usage {
    /// What a write of `bytes` takes, if its row has no other.
    pub(crate) fn of_write(bytes: usize) -> Self {
        Self(Full::ALL.map(|limit| match limit {
            Full::PendingBytes | Full::InFlightBytes => bytes,
            Full::PendingRows | Full::InFlight => 1,
            Full::Journal => 0,
        }))
    }

    /// The usage of this many unanswered writes, apart from their memory.
    pub(crate) fn of_in_flight(writes: usize) -> Self {
        Self(Full::ALL.map(|limit| if limit == Full::InFlight { writes } else { 0 }))
    }
}

impl Index<Full> for Usage {
    type Output = usize;

    fn index(&self, limit: Full) -> &usize {
        &self.0[limit as usize]
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place] + more.0[place]))
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place] - less.0[place]))
    }
}
