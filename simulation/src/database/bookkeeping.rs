//! The statements on the bookkeeping tables, told apart by their texts. One that is not known here
//! ends the simulation: the product asks something that this database has not learnt.

use uuid::Uuid;
use write_behind_consumer::core::bookkeeping_key::BookkeepingKey;
use write_behind_consumer::core::claim::Claim;
use write_behind_consumer::store::schema::TABLES;
use write_behind_consumer::store::statement::{Dialect, Statement, Value};
use write_behind_shared::{NextOffset, Partition};

use crate::database::session::tp_of;
use crate::database::write::route_of;
use crate::database::{DatabaseModel, SessionId};
use crate::state::State;

/// The question of the bookkeeping tables' names.
const NAMES: &str = "SELECT name FROM bookkeeping";

/// How this database spells statements.
pub const DIALECT: Dialect = Dialect {
    numbered: false,
    unless_there: " ON CONFLICT DO NOTHING",
    failed_at: "failed_at",
    find: "instr",
    headers: "headers",
    bookkeeping: NAMES,
};

fn text(value: &Value) -> String {
    match value {
        Value::Text(Some(text)) => text.clone(),
        other => panic!("a text, not {other:?}"),
    }
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(integer) => *integer,
        other => panic!("an integer, not {other:?}"),
    }
}

fn scope(values: &[Value]) -> BookkeepingKey {
    let [pipeline, cluster, topic] = [0, 1, 2].map(|at| text(&values[at]));
    BookkeepingKey { pipeline, cluster, topic }
}

/// Runs a statement that changes something; returns how many rows it found.
pub fn perform(state: &mut State, id: SessionId, statement: &Statement) -> u64 {
    let Statement { text: sql, values, .. } = statement;
    if sql.starts_with("INSERT INTO write_behind_offsets") {
        let partition = Partition(integer(&values[3]) as i32);
        let tp = tp_of(&scope(values), partition);
        let position = (NextOffset(integer(&values[4])), integer(&values[5]) as i32);
        let is_new = !state.database.committed.offsets.contains_key(&tp);
        if is_new {
            state.database.committed.offsets.insert(tp, position);
            state.database.begun.insert(tp, position.0);
            state.stands(tp);
        }
        return u64::from(is_new);
    }
    if sql.starts_with("DELETE FROM write_behind_writers") {
        let tp = tp_of(&scope(values), Partition(integer(&values[3]) as i32));
        let up_to = integer(&values[4]);
        let of_it = |(key, seen): (&(_, Uuid), &(i64, i64))| {
            (key.0 == tp && seen.1 <= up_to).then_some(*key)
        };
        let gone: Vec<_> = state.database.committed.writers.iter().filter_map(of_it).collect();
        let count = gone.len() as u64;
        if let Some(open) = state.database.open(id) {
            open.changes.writers.extend(gone.into_iter().map(|key| (key, None)));
        }
        return count;
    }
    let claims = &mut state.database.committed.claims;
    let before = claims.len();
    if sql.starts_with("UPDATE write_behind_tables SET identity") {
        let (scope, table) = (scope(&values[1..]), text(&values[4]));
        let mut ours: Vec<_> =
            claims.iter_mut().filter(|one| one.scope == scope && one.table == table).collect();
        for claim in &mut ours {
            claim.identity = Some(text(&values[0]));
        }
        return ours.len() as u64;
    }
    if sql.starts_with("INSERT INTO write_behind_tables") {
        let claim = Claim {
            scope: scope(values),
            table: text(&values[3]),
            identity: Some(text(&values[4])),
        };
        if !claims.iter().any(|one| one.table == claim.table) {
            claims.push(claim);
        }
        return (claims.len() - before) as u64;
    }
    if sql.starts_with("DELETE FROM write_behind_tables") && sql.ends_with("table_name <> ?") {
        let (scope, table) = (scope(values), text(&values[3]));
        claims.retain(|claim| claim.scope != scope || claim.table == table);
        return (before - claims.len()) as u64;
    }
    panic!("this database does not know the statement {sql}")
}

/// Answers a question.
pub fn select(database: &DatabaseModel, statement: &Statement) -> Vec<Vec<Value>> {
    let Statement { text: sql, values, .. } = statement;
    let number = Value::Integer;
    if sql == NAMES {
        return TABLES.iter().map(|name| vec![Value::Text(Some((*name).to_owned()))]).collect();
    }
    if sql.starts_with("SELECT coalesce(max(version)") {
        return vec![vec![number(2)]];
    }
    if sql.starts_with("SELECT count(*) FROM (SELECT 1 FROM") {
        let table = sql.split_whitespace().nth(5).expect("a table");
        let is_empty = database.committed.rows[route_of(table)].is_empty();
        return vec![vec![number(i64::from(!is_empty))]];
    }
    let committed = &database.committed;
    if sql.starts_with("SELECT table_name") {
        let (name, scope) = (text(&values[0]), scope(&values[2..]));
        let found = committed.claims.iter().filter(|one| one.table == name || one.scope == scope);
        let line = |claim: &Claim| {
            let BookkeepingKey { pipeline, cluster, topic } = claim.scope.clone();
            let texts = [claim.table.clone(), pipeline, cluster, topic].map(Some);
            texts.into_iter().chain([claim.identity.clone()]).map(Value::Text).collect()
        };
        return found.map(line).collect();
    }
    let scope = scope(values);
    let topic = tp_of(&scope, Partition(0)).route;
    let offsets = committed.offsets.iter().filter(|(tp, _)| tp.route == topic);
    if sql.contains("LEFT JOIN write_behind_last_records") {
        let line = |(tp, (next, partitions)): (&_, &(NextOffset, i32))| {
            let last = committed.last_records.get(tp);
            let (at, time) = last.map_or((-1, -1), |last| (last.offset.0, last.timestamp));
            let tp: &write_behind_consumer::core::batch::RoutePartition = tp;
            [i64::from(tp.partition.0), next.0, i64::from(*partitions), at, time]
                .map(number)
                .to_vec()
        };
        return offsets.map(line).collect();
    }
    if sql.starts_with(r#"SELECT "partition", next_offset, partitions"#) {
        let line = |(tp, (next, partitions)): (&_, &(NextOffset, i32))| {
            let tp: &write_behind_consumer::core::batch::RoutePartition = tp;
            [i64::from(tp.partition.0), next.0, i64::from(*partitions)].map(number).to_vec()
        };
        return offsets.map(line).collect();
    }
    if sql.starts_with(r#"SELECT "partition", last_sequence"#) {
        let asked: Vec<i64> = values[3..].iter().map(integer).collect();
        let seen = committed
            .writers
            .iter()
            .filter(|((tp, _), _)| tp.route == topic && asked.contains(&i64::from(tp.partition.0)));
        let line = |((tp, writer), (sequence, at)): (&(_, Uuid), &(i64, i64))| {
            let tp: &write_behind_consumer::core::batch::RoutePartition = tp;
            let mut line = [i64::from(tp.partition.0), *sequence, *at].map(number).to_vec();
            line.push(Value::Text(Some(writer.to_string())));
            line
        };
        return seen.map(line).collect();
    }
    panic!("this database does not know the question {sql}")
}
