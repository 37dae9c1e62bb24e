//! What the poll thread needs of a Kafka client that is a member of a group.
//!
//! [`Source`](crate::kafka::source::Source) decides by what it hears here and names no librdkafka,
//! so it can be driven without one.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::commit::CommitId;
use crate::core::record::Incoming;
use crate::kafka::group::GroupEvent;
use crate::status::logs::Fetched;

/// What one poll heard.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A record of this route.
    Record(usize, &'a Incoming<'a>),
    /// The log does not have the offset that was to be read next.
    OutOfRange(String),
    /// Kafka does not answer as it should; the client tries again by itself.
    Failed(String),
}

/// A member of a group that reads the partitions it was told to start. No call waits for Kafka,
/// except that [`Reader::poll`] waits as long as it is told.
pub trait Reader {
    /// Why a call failed. The client can't go on then.
    type Error: Display;

    /// Waits for at most `wait`, and passes at most one record or error to `hear`. The group's
    /// decisions are queued meanwhile. Returns whether it heard anything.
    fn poll(&mut self, wait: Duration, hear: impl FnMut(Heard<'_>)) -> bool;

    /// The group's next decision or answer.
    fn next_event(&mut self) -> Option<GroupEvent<Vec<RoutePartition>>>;

    /// News about the logs since the last call; usually none.
    fn fetched(&mut self) -> Vec<(RoutePartition, Fetched)>;

    /// Why the client can't go on, if it can't.
    fn fatal(&self) -> Option<String>;

    /// Accepts an assignment without reading anything of it yet.
    fn acknowledge(&self) -> Result<(), Self::Error>;

    /// Reads these partitions from these offsets on. `next_of` says where each other one stands.
    fn start(
        &mut self,
        tps: &[(RoutePartition, NextOffset)],
        next_of: impl Fn(RoutePartition) -> Option<NextOffset>,
    ) -> Result<(), Self::Error>;

    /// Passes on no records of these, for now. What was fetched of them is kept.
    fn pause(&mut self, tps: &[RoutePartition]) -> Result<(), Self::Error>;

    /// Passes on records of these again.
    fn resume(&mut self, tps: &[RoutePartition]) -> Result<(), Self::Error>;

    /// Gives these back to the group.
    fn release(&mut self, tps: &[RoutePartition]) -> Result<(), Self::Error>;

    /// Begins to commit, with a note at those that were `adopted`; an event tells how it went.
    /// `false`: the commit before is not answered yet, so this one is not made.
    fn commit(
        &mut self,
        id: CommitId,
        offsets: &[(RoutePartition, NextOffset)],
        adopted: &BTreeSet<RoutePartition>,
    ) -> bool;
}
