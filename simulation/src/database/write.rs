//! Statements on a target table: what they judge, and what they leave.

use std::collections::BTreeMap;

use write_behind_consumer::core::table::identity::Identity;
use write_behind_consumer::core::table::row::{Row, RowCell};
use write_behind_consumer::core::table::{Column, ColumnKind, Table};
use write_behind_consumer::core::writes::{WriteKind, WriteStatement};
use write_behind_consumer::store::classify::{Failure, Rejection};
use write_behind_shared::key::KeyKind;

use crate::database::session::{Served, deadlock};
use crate::database::{DatabaseModel, Hindrance, LockKey, SessionId};
use crate::meaning::ModelRow;
use crate::state::State;

/// What the catalogue says of a table.
#[must_use]
pub fn describe(database: &DatabaseModel, table: &str) -> Table {
    let column = |name: &str, kind: ColumnKind, required: bool| Column {
        name: name.to_owned(),
        kind,
        sql_type: String::new(),
        required,
        takes_null: true,
        default_acts: false,
        counts_from_nothing: true,
        whole_digits: None,
    };
    let integer = || ColumnKind::Integer(i64::MIN..=i64::MAX);
    let columns = vec![
        column("id", integer(), true),
        column("n", integer(), false),
        column("v", integer(), false),
        column("tag", ColumnKind::Text, false),
        column("parent", integer(), false),
    ];
    Table {
        update_before_insert: database.has_check,
        identity: Identity {
            beside: "1".to_owned(),
            mark: table.to_owned(),
            is_certain: true,
            file: String::new(),
            shape: String::new(),
        },
        ..Table::plain(table, KeyKind::Integer(i64::MIN..=i64::MAX), columns)
    }
}

/// The route whose table has this name.
#[must_use]
pub fn route_of(table: &str) -> usize {
    table.strip_prefix("table").and_then(|route| route.parse().ok()).expect("a table of ours")
}

fn refused(code: &str, why: &str) -> Rejection {
    Rejection { sqlstate: Some(code.to_owned()), reason: why.to_owned() }
}

/// Runs one statement on a target table.
pub fn write(
    state: &mut State,
    id: SessionId,
    table: &Table,
    statement: &WriteStatement<'_>,
) -> Result<Served<u64>, Failure> {
    state.runs_statement(id);
    let route = route_of(&table.sql_name);
    for row in statement.rows {
        match state.database.lock(id, LockKey::Row(route, key_of(row))) {
            Ok(()) => {}
            Err(Hindrance::Locked(key)) => {
                state.reach("a worker waited for a row's lock");
                return Ok(Served::Waits(key));
            }
            Err(Hindrance::Deadlock) => return Err(deadlock(state, id)),
        }
    }
    let mut after = BTreeMap::new();
    let mut count = 0;
    for row in statement.rows {
        let key = key_of(row);
        let before = state.database.row(id, route, key);
        count += u64::from(statement.kind != WriteKind::Delete || before.is_some());
        let written = match written(&state.database, id, route, statement.kind, row, before) {
            Ok(written) => written,
            Err(failure) => {
                match &failure {
                    Failure::MissingReference(_) => state.reach("a row referred to a missing one"),
                    _ => state.reach("the database refused a row"),
                }
                if let Some(open) = state.database.open(id) {
                    open.fail();
                }
                return Err(failure);
            }
        };
        after.insert((route, key), written);
    }
    let process = state.database.sessions.get(&id).map_or(0, |session| session.process);
    state.history.tell_of(process, || {
        let rows = after.iter().map(|((route, key), row)| match row {
            Some(row) => {
                let ModelRow { n, v, tag, .. } = row;
                let (n, v) = (n.unwrap_or(0), v.map_or(String::new(), |v| format!(" v={v}")));
                format!("table{route}[{key}] n={n:b}{v} {}", tag.as_deref().unwrap_or(""))
            }
            None => format!("table{route}[{key}] gone"),
        });
        rows.collect::<Vec<_>>().join(", ")
    });
    if let Some(open) = state.database.open(id) {
        open.changes.rows.extend(after);
    }
    Ok(Served::Done(count))
}

fn key_of(row: &Row<'_>) -> i64 {
    row.key[0].parse().expect("a judged key")
}

/// The row after a statement.
fn written(
    database: &DatabaseModel,
    id: SessionId,
    route: usize,
    kind: WriteKind,
    row: &Row<'_>,
    before: Option<ModelRow>,
) -> Result<Option<ModelRow>, Failure> {
    let Some(cells) = row.write.as_ref().filter(|_| kind != WriteKind::Delete) else {
        return Ok(None);
    };
    if kind == WriteKind::Upsert {
        // The row to insert is judged before anything looks whether it is there.
        check(database, &with(ModelRow::default(), cells))?;
    }
    let after = with(before.unwrap_or_default(), cells);
    check(database, &after)?;
    if let Some(parent) = after.parent.filter(|_| database.has_references && route == 1)
        && database.row(id, 0, parent).is_none()
    {
        return Err(Failure::MissingReference(refused("23503", "there is no such parent")));
    }
    Ok(Some(after))
}

fn check(database: &DatabaseModel, row: &ModelRow) -> Result<(), Failure> {
    if database.has_check && row.v.is_some_and(|v| v < 0) {
        return Err(Failure::Data(refused("23514", "v is negative")));
    }
    Ok(())
}

fn with(mut row: ModelRow, cells: &[(usize, RowCell<'_>)]) -> ModelRow {
    let number = |text: &str| text.parse::<i64>().expect("a judged number");
    for (at, cell) in cells {
        let of = |before: Option<i64>| match cell {
            RowCell::Set(text) => text.as_deref().map(number),
            RowCell::Add(text) => Some(before.unwrap_or(0) + number(text)),
        };
        match at {
            1 => row.n = of(row.n),
            2 => row.v = of(row.v),
            3 => row.tag = cell.text().map(str::to_owned),
            4 => row.parent = of(row.parent),
            _ => panic!("the key is no column to write"),
        }
    }
    row
}
