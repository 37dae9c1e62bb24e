//! What must hold, at every step, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use write_behind_consumer::core::batch::RoutePartition;
use write_behind_shared::NextOffset;
use write_behind_shared::partition::partition_of;

use crate::database::SessionId;
use crate::kafka::group::{MemberId, OpenCommit};
use crate::kafka::log::LogRecord;
use crate::kafka::reader::name;
use crate::meaning::{Effect, Meaning, ModelRows};
use crate::plan::Plan;
use crate::state::State;

/// How long a partition must stand still before a row that it may bring counts as missing, less what
/// it takes to notice.
const STALLED: Duration = Duration::from_secs(100);

/// What did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

/// What the oracle remembers.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The rows of each partition as of where the database stands, by the log and the dead letters.
    folds: BTreeMap<RoutePartition, (i64, ModelRows)>,
    /// Where the database stood, from which step on.
    stood: BTreeMap<RoutePartition, Vec<(u64, NextOffset)>>,
    /// When it last moved on.
    moved: BTreeMap<RoutePartition, Duration>,
    /// When each member was assigned what it has.
    assigned: BTreeMap<(MemberId, RoutePartition), u64>,
    /// The partitions whose logs are others now. Nobody knows what their rows must be.
    replaced: BTreeSet<RoutePartition>,
    /// The furthest that the database stood before it went back.
    before_restore: BTreeMap<RoutePartition, NextOffset>,
}

impl Oracle {
    pub fn replaced(&mut self, tp: RoutePartition) {
        self.replaced.insert(tp);
    }

    /// How long the database has stood where it stands.
    #[must_use]
    pub fn stands_for(&self, tp: RoutePartition, now: Duration) -> Duration {
        now.saturating_sub(self.moved.get(&tp).copied().unwrap_or_default())
    }

    #[must_use]
    pub fn is_any_replaced(&self) -> bool {
        !self.replaced.is_empty()
    }

    pub fn assigned(&mut self, member: MemberId, tps: &[RoutePartition], step: u64) {
        self.assigned.extend(tps.iter().map(|tp| ((member, *tp), step)));
    }
}

/// The partition that a key belongs to.
#[must_use]
pub fn home(plan: &Plan, route: usize, key: i64) -> RoutePartition {
    let partition = partition_of(key.to_string().as_bytes(), plan.partitions[route]);
    RoutePartition { route, partition }
}

impl State {
    /// INV-12: nothing runs in a transaction in which a statement failed.
    pub fn runs_statement(&mut self, session: SessionId) {
        let may = self.database.open(session).is_some_and(|open| !open.has_failed());
        if !may {
            self.violated("INV-12 nothing runs after a failure", || {
                "a statement was sent in a transaction that has failed or is over".to_owned()
            });
        }
    }

    /// Commits what a session has open, and looks at what that makes.
    pub fn commit(&mut self, session: SessionId) {
        let of = self.database.sessions.get(&session);
        let process = of.map_or(0, |session| session.process);
        let moved = self.database.commit(session);
        if let Some(session) = self.database.sessions.get_mut(&session) {
            session.asks_commit = false;
        }
        self.history.tell_of(process, || "COMMIT".to_owned());
        for tp in moved {
            self.stands(tp);
            self.check(tp);
        }
    }

    /// Notes where the database stands now.
    pub fn stands(&mut self, tp: RoutePartition) {
        let (step, now) = (self.history.step, self.history.now);
        if let Some(next) = self.database.next(tp) {
            self.oracle.stood.entry(tp).or_default().push((step, next));
            self.oracle.moved.insert(tp, now);
        }
    }

    /// The database went back.
    pub fn restored(&mut self, before: &BTreeMap<RoutePartition, (NextOffset, i32)>) {
        for (tp, (next, _)) in before {
            let furthest = self.oracle.before_restore.entry(*tp).or_default();
            *furthest = (*furthest).max(*next);
        }
        for tp in self.topics.tps() {
            self.stands(tp);
            self.check(tp);
        }
    }

    /// I8, INV-11: a partition is read from where the database stood after it was assigned.
    pub fn started(&mut self, member: MemberId, tp: RoutePartition, next: NextOffset) {
        let since = self.oracle.assigned.get(&(member, tp)).copied();
        let stood = self.oracle.stood.get(&tp).map_or(&[][..], Vec::as_slice);
        let first = stood.iter().rposition(|(step, _)| Some(*step) <= since).unwrap_or(0);
        let is_right = stood[first..].iter().any(|(_, stood)| *stood == next);
        if !is_right || since.is_none() {
            let stood: Vec<i64> = stood[first..].iter().map(|(_, next)| next.0).collect();
            self.violated("I8 a partition is read from the database's offset", || {
                format!("{} is read from {next}, and the database stood at {stood:?}", name(tp))
            });
        }
    }

    /// I7, INV-7: what the group has committed is in the database, and does not go back.
    pub fn group_commits(&mut self, commit: &OpenCommit) {
        for (tp, next) in &commit.offsets {
            let in_database = self.database.next(*tp).unwrap_or_default();
            let once = self.oracle.before_restore.get(tp).copied();
            if *next > in_database && once.is_none_or(|once| *next > once) {
                self.violated("I7 kafka's offset is not past the database's", || {
                    format!(
                        "{} is committed as {next}, in the database is {in_database}",
                        name(*tp)
                    )
                });
            }
            let before = self.group.committed.insert(*tp, *next);
            if before.is_some_and(|before| *next < before) && once.is_none() {
                self.violated("I7 kafka's offset does not go back", || {
                    format!("{} goes from {before:?} to {next}", name(*tp))
                });
            }
        }
    }

    /// I1, I2, I3, I11, I16: the rows of a partition are the fold of its records below the
    /// database's offset, without those set aside; which are those that are bad; and the writers are
    /// those of the log.
    pub fn check(&mut self, tp: RoutePartition) {
        let Some(next) = self.database.next(tp) else { return };
        if self.oracle.is_any_replaced() {
            return;
        }
        let (mut from, mut model) = self.oracle.folds.remove(&tp).unwrap_or_default();
        let begun = self.database.begun.get(&tp).map_or(0, |begun| begun.0);
        if from > next.0 || from < begun {
            (from, model) = (begun, ModelRows::default());
        }
        let log = self.topics.log(tp).clone();
        for (at, record) in log.ever(from, next.0) {
            let meaning = &record.meaning;
            let is_letter = self.database.committed.letters.contains_key(&(tp, at));
            if model.is_duplicate(meaning, at, self.plan.writers_max) {
                if is_letter {
                    self.violated("I11 what is set aside is bad", || {
                        format!("{}@{at} is a duplicate, and was set aside", name(tp))
                    });
                }
                continue;
            }
            if is_letter {
                self.check_letter(tp, at, meaning, &model);
                continue;
            }
            let hides = |(_, later): (i64, &Arc<LogRecord>)| meaning.is_hidden_by(&later.meaning);
            if !meaning.is_sound() && !log.ever(at + 1, next.0).any(hides) {
                self.violated("I11 what is bad is set aside", || {
                    format!("{}@{at} {} can't be applied, and was", name(tp), meaning.name)
                });
            }
            model.apply(meaning);
        }
        self.compare(tp, next, &model);
        self.oracle.folds.insert(tp, (next.0, model));
    }

    fn check_letter(&mut self, tp: RoutePartition, at: i64, meaning: &Meaning, model: &ModelRows) {
        let after = meaning.applied(model.rows.get(&meaning.key));
        let breaks_check =
            self.plan.has_check && after.is_some_and(|row| row.v.is_some_and(|v| v < 0));
        let lacks_parent = match meaning.effect {
            Effect::Refer(parent) => !self.must_come(parent, meaning),
            _ => false,
        };
        if meaning.is_sound() && !breaks_check && !lacks_parent {
            let why = self.database.committed.letters.get(&(tp, at)).cloned().unwrap_or_default();
            self.violated("I11 what is set aside is bad", || {
                format!("{}@{at} {} was set aside: {why}", name(tp), meaning.name)
            });
        }
    }

    /// Whether the log had the parent before the record that refers to it, in a partition that
    /// somebody still writes.
    fn must_come(&self, parent: i64, meaning: &Meaning) -> bool {
        let Some((_, end)) = meaning.parent_end else { return false };
        let tp = home(&self.plan, 0, parent);
        let begun = self.database.begun.get(&tp).map_or(0, |begun| begun.0);
        let mut model = ModelRows::default();
        let mut brings = |(at, record): (i64, &Arc<LogRecord>)| {
            let Meaning { key, effect, .. } = &record.meaning;
            !model.is_duplicate(&record.meaning, at, self.plan.writers_max)
                && *key == parent
                && matches!(effect, Effect::Add(_) | Effect::Put(_))
        };
        let is_there = self.topics.log(tp).ever(begun, end).any(&mut brings);
        let moved = self.oracle.moved.get(&tp).copied().unwrap_or_default();
        is_there && self.history.now.saturating_sub(moved) < STALLED
    }

    fn compare(&mut self, tp: RoutePartition, next: NextOffset, model: &ModelRows) {
        for key in 1..=self.plan.keys as i64 {
            if home(&self.plan, tp.route, key) != tp {
                continue;
            }
            let found = self.database.committed.rows[tp.route].get(&key).cloned();
            let expected = model.rows.get(&key).cloned();
            if found != expected {
                self.violated("I1 the rows are the fold of the log below the offset", || {
                    let at = name(tp);
                    let lines = [("the log has", &expected), ("the table has", &found)];
                    let say = lines.map(|(who, row)| match row {
                        Some(row) => format!(
                            "{who} n={:b} v={:?} tag={:?} parent={:?}",
                            row.n.unwrap_or(0),
                            row.v,
                            row.tag,
                            row.parent
                        ),
                        None => format!("{who} no row"),
                    });
                    format!("{at} below {next}, row {key}: {}", say.join("; "))
                });
            }
        }
        let noted = self.database.committed.writers.iter().filter(|((of, _), _)| *of == tp);
        let noted: Vec<(u128, i64, i64)> =
            noted.map(|((_, writer), (last, at))| (writer.as_u128(), *last, *at)).collect();
        let expected = model.writers.iter();
        let expected: Vec<(u128, i64, i64)> =
            expected.map(|(writer, (last, at))| (writer.as_u128(), *last as i64, *at)).collect();
        if noted != expected {
            self.violated("I16 the writers are those of the log", || {
                format!("{} below {next}: {expected:?}, noted are {noted:?}", name(tp))
            });
        }
    }
}
