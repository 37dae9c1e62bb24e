//! A connection: the [`Session`] that the product's fenced transaction runs on.

use std::time::Duration;

use write_behind_consumer::apply::Connect;
use write_behind_consumer::clock::Clock as _;
use write_behind_consumer::core::batch::{LastRecord, RoutePartition, Span, WriterSeen};
use write_behind_consumer::core::bookkeeping_key::BookkeepingKey;
use write_behind_consumer::core::record::DeadLetter;
use write_behind_consumer::core::table::Table;
use write_behind_consumer::core::writes::WriteStatement;
use write_behind_consumer::store::bookkeeping::Spelling;
use write_behind_consumer::store::classify::{Failure, Rejection};
use write_behind_consumer::store::session::{Session, TransactionCommand};
use write_behind_consumer::store::statement::{Dialect, Statement, Statements, Value};
use write_behind_consumer::store::{StoreError, Timeouts, Transaction};

use crate::database::{Hindrance, LockKey, SessionId, bookkeeping, write};
use crate::gate::{Ask, Gate, Grant, Refusal};
use crate::kafka::log::Topics;
use crate::kafka::reader::name;
use crate::state::{Handle, State};

/// What the server makes of a statement.
pub enum Served<T> {
    Done(T),
    /// It waits for a lock.
    Waits(LockKey),
}

/// Makes connections for one process.
#[derive(Clone)]
pub struct Connector {
    pub state: Handle,
    pub process: u64,
}

impl Connect for Connector {
    type Store = ModelSession;

    async fn connect(&self) -> Result<ModelSession, StoreError> {
        let gate = Gate::new(&self.state, self.process, Ask::Connect, Timeouts::STANDARD.connect);
        match gate.await {
            Grant::Go | Grant::GoSlowly => {}
            _ => return Err(StoreError::Unavailable("can't connect".to_owned())),
        }
        let id = self.state.lock().database.connect(self.process);
        Ok(ModelSession { state: self.state.clone(), process: self.process, id, is_broken: false })
    }
}

/// A connection.
pub struct ModelSession {
    state: Handle,
    process: u64,
    id: SessionId,
    is_broken: bool,
}

impl Drop for ModelSession {
    fn drop(&mut self) {
        self.state.lock().database.abandon(self.id);
    }
}

fn unavailable(why: &str) -> Failure {
    Failure::Store(StoreError::Unavailable(why.to_owned()))
}

fn rejection(code: &str, why: &str) -> Rejection {
    Rejection { sqlstate: Some(code.to_owned()), reason: why.to_owned() }
}

impl ModelSession {
    /// Sends a statement, and waits until the server has run it and the answer is there.
    async fn call<T: Send>(
        &mut self,
        ask: Ask,
        mut serve: impl FnMut(&mut State, SessionId) -> Result<Served<T>, Failure> + Send,
    ) -> Result<T, Failure> {
        if self.is_broken {
            return Err(unavailable("an earlier call was not answered; reconnect"));
        }
        self.is_broken = true;
        let mut blocked = None;
        loop {
            let limit =
                if blocked.is_some() { Timeouts::STANDARD.lock } else { Timeouts::STANDARD.answer };
            let mut gate = Gate::new(&self.state, self.process, ask, limit);
            if let Some(lock) = blocked {
                gate = gate.blocked(lock, self.id);
            }
            let grant = gate.await;
            match grant {
                Grant::TimedOut if blocked.is_some() => {
                    let mut state = self.state.lock();
                    state.reach("a lock did not come in time");
                    state.database.stop_waiting(self.id);
                    self.is_broken = false;
                    return Err(self.refuse(&mut state, Refusal::Conflict));
                }
                Grant::TimedOut => return Err(unavailable("no answer within 30s")),
                Grant::Lost => {
                    self.hang_up();
                    return Err(unavailable("the connection is gone"));
                }
                Grant::Refused(why) => {
                    let mut state = self.state.lock();
                    self.is_broken = false;
                    return Err(self.refuse(&mut state, why));
                }
                Grant::Go | Grant::GoSlowly | Grant::Unheard => {}
            }
            let served = {
                let mut state = self.state.lock();
                if !state.database.sessions.contains_key(&self.id) {
                    return Err(unavailable("the server has ended this connection"));
                }
                serve(&mut state, self.id)
            };
            if let Ok(Served::Waits(lock)) = served {
                blocked = Some(lock);
                continue;
            }
            if grant == Grant::GoSlowly {
                let limit = Timeouts::STANDARD.answer;
                let answer = Gate::new(&self.state, self.process, Ask::Answer, limit).await;
                if answer == Grant::TimedOut {
                    return Err(unavailable("no answer within 30s"));
                }
            }
            if grant == Grant::Unheard {
                self.hang_up();
                return Err(unavailable("the connection is gone"));
            }
            self.is_broken = false;
            return match served? {
                Served::Done(answer) => Ok(answer),
                Served::Waits(_) => Err(unavailable("it waits")),
            };
        }
    }

    /// The connection is lost, and the server notices it sooner or later.
    fn hang_up(&self) {
        let mut state = self.state.lock();
        state.history.tell_of(self.process, || "loses a connection".to_owned());
        state.database.abandon(self.id);
    }

    fn refuse(&self, state: &mut State, why: Refusal) -> Failure {
        if let Some(open) = state.database.open(self.id) {
            open.fail();
        }
        state.history.tell_of(self.process, || format!("is refused: {why:?}"));
        match why {
            Refusal::Conflict => Failure::Store(StoreError::Conflict("a lock".to_owned())),
            Refusal::Saturated => Failure::Store(StoreError::Saturated("too much".to_owned())),
            Refusal::Uncertain => Failure::Uncertain(rejection("XX000", "it is not said why")),
        }
    }
}

impl Statements for ModelSession {
    fn dialect(&self) -> Dialect {
        bookkeeping::DIALECT
    }

    async fn perform(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let done = self.call(Ask::Statement("bookkeeping"), |state, id| {
            Ok(Served::Done(bookkeeping::perform(state, id, &statement)))
        });
        done.await.map_err(no_row)
    }

    async fn select(&mut self, statement: Statement) -> Result<Vec<Vec<Value>>, StoreError> {
        let done = self.call(Ask::Statement("a question"), |state, _| {
            Ok(Served::Done(bookkeeping::select(&state.database, &statement)))
        });
        done.await.map_err(no_row)
    }
}

/// As the product says it of its own failures.
fn no_row(failure: Failure) -> StoreError {
    match failure {
        Failure::Store(error) => error,
        Failure::Uncertain(rejection) => StoreError::Unavailable(rejection.reason),
        Failure::Data(rejection) | Failure::MissingReference(rejection) => {
            StoreError::Stop(rejection.reason)
        }
        Failure::Twice => StoreError::Stop("twice".to_owned()),
    }
}

/// The route and partition that bookkeeping speaks of.
pub fn tp_of(scope: &BookkeepingKey, partition: write_behind_shared::Partition) -> RoutePartition {
    RoutePartition { route: Topics::route(&scope.topic), partition }
}

impl Session for ModelSession {
    async fn create_bookkeeping(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn read_catalog(&mut self, table: &str, _: &[String]) -> Result<Table, StoreError> {
        let done = self.call(Ask::Statement("the catalogue"), |state, _| {
            Ok(Served::Done(write::describe(&state.database, table)))
        });
        done.await.map_err(no_row)
    }

    /// Nobody alters a table here.
    async fn is_as_described(&mut self, _: &Table) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn command(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        let is_commit = command == TransactionCommand::Commit;
        if is_commit && let Some(session) = self.state.lock().database.sessions.get_mut(&self.id) {
            session.asks_commit = true;
        }
        let ask = match command {
            TransactionCommand::Commit => Ask::Commit,
            TransactionCommand::Begin => Ask::Statement("BEGIN"),
            TransactionCommand::RollBack => Ask::Statement("ROLLBACK"),
            TransactionCommand::CheckDeferred => Ask::Statement("SET CONSTRAINTS"),
            _ => Ask::Statement("a savepoint"),
        };
        self.call(ask, |state, id| {
            serve_command(state, id, command);
            Ok(Served::Done(()))
        })
        .await
    }

    async fn wait(&self, time: Duration) {
        self.state.clock().sleep(time).await;
    }

    async fn move_offset(
        &mut self,
        transaction: &Transaction<'_>,
        span: &Span,
        last: Option<&LastRecord>,
    ) -> Result<u64, StoreError> {
        let tp = tp_of(transaction.scope, span.partition);
        let partitions = transaction.partitions;
        let process = self.process;
        let done = self.call(Ask::Statement("the offset"), |state, id| {
            match state.database.lock(id, LockKey::Offset(tp)) {
                Ok(()) => {}
                Err(Hindrance::Locked(key)) => {
                    state.reach("a worker waited for an offset's lock");
                    return Ok(Served::Waits(key));
                }
                Err(Hindrance::Deadlock) => return Err(deadlock(state, id)),
            }
            let own = state.database.open(id).and_then(|open| open.changes.offsets.get(&tp));
            let next = own.map(|(next, _)| *next).or_else(|| state.database.next(tp));
            let moves = next == Some(span.start);
            state.history.tell_of(process, || {
                let (at, start, end) = (name(tp), span.start, span.end);
                let found = next.map_or("nothing".to_owned(), |next| next.to_string());
                let said = if moves { "moves" } else { "does not move, it is at" };
                format!("{at} {start}→{end} {said} {}", if moves { "" } else { &found })
            });
            if !moves {
                state.reach("a compare-and-set moved nothing");
                return Ok(Served::Done(0));
            }
            state.runs_statement(id);
            if let Some(open) = state.database.open(id) {
                open.changes.offsets.insert(tp, (span.end, partitions));
                open.changes.last_records.extend(last.map(|last| (tp, *last)));
            }
            Ok(Served::Done(1))
        });
        done.await.map_err(no_row)
    }

    async fn write(
        &mut self,
        table: &Table,
        statement: &WriteStatement<'_>,
    ) -> Result<u64, Failure> {
        let done = self
            .call(Ask::Statement("rows"), |state, id| write::write(state, id, table, statement));
        done.await
    }

    async fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> Result<(), StoreError> {
        let done = self.call(Ask::Statement("writers"), |state, id| {
            for seen in writers {
                let key = (tp_of(scope, seen.partition), seen.last.writer);
                let new = (seen.last.sequence as i64, seen.at.0);
                let committed = state.database.committed.writers.get(&key).copied();
                if let Some(open) = state.database.open(id) {
                    let own = open.changes.writers.get(&key).copied();
                    let before = own.unwrap_or(committed);
                    // None goes backwards.
                    let kept = before.filter(|before| before.0 > new.0).unwrap_or(new);
                    open.changes.writers.insert(key, Some(kept));
                }
            }
            Ok(Served::Done(()))
        });
        done.await.map_err(no_row)
    }

    async fn set_aside(
        &mut self,
        scope: &BookkeepingKey,
        letters: &[&DeadLetter],
        _: Spelling,
    ) -> Result<(), Failure> {
        let process = self.process;
        let done = self.call(Ask::Statement("dead letters"), |state, id| {
            for letter in letters {
                let place = (tp_of(scope, letter.record.partition), letter.record.offset.0);
                state.reach("a record was set aside");
                state.history.tell_of(process, || {
                    format!("sets aside {}@{}: {}", name(place.0), place.1, letter.reason)
                });
                if let Some(open) = state.database.open(id) {
                    open.changes.letters.entry(place).or_insert_with(|| letter.reason.clone());
                }
            }
            Ok(Served::Done(()))
        });
        done.await
    }
}

/// The victim of a deadlock.
pub fn deadlock(state: &mut State, id: SessionId) -> Failure {
    state.reach("a deadlock had a victim");
    if let Some(open) = state.database.open(id) {
        open.fail();
    }
    Failure::Store(StoreError::Conflict("deadlock detected".to_owned()))
}

fn serve_command(state: &mut State, id: SessionId, command: TransactionCommand) {
    let process = state.database.sessions.get(&id).map_or(0, |session| session.process);
    match command {
        TransactionCommand::Begin => state.database.begin(id),
        TransactionCommand::RollBack => {
            state.history.tell_of(process, || "ROLLBACK".to_owned());
            state.database.roll_back(id);
        }
        TransactionCommand::Commit => state.commit(id),
        TransactionCommand::CheckDeferred => {}
        within => {
            if within == TransactionCommand::RollBackToSavepoint {
                state.reach("a transaction went back to a savepoint");
            }
            let Some(open) = state.database.open(id) else { return };
            match within {
                TransactionCommand::Savepoint => open.set_savepoint(),
                TransactionCommand::Release => open.release(),
                _ => open.roll_back_to_savepoint(),
            }
        }
    }
}

/// How long an abandoned transaction may keep its locks.
pub const ABANDONED_WITHIN: Duration = Timeouts::STANDARD.idle_in_transaction;
