//! Where the database stands in a topic's partitions, and the writers it has seen there.

use uuid::Uuid;
use write_behind_shared::{NextOffset, Offset, Partition, WriteId};

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::store::line::{Line, select};
use crate::store::statement::{Statement, Statements, ValueKind};
use crate::store::{AnyStore, Known, Position, StoreError};

const OFFSETS: &str = "write_behind_offsets";

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
    let known = |line: &mut Line| {
        let partition = line.partition()?;
        let (next, partitions) = (line.next_offset()?, i32::try_from(line.integer()?).ok()?);
        let (offset, timestamp) = (line.offset()?, line.integer()?);
        let last = LastRecord { partition, offset, timestamp };
        Some(Known { partition, next, partitions, last_record: (offset.0 >= 0).then_some(last) })
    };
    select(store, statement, OFFSETS, known).await
}

/// A pipeline's positions in a topic whose cluster is unknown. `None` if it has positions in topics
/// of this name in several clusters.
pub(crate) async fn positions_in_any_cluster(
    store: &mut AnyStore,
    pipeline: &str,
    topic: &str,
) -> Result<Option<Vec<(Partition, NextOffset)>>, StoreError> {
    const COLUMNS: &[ValueKind] = &[ValueKind::Integer, ValueKind::Integer, ValueKind::Text];
    let statement = Statement::new(store.dialect(), COLUMNS).add(
        r#"SELECT "partition", next_offset, cluster FROM write_behind_offsets
            WHERE pipeline = ? AND topic = ? ORDER BY "partition""#,
        [pipeline.to_owned().into(), topic.to_owned().into()],
    );
    let position = |line: &mut Line| Some(((line.partition()?, line.next_offset()?), line.text()?));
    let lines = select(store, statement, OFFSETS, position).await?;
    let is_of_one = lines.iter().all(|(_, cluster)| *cluster == lines[0].1);
    Ok(is_of_one.then(|| lines.into_iter().map(|(position, _)| position).collect()))
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
    let position = |line: &mut Line| {
        let (partition, next) = (line.partition()?, line.next_offset()?);
        let partitions = i32::try_from(line.integer()?).ok()?;
        Some(Position { partition, next, partitions, writers: Vec::new() })
    };
    select(store, statement, OFFSETS, position).await
}

async fn writers<S: Statements>(
    store: &mut S,
    scope: &BookkeepingKey,
    partitions: &[Partition],
) -> Result<Vec<WriterSeen>, StoreError> {
    const COLUMNS: &[ValueKind] =
        &[ValueKind::Integer, ValueKind::Integer, ValueKind::Integer, ValueKind::Text];
    let all = r#"SELECT "partition", last_sequence, last_offset, writer FROM write_behind_writers"#;
    let statement = Statement::new(store.dialect(), COLUMNS).add(all, []).of_topic(scope);
    let mut statement = statement.add(r#" AND "partition" IN ("#, []);
    for (place, partition) in partitions.iter().enumerate() {
        let separated = if place == 0 { "?" } else { ", ?" };
        statement = statement.add(separated, [i64::from(partition.0).into()]);
    }
    let writer = |line: &mut Line| {
        let (partition, sequence, at) = (line.partition()?, line.integer()?, line.offset()?);
        let (writer, sequence) =
            (Uuid::parse_str(&line.text()?).ok()?, u64::try_from(sequence).ok()?);
        Some(WriterSeen { partition, last: WriteId { writer, sequence }, at })
    };
    select(store, statement.add(")", []), "write_behind_writers", writer).await
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
