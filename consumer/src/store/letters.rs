//! The table of dead letters: found, counted, closed and deleted; and how far they were copied.

#![allow(private_bounds, reason = "every store of a database is such a session")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::dead_letters::{DeadLetterState, Filter, OfRow, StoredDeadLetter, Tally};
use crate::core::record::{DeadLetter, RawRecord};
use crate::store::StoreError;
use crate::store::bookkeeping::{self, Spelling};
use crate::store::line::{Line, select};
use crate::store::statement::{PLACES_MAX, Statement, Statements, Value, ValueKind};

const DEAD_LETTERS: &str = "write_behind_dead_letters";

/// At most `limit` letters that match `filter`, ordered by place, after `after`.
///
/// # Errors
/// [`StoreError`].
pub async fn find<S: Statements>(
    store: &mut S,
    pipeline: &str,
    filter: &Filter,
    after: Option<&StoredDeadLetter>,
    limit: u32,
) -> Result<Vec<StoredDeadLetter>, StoreError> {
    const COLUMNS: &[ValueKind] = &[
        ValueKind::Text,
        ValueKind::Text,
        ValueKind::Integer,
        ValueKind::Integer,
        ValueKind::Bytes,
        ValueKind::Bytes,
        ValueKind::Text,
        ValueKind::Text,
        ValueKind::Text,
        ValueKind::Integer,
        ValueKind::Text,
    ];
    let dialect = store.dialect();
    let all = format!(
        r#"SELECT cluster, topic, "partition", record_offset, record_key, record_value, {}, reason,
            "sqlstate", {}, state FROM write_behind_dead_letters"#,
        dialect.headers, dialect.failed_at
    );
    let mut statement = Statement::new(dialect, COLUMNS).add(&all, []);
    statement = statement.filtered(dialect, pipeline, filter);
    if let Some(after) = after {
        statement = statement.add(
            r#" AND (cluster, topic, "partition", record_offset) > (?, ?, ?, ?)"#,
            [
                after.scope.cluster.clone().into(),
                after.scope.topic.clone().into(),
                i64::from(after.partition().0).into(),
                after.offset().0.into(),
            ],
        );
    }
    let order = r#" ORDER BY cluster, topic, "partition", record_offset LIMIT ?"#;
    let statement = statement.add(order, [i64::from(limit).into()]);
    select(store, statement, DEAD_LETTERS, |line| letter(pipeline, line)).await
}

/// The places of a topic's letters in the log, and each one's state.
///
/// # Errors
/// [`StoreError`].
pub async fn places<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
) -> Result<Vec<(Partition, Offset, DeadLetterState)>, StoreError> {
    const COLUMNS: &[ValueKind] = &[ValueKind::Integer, ValueKind::Integer, ValueKind::Text];
    let (cluster, topic) = (Some(scope.cluster.clone()), Some(scope.topic.clone()));
    let filter = Filter { cluster, topic, ..Filter::default() };
    let dialect = store.dialect();
    let statement = Statement::new(dialect, COLUMNS)
        .add(r#"SELECT "partition", record_offset, state FROM write_behind_dead_letters"#, [])
        .filtered(dialect, &scope.pipeline, &filter);
    let place =
        |line: &mut Line| Some((line.partition()?, line.offset()?, line.text()?.parse().ok()?));
    select(store, statement, DEAD_LETTERS, place).await
}

/// How many letters match `filter`, by topic and state.
///
/// # Errors
/// [`StoreError`].
pub async fn tally<S: Statements>(
    store: &mut S,
    pipeline: &str,
    filter: &Filter,
) -> Result<Vec<Tally>, StoreError> {
    const COLUMNS: &[ValueKind] = &[ValueKind::Text, ValueKind::Text, ValueKind::Integer];
    let dialect = store.dialect();
    let statement = Statement::new(dialect, COLUMNS)
        .add("SELECT topic, state, count(*) FROM write_behind_dead_letters", [])
        .filtered(dialect, pipeline, filter)
        .add(" GROUP BY topic, state ORDER BY topic, state", []);
    let tally = |line: &mut Line| {
        let (topic, state) = (line.text()?, line.text()?.parse().ok()?);
        Some(Tally { topic, state, letters: u64::try_from(line.integer()?).ok()? })
    };
    select(store, statement, DEAD_LETTERS, tally).await
}

/// The later letters of the same row as `letter`.
pub(crate) async fn behind<S: Statements>(
    store: &mut S,
    letter: &StoredDeadLetter,
) -> Result<OfRow, StoreError> {
    const COLUMNS: &[ValueKind] = &[ValueKind::Integer, ValueKind::Text];
    let key = letter.dead_letter.record.key.as_deref().map(<[u8]>::to_vec);
    let statement = Statement::new(store.dialect(), COLUMNS)
        .add("SELECT record_offset, state FROM write_behind_dead_letters", [])
        .of_partition(&letter.scope, letter.partition())
        .add(" AND record_offset > ?", [letter.offset().0.into()])
        .add(" AND record_key = ?", [Value::Bytes(key)]);
    let place = |line: &mut Line| Some((line.offset()?, line.text()?.parse().ok()?));
    Ok(select(store, statement, DEAD_LETTERS, place).await?.into_iter().collect())
}

/// Locks the partition's offset, as every transaction on the partition does first, and reads it;
/// `None`: the database does not know the partition.
pub(crate) async fn lock<S: Statements>(
    store: &mut S,
    letter: &StoredDeadLetter,
) -> Result<Option<NextOffset>, StoreError> {
    let dialect = store.dialect();
    let statement = Statement::new(dialect, &[])
        .add("UPDATE write_behind_offsets SET next_offset = next_offset", [])
        .of_partition(&letter.scope, letter.partition());
    store.perform(statement).await?;
    let statement = Statement::new(dialect, &[ValueKind::Integer])
        .add("SELECT next_offset FROM write_behind_offsets", [])
        .of_partition(&letter.scope, letter.partition());
    Ok(select(store, statement, "write_behind_offsets", Line::next_offset).await?.pop())
}

/// Closes the letter if it is open; returns whether it was.
pub(crate) async fn close<S: Statements>(
    store: &mut S,
    letter: &StoredDeadLetter,
    state: DeadLetterState,
) -> Result<bool, StoreError> {
    let statement = Statement::new(store.dialect(), &[])
        .add("UPDATE write_behind_dead_letters SET state = ?", [state.as_str().to_owned().into()])
        .of_partition(&letter.scope, letter.partition())
        .add(" AND record_offset = ? AND state = 'open'", [letter.offset().0.into()]);
    Ok(store.perform(statement).await? == 1)
}

/// Stores why the letter was refused again; it stays open.
///
/// # Errors
/// [`StoreError`].
pub async fn refused_again<S: Statements>(
    store: &mut S,
    letter: &StoredDeadLetter,
    reason: &str,
    sqlstate: Option<&str>,
) -> Result<(), StoreError> {
    let sqlstate = Value::Text(sqlstate.map(str::to_owned));
    let statement = |dialect, spelling| {
        Statement::new(dialect, &[])
            .add(
                r#"UPDATE write_behind_dead_letters SET reason = ?, "sqlstate" = ?"#,
                [bookkeeping::reason(reason, spelling).into(), sqlstate.clone()],
            )
            .of_partition(&letter.scope, letter.partition())
            .add(" AND record_offset = ? AND state = 'open'", [letter.offset().0.into()])
    };
    let dialect = store.dialect();
    let stored = store.perform(statement(dialect, Spelling::AsTheyAre)).await;
    if let Err(StoreError::Stop(_)) = stored {
        // The database's encoding may lack a character.
        store.perform(statement(dialect, Spelling::Ascii)).await?;
        return Ok(());
    }
    stored.map(|_| ())
}

/// Discards those of `letters` that are open; returns how many were.
///
/// # Errors
/// [`StoreError`]: some may have been discarded.
pub async fn discard<S: Statements>(
    store: &mut S,
    letters: &[StoredDeadLetter],
) -> Result<u64, StoreError> {
    let places: Vec<_> = letters
        .iter()
        .map(|letter| (letter.scope.clone(), letter.partition(), letter.offset()))
        .collect();
    let mut discarded = 0;
    for places in places.chunks(PLACES_MAX) {
        let pipeline = places[0].0.pipeline.clone();
        let statement = Statement::new(store.dialect(), &[])
            .add("UPDATE write_behind_dead_letters SET state = 'discarded'", [])
            .add(" WHERE pipeline = ? AND state = 'open'", [pipeline.into()])
            .one_of(places);
        discarded += store.perform(statement).await?;
    }
    Ok(discarded)
}

/// Deletes up to 200 closed letters that were set aside before `before`, in seconds since 1970;
/// returns how many. A letter behind an open one of the same row stays: a replay of the open one
/// must know that the later record was not applied.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_old<S: Statements>(
    store: &mut S,
    pipeline: &str,
    before: i64,
) -> Result<u64, StoreError> {
    const COLUMNS: &[ValueKind] =
        &[ValueKind::Text, ValueKind::Text, ValueKind::Integer, ValueKind::Integer];
    let dialect = store.dialect();
    let old = format!(
        r#"SELECT cluster, topic, "partition", record_offset FROM write_behind_dead_letters AS l
            WHERE pipeline = ? AND state <> 'open' AND {} < ? AND NOT EXISTS (
                SELECT 1 FROM write_behind_dead_letters AS o
                WHERE o.pipeline = l.pipeline AND o.cluster = l.cluster AND o.topic = l.topic
                    AND o."partition" = l."partition" AND o.record_offset < l.record_offset
                    AND o.state = 'open' AND o.record_key = l.record_key)
            ORDER BY cluster, topic, "partition", record_offset LIMIT {PLACES_MAX}"#,
        dialect.failed_at
    );
    let pipeline = pipeline.to_owned();
    let old = Statement::new(dialect, COLUMNS).add(&old, [pipeline.clone().into(), before.into()]);
    let place = |line: &mut Line| {
        let (cluster, topic) = (line.text()?, line.text()?);
        let scope = BookkeepingKey { pipeline: pipeline.clone(), cluster, topic };
        Some((scope, line.partition()?, line.offset()?))
    };
    let places = select(store, old, DEAD_LETTERS, place).await?;
    if places.is_empty() {
        return Ok(0);
    }
    let delete = Statement::new(dialect, &[])
        .add("DELETE FROM write_behind_dead_letters", [])
        .add(" WHERE pipeline = ? AND state <> 'open'", [pipeline.clone().into()])
        .one_of(&places);
    store.perform(delete).await
}

/// The offset up to which the partition's letters were copied; `None`: none was.
///
/// # Errors
/// [`StoreError`].
pub async fn copied<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
    partition: Partition,
) -> Result<Option<NextOffset>, StoreError> {
    let statement = Statement::new(store.dialect(), &[ValueKind::Integer])
        .add("SELECT next_offset FROM write_behind_dead_letter_copies", [])
        .of_partition(scope, partition);
    Ok(select(store, statement, "write_behind_dead_letter_copies", Line::next_offset).await?.pop())
}

/// Stores that the partition's letters were copied up to `next`.
///
/// # Errors
/// [`StoreError`]; also if another process has just stored the partition's first copy.
pub async fn note_copied<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
    partition: Partition,
    next: NextOffset,
) -> Result<(), StoreError> {
    let dialect = store.dialect();
    let statement = Statement::new(dialect, &[])
        .add("UPDATE write_behind_dead_letter_copies SET next_offset = ?", [next.0.into()])
        .of_partition(scope, partition);
    if store.perform(statement).await? > 0 {
        return Ok(());
    }
    let insert = r#"INSERT INTO write_behind_dead_letter_copies
        (pipeline, cluster, topic, "partition", next_offset) VALUES (?, ?, ?, ?, ?)"#;
    let statement = Statement::new(dialect, &[]).add(
        insert,
        [
            scope.pipeline.clone().into(),
            scope.cluster.clone().into(),
            scope.topic.clone().into(),
            i64::from(partition.0).into(),
            next.0.into(),
        ],
    );
    store.perform(statement).await?;
    Ok(())
}

fn letter(pipeline: &str, line: &mut Line) -> Option<StoredDeadLetter> {
    let (cluster, topic) = (line.text()?, line.text()?);
    let record = RawRecord {
        partition: line.partition()?,
        offset: line.offset()?,
        key: line.nullable_bytes()?.map(Into::into),
        value: line.nullable_bytes()?.map(Into::into),
        headers: headers(&line.text()?)?,
    };
    let (reason, sqlstate) = (line.text()?, line.nullable_text()?);
    Some(StoredDeadLetter {
        scope: BookkeepingKey { pipeline: pipeline.to_owned(), cluster, topic },
        dead_letter: DeadLetter { record, reason, sqlstate },
        failed_at: line.integer()?,
        state: line.text()?.parse().ok()?,
    })
}

type Headers = Vec<(String, Option<Box<[u8]>>)>;

/// The headers, from what [`super::bookkeeping::headers`] made of them.
fn headers(json: &str) -> Option<Headers> {
    #[derive(Deserialize)]
    struct Header {
        name: String,
        value: Option<String>,
        base64: Option<String>,
    }
    let headers: Vec<Header> = serde_json::from_str(json).ok()?;
    let bytes = |header: Header| {
        let value = match header.base64 {
            Some(base64) => Some(STANDARD.decode(base64).ok()?),
            None => header.value.map(String::into_bytes),
        };
        Some((header.name, value.map(Into::into)))
    };
    headers.into_iter().map(bytes).collect()
}
