//! The table of dead letters: found, counted, closed and deleted; and how far they were copied.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::dead_letters::{DeadLetterState, Filter, OfRow, StoredDeadLetter, Tally};
use crate::core::record::{DeadLetter, RawRecord};
use crate::store::bookkeeping::{self, Spelling};
use crate::store::statement::{self, PLACES_MAX, Statement, Statements, Value, ValueKind};
use crate::store::{AnyStore, StoreError};

/// At most `limit` letters that match `filter`, ordered by place, after `after`.
///
/// # Errors
/// [`StoreError`].
pub async fn find(
    store: &mut AnyStore,
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
    let select = format!(
        r#"SELECT cluster, topic, "partition", record_offset, record_key, record_value, {}, reason,
            "sqlstate", {}, state FROM write_behind_dead_letters"#,
        dialect.headers, dialect.failed_at
    );
    let mut statement = Statement::new(dialect, COLUMNS).add(&select, []);
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
    let lines = store.select(statement).await?;
    let letters = lines.into_iter().map(|line| letter(pipeline, line));
    letters.collect::<Option<_>>().ok_or_else(unreadable)
}

/// The places of a topic's letters in the log, and each one's state.
///
/// # Errors
/// [`StoreError`].
pub async fn places(
    store: &mut AnyStore,
    scope: &BookkeepingKey,
) -> Result<Vec<(Partition, Offset, DeadLetterState)>, StoreError> {
    const COLUMNS: &[ValueKind] = &[ValueKind::Integer, ValueKind::Integer, ValueKind::Text];
    let (cluster, topic) = (Some(scope.cluster.clone()), Some(scope.topic.clone()));
    let filter = Filter { cluster, topic, ..Filter::default() };
    let dialect = store.dialect();
    let statement = Statement::new(dialect, COLUMNS)
        .add(r#"SELECT "partition", record_offset, state FROM write_behind_dead_letters"#, [])
        .filtered(dialect, &scope.pipeline, &filter);
    let lines = store.select(statement).await?;
    let place = |line: Vec<Value>| {
        let mut line = line.into_iter();
        let partition = Partition(i32::try_from(integer(line.next())?).ok()?);
        Some((partition, Offset(integer(line.next())?), text(line.next())??.parse().ok()?))
    };
    lines.into_iter().map(place).collect::<Option<_>>().ok_or_else(unreadable)
}

/// How many letters match `filter`, by topic and state.
///
/// # Errors
/// [`StoreError`].
pub async fn tally(
    store: &mut AnyStore,
    pipeline: &str,
    filter: &Filter,
) -> Result<Vec<Tally>, StoreError> {
    const COLUMNS: &[ValueKind] = &[ValueKind::Text, ValueKind::Text, ValueKind::Integer];
    let dialect = store.dialect();
    let select = "SELECT topic, state, count(*) FROM write_behind_dead_letters";
    let statement = Statement::new(dialect, COLUMNS)
        .add(select, [])
        .filtered(dialect, pipeline, filter)
        .add(" GROUP BY topic, state ORDER BY topic, state", []);
    let lines = store.select(statement).await?;
    let tally = |line: Vec<Value>| {
        let mut line = line.into_iter();
        let (topic, state) = (text(line.next())??, text(line.next())??.parse().ok()?);
        Some(Tally { topic, state, letters: u64::try_from(integer(line.next())?).ok()? })
    };
    lines.into_iter().map(tally).collect::<Option<_>>().ok_or_else(unreadable)
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
    let lines = store.select(statement).await?;
    let place = |line: Vec<Value>| {
        let mut line = line.into_iter();
        Some((Offset(integer(line.next())?), text(line.next())??.parse().ok()?))
    };
    lines.into_iter().map(place).collect::<Option<_>>().ok_or_else(unreadable)
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
    let lines = store.select(statement).await?;
    let next = lines.into_iter().next().and_then(|line| integer(line.into_iter().next()));
    Ok(next.map(NextOffset))
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
pub async fn refused_again(
    store: &mut AnyStore,
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
pub async fn discard(
    store: &mut AnyStore,
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
pub async fn delete_old(
    store: &mut AnyStore,
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
    let select = Statement::new(dialect, COLUMNS);
    let select = select.add(&old, [pipeline.clone().into(), before.into()]);
    let lines = store.select(select).await?;
    let place = |line: Vec<Value>| {
        let mut line = line.into_iter();
        let (cluster, topic) = (text(line.next())??, text(line.next())??);
        let partition = Partition(i32::try_from(integer(line.next())?).ok()?);
        let scope = BookkeepingKey { pipeline: pipeline.clone(), cluster, topic };
        Some((scope, partition, Offset(integer(line.next())?)))
    };
    let places: Option<Vec<_>> = lines.into_iter().map(place).collect();
    let places = places.ok_or_else(unreadable)?;
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
pub async fn copied(
    store: &mut AnyStore,
    scope: &BookkeepingKey,
    partition: Partition,
) -> Result<Option<NextOffset>, StoreError> {
    let statement = Statement::new(store.dialect(), &[ValueKind::Integer])
        .add("SELECT next_offset FROM write_behind_dead_letter_copies", [])
        .of_partition(scope, partition);
    let lines = store.select(statement).await?;
    let next = lines.into_iter().next().and_then(|line| integer(line.into_iter().next()));
    Ok(next.map(NextOffset))
}

/// Stores that the partition's letters were copied up to `next`.
///
/// # Errors
/// [`StoreError`]; also if another process has just stored the partition's first copy.
pub async fn note_copied(
    store: &mut AnyStore,
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

fn letter(pipeline: &str, line: Vec<Value>) -> Option<StoredDeadLetter> {
    let mut line = line.into_iter();
    let (cluster, topic) = (text(line.next())??, text(line.next())??);
    let record = RawRecord {
        partition: Partition(i32::try_from(integer(line.next())?).ok()?),
        offset: Offset(integer(line.next())?),
        key: bytes(line.next())?.map(Into::into),
        value: bytes(line.next())?.map(Into::into),
        headers: headers(&text(line.next())??)?,
    };
    let (reason, sqlstate) = (text(line.next())??, text(line.next())?);
    Some(StoredDeadLetter {
        scope: BookkeepingKey { pipeline: pipeline.to_owned(), cluster, topic },
        dead_letter: DeadLetter { record, reason, sqlstate },
        failed_at: integer(line.next())?,
        state: text(line.next())??.parse().ok()?,
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

#[expect(clippy::needless_pass_by_value, reason = "the next value of a line")]
fn integer(value: Option<Value>) -> Option<i64> {
    if let Some(Value::Integer(integer)) = value { Some(integer) } else { None }
}

#[expect(clippy::option_option, reason = "a NULL and what is no text are two answers")]
fn text(value: Option<Value>) -> Option<Option<String>> {
    if let Some(Value::Text(text)) = value { Some(text) } else { None }
}

#[expect(clippy::option_option, reason = "a NULL and what are no bytes are two answers")]
fn bytes(value: Option<Value>) -> Option<Option<Vec<u8>>> {
    if let Some(Value::Bytes(bytes)) = value { Some(bytes) } else { None }
}

fn unreadable() -> StoreError {
    statement::unreadable("write_behind_dead_letters")
}
