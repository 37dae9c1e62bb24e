//! Where the database stands in a topic's partitions, and the writers it has seen there.

use uuid::Uuid;
use write_behind_shared::{NextOffset, Offset, Partition, WriteId};

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::store::statement::{Statement, Statements, Value, ValueKind, unreadable};
use crate::store::{Known, Position, StoreError};

/// Those of `asked` that the database knows, each with its writers.
pub(super) async fn positions<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
    asked: &[Partition],
) -> Result<Vec<Position>, StoreError> {
    let known = all(store, scope).await?;
    // A topic may have ten thousand writers a partition.
    let writers = if asked.is_empty() { Vec::new() } else { writers(store, scope, asked).await? };
    Ok(positions_of(asked, known, writers))
}

/// Those of `known` that are asked for, each with its writers.
fn positions_of(
    asked: &[Partition],
    known: Vec<Position>,
    writers: Vec<WriterSeen>,
) -> Vec<Position> {
    let mut positions: Vec<_> =
        known.into_iter().filter(|position| asked.contains(&position.partition)).collect();
    for seen in writers {
        let position = positions.iter_mut().find(|position| position.partition == seen.partition);
        if let Some(position) = position {
            position.writers.push(seen);
        }
    }
    positions
}

/// The next offset of each span's partition.
pub(super) async fn next_offsets<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
    spans: &[Span],
) -> Result<Vec<Option<NextOffset>>, StoreError> {
    let known = all(store, scope).await?;
    let of = |span: &Span| known.iter().find(|position| position.partition == span.partition);
    Ok(spans.iter().map(|span| of(span).map(|position| position.next)).collect())
}

/// All partitions of a topic, each with its last record, as of one moment.
pub(super) async fn known<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
) -> Result<Vec<Known>, StoreError> {
    // -1 stands for NULL: no record has an offset below 0.
    let statement = Statement::new(store.dialect(), &[ValueKind::Integer; 5]).add(
        r#"SELECT o."partition", o.next_offset, o.partitions,
                coalesce(l.record_offset, -1), coalesce(l.record_timestamp, -1)
            FROM write_behind_offsets o LEFT JOIN write_behind_last_records l
                ON l.pipeline = o.pipeline AND l.cluster = o.cluster AND l.topic = o.topic
                AND l."partition" = o."partition"
            WHERE o.pipeline = ? AND o.cluster = ? AND o.topic = ? ORDER BY o."partition""#,
        scope.values(),
    );
    let lines = store.select(statement).await?;
    let known = |line: &Vec<Value>| {
        let [next, partitions, offset, timestamp] = integers(&line[1..])?;
        let partition = partition(&line[0])?;
        let last = LastRecord { partition, offset: Offset(offset), timestamp };
        Some(Known {
            partition,
            next: NextOffset(next),
            partitions: i32::try_from(partitions).ok()?,
            last_record: (offset >= 0).then_some(last),
        })
    };
    read("write_behind_offsets", &lines, known)
}

/// Inserts where each partition begins. A partition that has a row keeps it.
pub(super) async fn begin_at<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
    positions: &[Position],
) -> Result<(), StoreError> {
    let dialect = store.dialect();
    for position in positions {
        let statement = Statement::new(dialect, &[])
            .add(
                r#"INSERT INTO write_behind_offsets
                    (pipeline, cluster, topic, "partition", next_offset, partitions)
                VALUES (?, ?, ?"#,
                scope.values(),
            )
            .add(
                ", ?, ?, ?)",
                [
                    i64::from(position.partition.0).into(),
                    position.next.0.into(),
                    i64::from(position.partitions).into(),
                ],
            )
            .add(dialect.unless_there, []);
        store.perform(statement).await?;
    }
    Ok(())
}

/// Forgets the writers of a partition whose last records stand at `up_to` or before it.
pub(super) async fn forget_writers<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
    partition: Partition,
    up_to: Offset,
) -> Result<(), StoreError> {
    let statement = Statement::new(store.dialect(), &[])
        .add("DELETE FROM write_behind_writers", [])
        .of_partition(scope, partition)
        .add(" AND last_offset <= ?", [up_to.0.into()]);
    store.perform(statement).await.map(|_| ())
}

/// All partitions of a topic, without their writers.
async fn all<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
) -> Result<Vec<Position>, StoreError> {
    let statement = Statement::new(store.dialect(), &[ValueKind::Integer; 3])
        .add(r#"SELECT "partition", next_offset, partitions FROM write_behind_offsets"#, [])
        .of_topic(scope)
        .add(r#" ORDER BY "partition""#, []);
    let lines = store.select(statement).await?;
    let position = |line: &Vec<Value>| {
        let [next, partitions] = integers(&line[1..])?;
        Some(Position {
            partition: partition(&line[0])?,
            next: NextOffset(next),
            partitions: i32::try_from(partitions).ok()?,
            writers: Vec::new(),
        })
    };
    read("write_behind_offsets", &lines, position)
}

async fn writers<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
    partitions: &[Partition],
) -> Result<Vec<WriterSeen>, StoreError> {
    const COLUMNS: &[ValueKind] =
        &[ValueKind::Integer, ValueKind::Integer, ValueKind::Integer, ValueKind::Text];
    let select =
        r#"SELECT "partition", last_sequence, last_offset, writer FROM write_behind_writers"#;
    let statement = Statement::new(store.dialect(), COLUMNS).add(select, []).of_topic(scope);
    let mut statement = statement.add(r#" AND "partition" IN ("#, []);
    for (place, partition) in partitions.iter().enumerate() {
        let separated = if place == 0 { "?" } else { ", ?" };
        statement = statement.add(separated, [i64::from(partition.0).into()]);
    }
    let lines = store.select(statement.add(")", [])).await?;
    let writer = |line: &Vec<Value>| {
        let [sequence, at] = integers(&line[1..3])?;
        let Value::Text(Some(writer)) = &line[3] else { return None };
        let (writer, sequence) = (Uuid::parse_str(writer).ok()?, u64::try_from(sequence).ok()?);
        let (partition, last) = (partition(&line[0])?, WriteId { writer, sequence });
        Some(WriterSeen { partition, last, at: Offset(at) })
    };
    read("write_behind_writers", &lines, writer)
}

/// The rows of a bookkeeping table, each read by `line`.
fn read<T>(
    table: &str,
    lines: &[Vec<Value>],
    line: impl Fn(&Vec<Value>) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let read: Option<Vec<T>> = lines.iter().map(line).collect();
    read.ok_or_else(|| unreadable(table))
}

fn partition(value: &Value) -> Option<Partition> {
    let [partition] = integers(std::slice::from_ref(value))?;
    i32::try_from(partition).ok().map(Partition)
}

fn integers<const N: usize>(values: &[Value]) -> Option<[i64; N]> {
    let integer = |value: &Value| match value {
        Value::Integer(integer) => Some(*integer),
        Value::Text(_) | Value::Bytes(_) => None,
    };
    let integers: Vec<i64> = values.iter().map(integer).collect::<Option<_>>()?;
    integers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_known_of_the_partition_that_it_has_written_to() {
        let position = |partition| Position {
            partition: Partition(partition),
            next: NextOffset(5),
            partitions: 3,
            writers: Vec::new(),
        };
        let seen = |partition, sequence| WriterSeen {
            partition: Partition(partition),
            last: WriteId { writer: Uuid::from_u128(1), sequence },
            at: Offset(4),
        };
        let asked = [Partition(0), Partition(1)];
        let known = vec![position(0), position(1), position(2)];
        let writers = vec![seen(1, 7), seen(2, 9)];
        let found = positions_of(&asked, known, writers);
        let written = Position { writers: vec![seen(1, 7)], ..position(1) };
        assert_eq!(found, [position(0), written]);
    }
}
