//! The writers: records as services write them, good ones and bad ones, some twice.

use std::collections::BTreeMap;

use uuid::Uuid;
use write_behind_consumer::core::batch::RoutePartition;
use write_behind_shared::WriteId;

use crate::kafka::log::LogRecord;
use crate::kafka::reader::name;
use crate::meaning::{Effect, Meaning};
use crate::oracle::home;
use crate::state::State;

/// How many increments a row can tell apart.
const BITS_MAX: u32 = 60;
/// A moment in 2023, where the log's time begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// What has been written so far.
#[derive(Clone, Debug, Default)]
pub struct Writers {
    pub written: usize,
    sequences: BTreeMap<(RoutePartition, usize), u64>,
    bits: BTreeMap<(usize, i64), u32>,
    /// The key of the first route that was written last.
    last_parent: Option<i64>,
}

impl Writers {
    /// Appends one record, and perhaps a marker or an earlier record again.
    pub fn write(&mut self, state: &mut State) {
        self.written += 1;
        let route = state.choices.below(state.plan.partitions.len());
        let key = 1 + state.choices.below(state.plan.keys) as i64;
        let tp = home(&state.plan, route, key);
        let again = state.plan.twice;
        if state.choices.chance(again) && Self::write_again(state, tp) {
            return;
        }
        let effect = self.effect(state, route, key);
        let at = state.topics.log(tp).high();
        let record_name = format!("{}@{at}", name(tp));
        let write = self.write_id(state, tp);
        let parent_end = match effect {
            Effect::Refer(parent) => {
                let of = home(&state.plan, 0, parent);
                Some((of.partition.0, state.topics.log(of).high()))
            }
            _ => None,
        };
        let meaning = Meaning { key, effect, name: record_name, write, parent_end };
        let timestamp = EPOCH_MS + state.history.now.as_millis() as i64;
        state.history.tell("log", || format!("{} key {key} {:?}", meaning.name, meaning.effect));
        let record = encoded(meaning, timestamp);
        state.topics.log_mut(tp).append(record);
        let marker = state.plan.marker;
        if state.choices.chance(marker) {
            state.topics.log_mut(tp).append_marker();
            state.history.tell("log", || format!("{} a marker", name(tp)));
        }
    }

    /// Appends a record to a log that was created again: a moment later than every other one.
    pub fn write_other(state: &mut State, tp: RoutePartition) {
        let keys = 1..=state.plan.keys as i64;
        let key = keys.clone().find(|key| home(&state.plan, tp.route, *key) == tp).unwrap_or(1);
        let name = format!("{}@{}'", name(tp), state.topics.log(tp).high());
        let meaning = Meaning { key, effect: Effect::SetV(1), name, write: None, parent_end: None };
        let timestamp = EPOCH_MS + state.history.now.as_millis() as i64 + 1;
        state.topics.log_mut(tp).append(encoded(meaning, timestamp));
    }

    /// What a service does when it has heard no answer: sends its last records of a partition again.
    fn write_again(state: &mut State, tp: RoutePartition) -> bool {
        let log = state.topics.log(tp);
        let last: Vec<LogRecord> =
            log.ever((log.high() - 3).max(0), log.high()).map(|(_, one)| (**one).clone()).collect();
        let last: Vec<LogRecord> =
            last.into_iter().filter(|one| one.meaning.write.is_some()).collect();
        for record in &last {
            state.history.tell("log", || format!("{} again {}", name(tp), record.meaning.name));
            state.topics.log_mut(tp).append(record.clone());
            state.reach("a record was written twice");
        }
        !last.is_empty()
    }

    fn write_id(&mut self, state: &mut State, tp: RoutePartition) -> Option<(Uuid, u64)> {
        // The last choice is a client of another kind, which names no write.
        let writer = state.choices.weighted(&[6, 3, 2, 1]);
        if writer == 3 {
            return None;
        }
        let next = self.sequences.entry((tp, writer)).or_default();
        let sequence = *next;
        *next += 1;
        if state.choices.chance(3) {
            // A record that never came to the log.
            *next += 1;
            state.reach("a writer's sequence has a gap");
        }
        Some((Uuid::from_u128(writer as u128 + 1), sequence))
    }

    fn effect(&mut self, state: &mut State, route: usize, key: i64) -> Effect {
        let bad = state.plan.bad;
        if state.choices.chance(bad) {
            let all = [Effect::Misfit, Effect::UnknownColumn, Effect::Undecodable];
            let at = state.choices.below(all.len());
            return all[at].clone();
        }
        let refers = u32::from(state.plan.has_references && route == 1) * 8;
        let deletes = u32::from(!(state.plan.has_references && route == 0)) * 2;
        let kind = state.choices.weighted(&[8, 3, 3, 3, refers, deletes]);
        match kind {
            2 => Effect::SetV(state.choices.below(5) as i64 - 1),
            3 => Effect::AddV(state.choices.below(5) as i64 - 2),
            4 => {
                let any = 1 + state.choices.below(state.plan.keys) as i64;
                let last = self.last_parent.filter(|_| state.choices.below(2) == 0);
                Effect::Refer(last.unwrap_or(any))
            }
            5 => Effect::Delete,
            _ => {
                let bits = self.bits.entry((route, key)).or_default();
                if *bits == BITS_MAX {
                    return Effect::SetV(1);
                }
                let bit = 1_i64 << *bits;
                *bits += 1;
                if route == 0 {
                    self.last_parent = Some(key);
                }
                if kind == 1 { Effect::Put(bit) } else { Effect::Add(bit) }
            }
        }
    }
}

/// The record on the wire.
fn encoded(meaning: Meaning, timestamp: i64) -> LogRecord {
    let tag = format!(r#""tag":"{}""#, meaning.name);
    let (value, add) = match &meaning.effect {
        Effect::Add(bit) => (Some(format!(r#"{{"n":{bit},{tag}}}"#)), Some("n")),
        Effect::Put(bit) => (Some(format!(r#"{{"n":{bit},{tag}}}"#)), None),
        Effect::SetV(value) => (Some(format!(r#"{{"v":{value},{tag}}}"#)), None),
        Effect::AddV(delta) => (Some(format!(r#"{{"v":{delta},{tag}}}"#)), Some("v")),
        Effect::Refer(parent) => (Some(format!(r#"{{"parent":{parent},{tag}}}"#)), None),
        Effect::Delete => (None, None),
        Effect::Undecodable => (Some("{".to_owned()), None),
        Effect::UnknownColumn => (Some(format!(r#"{{"zz":1,{tag}}}"#)), None),
        Effect::Misfit => (Some(format!(r#"{{"v":"much",{tag}}}"#)), None),
    };
    let mut headers = Vec::new();
    headers.extend(add.map(|names| ("add", names.as_bytes().to_vec())));
    headers.extend(
        meaning
            .write
            .map(|(writer, sequence)| ("write-id", WriteId { writer, sequence }.encode().to_vec())),
    );
    LogRecord {
        key: Some(meaning.key.to_string().into_bytes()),
        value: value.map(String::into_bytes),
        headers,
        timestamp,
        meaning,
    }
}
