//! The plan of one history: how large its world is, and which faults it may have.
//!
//! Each history draws its own weights, many of them zero: a mix that is always the same hides what
//! happens only without one of its faults. A quarter has no faults at all.

use crate::choices::Choices;

/// What may go wrong. Each has a weight of its own in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Fault {
    /// A process dies.
    Crash,
    /// A process stands still for a while.
    Freeze,
    /// A process is asked to end.
    Drain,
    /// The group decides again.
    Rebalance,
    /// The group gives up a member that lives.
    GiveUp,
    /// A commit to Kafka is refused, taken unheard, or answered late.
    Commit,
    /// Kafka does not answer a question.
    Question,
    /// A connection is lost before a statement runs, or after.
    Connection,
    /// A server refuses a statement: a lock, a load, an unknown code.
    Refusal,
    /// An answer of the database does not come.
    Hang,
    /// Every connection to the database ends.
    Sessions,
    /// The database goes back to an earlier state.
    Restore,
    /// The server ends an abandoned transaction late.
    Abandoned,
    /// What was fetched before a pause is delivered after it.
    Prefetch,
    /// A client passes over a record.
    Skip,
    /// A client delivers records again.
    Repeat,
    /// A client stops delivering a partition.
    Stall,
    /// An error of the client that passes.
    PollError,
    /// The log loses its first records.
    Retention,
    /// A topic's partition is created again, with other records.
    Recreate,
}

/// How many kinds of faults there are.
pub const FAULTS: usize = Fault::Recreate as usize + 1;

/// The plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many partitions the topic of each route has.
    pub partitions: Vec<i32>,
    pub keys: usize,
    pub processes: usize,
    pub workers: usize,
    pub is_eager: bool,
    /// Steps with faults; then everything heals.
    pub steps: usize,
    /// Records that are written.
    pub records: usize,
    pub max_rows: usize,
    /// The memory that a process has for records, in bytes.
    pub memory: usize,
    /// How many writers a partition remembers.
    pub writers_max: usize,
    /// How many records a second reading brings at once.
    pub reread_max: usize,
    /// Whether the table says that `v` is not negative.
    pub has_check: bool,
    /// Whether rows of the second route refer to rows of the first.
    pub has_references: bool,
    /// How likely a record is one that can't be applied, of 256.
    pub bad: u8,
    /// How likely a record is written twice, of 256.
    pub twice: u8,
    /// How likely a marker follows a record, of 256.
    pub marker: u8,
    pub weights: [u8; FAULTS],
}

impl Plan {
    /// A plan, all of it chosen.
    pub fn chosen(choices: &mut Choices) -> Self {
        let routes = 1 + choices.weighted(&[1, 1]);
        let partitions = (0..routes).map(|_| 1 + choices.below(3) as i32).collect();
        let is_quiet = choices.weighted(&[3, 1]) == 1;
        let mut plan = Self {
            partitions,
            keys: 1 + choices.below(5),
            processes: 1 + choices.weighted(&[2, 3, 1]),
            workers: 1 + choices.below(3),
            is_eager: choices.chance(80),
            steps: 150 + choices.below(16) * 40,
            records: 5 + choices.below(60),
            max_rows: 1 + choices.below(8),
            memory: [256 << 20, 8 << 10, 3 << 10][choices.weighted(&[4, 1, 1])],
            writers_max: [10_000, 2, 1][choices.weighted(&[4, 1, 1])],
            reread_max: [usize::MAX, 1, 3][choices.weighted(&[3, 1, 1])],
            has_check: choices.chance(100),
            has_references: routes == 2 && choices.chance(180),
            bad: [0, 12, 60][choices.weighted(&[2, 2, 1])],
            twice: [0, 30][choices.weighted(&[1, 1])],
            marker: [0, 30][choices.weighted(&[2, 1])],
            weights: [0; FAULTS],
        };
        if plan.has_references {
            // Where memory is short, a row that refers to another one may be given up before that
            // one is read: nothing could be read otherwise.
            plan.memory = 256 << 20;
        }
        if !is_quiet {
            for weight in &mut plan.weights {
                *weight = [0, 3, 10, 30][choices.weighted(&[4, 2, 2, 1])];
            }
            // They end most histories in which they strike.
            for fault in [Fault::Retention, Fault::Recreate] {
                if !choices.chance(40) {
                    plan.weights[fault as usize] = 0;
                }
            }
        }
        plan
    }

    #[must_use]
    pub fn weight(&self, fault: Fault) -> u8 {
        self.weights[fault as usize]
    }

    /// Whether every recheck is answered in its time.
    #[must_use]
    pub fn hears_rechecks(&self) -> bool {
        let unheard = [
            Fault::Freeze,
            Fault::Question,
            Fault::Connection,
            Fault::Hang,
            Fault::Sessions,
            Fault::Crash,
            Fault::Drain,
            Fault::GiveUp,
            Fault::Rebalance,
        ];
        unheard.iter().all(|fault| self.weight(*fault) == 0)
    }

    /// Whether records may be lost to the table, so that refusing is right.
    #[must_use]
    pub fn may_refuse(&self) -> bool {
        self.weight(Fault::Retention) > 0 || self.weight(Fault::Recreate) > 0
    }
}
