//! Everything around a table that may change what is written to it: triggers, rules, foreign keys,
//! partitions. Each is harmless, a warning or a refusal, in every database alike.

/// Something around a table. Its name is the database's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Surrounding {
    /// A trigger that sees each row before it is stored.
    TriggerBefore,
    /// A trigger that may change rows of this table after they are stored.
    TriggerAfter,
    /// A column that an update sets by itself.
    SetsItself,
    /// A constraint that drops rows, or values, instead of refusing them.
    Drops,
    /// A rule, which replaces a statement by another one.
    Rule,
    /// A partition that a crash empties.
    UnloggedPartition,
    /// A partition on another server.
    ForeignPartition,
    /// It is published with its updates or deletes, but has nothing to name a row by.
    NoReplicaIdentity,
    /// Only some of its columns are published, and the replica identity is not among them.
    HalfPublished,
    /// A reference to this table, by which other rows change when a row here is deleted.
    ChangesOthers,
    /// A reference to another table, by which rows here are deleted or changed.
    ChangedByOthers,
}

/// What to tell of a table with these surroundings, each with its name.
///
/// # Errors
/// Why the table can't be written to, and what to do.
pub fn judge(found: &[(Surrounding, String)]) -> Result<Vec<String>, String> {
    let mut kinds: Vec<Surrounding> = found.iter().map(|(kind, _)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let names = |kind| {
        let names = found.iter().filter(|(of, _)| *of == kind).map(|(_, name)| &**name);
        names.collect::<Vec<_>>().join(", ")
    };
    kinds.into_iter().filter_map(|kind| told(kind, &names(kind)).transpose()).collect()
}

/// A warning or a refusal; `None`: it is harmless.
fn told(kind: Surrounding, names: &str) -> Result<Option<String>, String> {
    match kind {
        Surrounding::TriggerBefore => Ok(Some(format!(
            "triggers see each row before it is stored ({names}): where one changes or drops a row, \
             the table is not what the log says, and only `verify` tells"
        ))),
        Surrounding::TriggerAfter => Ok(Some(format!(
            "triggers may change rows after they are stored ({names}): where one does, the table is \
             not what the log says, and only `verify` tells"
        ))),
        Surrounding::SetsItself => Ok(Some(format!(
            "columns set themselves when a row is updated ({names}): a record that names one decides, \
             any other changes it, too, and `verify` tells it as different if an earlier record set it"
        ))),
        Surrounding::Drops => Err(format!(
            "declares {names}, by which a row that violates a constraint is dropped, or drops another \
             one, without a word: declare its constraints without ON CONFLICT"
        )),
        Surrounding::Rule => Err(format!(
            "has rules ({names}), which replace what is written by something else: use triggers \
             instead, or write to a table without rules"
        )),
        Surrounding::UnloggedPartition => Err(format!(
            "has UNLOGGED partitions ({names}): a crash empties them, while the offsets say that \
             their rows are there; run ALTER TABLE … SET LOGGED on each"
        )),
        Surrounding::ForeignPartition => Err(format!(
            "has foreign tables as partitions ({names}), which rows can't be upserted into; detach \
             them, or write to a table without them"
        )),
        Surrounding::NoReplicaIdentity => Err(format!(
            "is published with its updates or deletes, but has no replica identity ({names}), so \
             Postgres refuses each of them; run ALTER TABLE … REPLICA IDENTITY USING INDEX …, or \
             … FULL, or add a primary key"
        )),
        Surrounding::HalfPublished => Err(format!(
            "is published in part ({names}), by a filter of other columns than those of its replica \
             identity, or without one of these, so Postgres refuses each update and delete; change \
             the publication, or run ALTER TABLE … REPLICA IDENTITY …"
        )),
        Surrounding::ChangesOthers => Ok(Some(format!(
            "a delete of a row deletes or changes other rows, too ({names}): those that come from a \
             log, `verify` tells as different"
        ))),
        Surrounding::ChangedByOthers => Ok(Some(format!(
            "its rows are deleted or changed with rows of other tables ({names}), which the log does \
             not know: `verify` tells them as different"
        ))),
    }
}
