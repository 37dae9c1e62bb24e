//! A gate: a call to Kafka or to the database waits at one until the world lets it pass, or says how
//! it fails.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use write_behind_consumer::clock::Clock as _;

use crate::clock::Sleep;
use crate::database::LockKey;
use crate::state::Handle;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Connect,
    Statement(&'static str),
    Commit,
    /// The answer to a statement that has run.
    Answer,
    Kafka(&'static str),
    Reread,
}

/// How a call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    Go,
    /// It runs, and its answer waits at another gate.
    GoSlowly,
    /// The connection is lost before it runs.
    Lost,
    /// It runs, and the connection is lost before the answer.
    Unheard,
    /// The server refuses it, and not for a row's sake.
    Refused(Refusal),
    /// Nobody answered in time.
    TimedOut,
}

/// Why a server refuses a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Conflict,
    Saturated,
    Uncertain,
}

/// A call that waits.
#[derive(Debug)]
pub struct Waiting {
    pub number: u64,
    pub process: u64,
    pub ask: Ask,
    /// What it waits for beside the world.
    pub blocked: Option<(LockKey, u64)>,
    /// It is not let pass before its time is over.
    pub hangs: bool,
    pub grant: Option<Grant>,
    waker: Waker,
}

/// The gates, in the order in which calls came to them.
#[derive(Debug, Default)]
pub struct Gates {
    pub waiting: Vec<Waiting>,
    last: u64,
}

impl Gates {
    /// Lets a call pass; the task that made it can go on.
    pub fn open(&mut self, at: usize, grant: Grant) {
        self.waiting[at].grant = Some(grant);
        self.waiting[at].waker.wake_by_ref();
    }
}

/// A call at a gate. Dropping it takes it away.
pub struct Gate {
    state: Handle,
    number: Option<u64>,
    process: u64,
    ask: Ask,
    blocked: Option<(LockKey, u64)>,
    limit: Sleep,
}

impl Gate {
    #[must_use]
    pub fn new(state: &Handle, process: u64, ask: Ask, limit: Duration) -> Self {
        let clock = state.clock();
        let limit = Sleep::until(&clock, clock.now() + limit);
        Self { state: state.clone(), number: None, process, ask, blocked: None, limit }
    }

    /// Waits until `session` may have a lock, too.
    #[must_use]
    pub fn blocked(mut self, lock: LockKey, session: u64) -> Self {
        self.blocked = Some((lock, session));
        self
    }
}

impl Future for Gate {
    type Output = Grant;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Grant> {
        let handle = self.state.clone();
        {
            let mut state = handle.lock();
            let number = if let Some(number) = self.number {
                number
            } else {
                state.gates.last += 1;
                let number = state.gates.last;
                let Gate { process, ask, blocked, .. } = *self;
                let waker = context.waker().clone();
                let (hangs, grant) = (false, None);
                let waiting = Waiting { number, process, ask, blocked, hangs, grant, waker };
                state.gates.waiting.push(waiting);
                self.number = Some(number);
                number
            };
            let at = state.gates.waiting.iter().position(|one| one.number == number);
            if let Some(at) = at
                && let Some(grant) = state.gates.waiting[at].grant
            {
                state.gates.waiting.remove(at);
                self.number = None;
                return Poll::Ready(grant);
            }
        }
        if Pin::new(&mut self.limit).poll(context).is_ready() {
            return Poll::Ready(Grant::TimedOut);
        }
        Poll::Pending
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.state.lock().gates.waiting.retain(|one| one.number != number);
        }
    }
}
