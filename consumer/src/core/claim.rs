//! The verdict on a route's table: whether it is the one that the offsets speak of.
//!
//! A topic's offsets are meaningless for another table, which lacks the rows written before them.
//! So the claim that a topic has on a table names the table's identity, and a route that finds
//! another table is refused. A person decides which of the two is right.

use std::fmt::Write as _;

use write_behind_shared::{NextOffset, Partition};

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::table::Table;
use crate::core::table::identity::Likeness;

/// The claim of a topic on a table, as the database noted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The table's name in SQL.
    pub table: String,
    /// Whose it is.
    pub scope: BookkeepingKey,
    /// Its identity; `None`: an earlier consumer noted none.
    pub identity: Option<String>,
}

/// What is known of a route and its table.
#[derive(Clone, Copy, Debug)]
pub struct ClaimFacts<'a> {
    /// The table's name, as configured.
    pub name: &'a str,
    /// The table, as the catalogue describes it.
    pub table: &'a Table,
    /// The route's pipeline, cluster and topic.
    pub scope: &'a BookkeepingKey,
    /// The claims on the table, and those of the topic.
    pub claims: &'a [Claim],
    /// Where the database stands in the topic.
    pub next: &'a [(Partition, NextOffset)],
    /// Whether the table is empty, once that was asked.
    pub is_empty: Option<bool>,
    /// Whether the route is at work, and was let go on once already. Then only what is certain stops
    /// it: a table that the log empties now and then is altered, too.
    pub is_running: bool,
}

/// What to do about a route's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimVerdict {
    /// It is the table that the offsets speak of.
    Ours,
    /// It may be written to, once the claim is noted.
    Note,
    /// The same, and a person should know that it is empty and was changed.
    NoteEmptied(EmptiedTable),
    /// It depends on whether the table is empty.
    AskWhetherEmpty,
    /// It may not be written to.
    Refuse(ClaimRefusal),
}

/// Why a route may not write to its table, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefusal {
    /// Another topic's records go there.
    #[error("{}", owned(.table, .owner, .asks))]
    Owned {
        /// The table's name, as configured.
        table: String,
        /// Whose it is.
        owner: BookkeepingKey,
        /// Who wants it.
        asks: BookkeepingKey,
    },
    /// The topic was written to another table.
    #[error(
        "the pipeline {:?} has written topic {} to {before} ({}), and {now} would lack that. Correct \
         the route's `table`{hint}; or, if {now} holds the rows of {before} now, run `write-behind \
         hand-over go-on`; or, to fill {now} from the beginning of the log, empty it and run \
         `write-behind hand-over begin`",
        .scope.pipeline, .scope.topic, up_to(.next)
    )]
    AnotherTable {
        /// The route's pipeline, cluster and topic.
        scope: BookkeepingKey,
        /// The name of the table that was written to.
        before: String,
        /// The name of the route's table.
        now: String,
        /// How the name may have come to mean another table.
        hint: &'static str,
        /// Where the database stands.
        next: Vec<(Partition, NextOffset)>,
    },
    /// A table of the same name was dropped, and this one was created.
    #[error(
        "{now} is not the table of that name to which the pipeline {:?} has written topic {} ({}): \
         that one was dropped or renamed, and this one would lack its rows. Put the earlier table \
         back under its name; or, if {now} holds its rows now, run `write-behind hand-over go-on`; \
         or, to fill {now} from the beginning of the log, empty it and run `write-behind hand-over \
         begin`",
        .scope.pipeline, .scope.topic, up_to(.next)
    )]
    Recreated {
        /// The route's pipeline, cluster and topic.
        scope: BookkeepingKey,
        /// The table's name.
        now: String,
        /// Where the database stands.
        next: Vec<(Partition, NextOffset)>,
    },
    /// The table is empty, and may be another one.
    #[error("{}", .0.text(RESTORE))]
    Emptied(EmptiedTable),
}

/// An empty table to which records were written, and which was changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmptiedTable {
    /// The route's pipeline, cluster and topic.
    pub scope: BookkeepingKey,
    /// The table's name.
    pub now: String,
    /// Where the database stands.
    pub next: Vec<(Partition, NextOffset)>,
}

/// The mend of a table that is empty for reasons that only a person knows.
const RESTORE: &str = "Restore its rows; or, if it is empty because the log has deleted every row, run \
                       `write-behind hand-over go-on`; or,";
/// The most partitions that a message names.
const NAMED_MAX: usize = 4;

/// Judges a route's claim on its table.
#[must_use]
pub fn judge_claim(facts: &ClaimFacts<'_>) -> ClaimVerdict {
    let ClaimFacts { table, scope, claims, .. } = *facts;
    let identity = &table.identity;
    let likeness = |claim: &Claim| identity.compared(claim.identity.as_deref());
    let is_it = |claim: &Claim| {
        identity.is_certain && matches!(likeness(claim), Likeness::Same | Likeness::Doubtful)
    };
    // The same table may be noted in other words than today's, which then replace them.
    let is_noted = |claim: &Claim| {
        claim.table == table.sql_name && claim.identity.as_ref() == Some(&identity.text())
    };
    let on_it = |claim: &&Claim| claim.table == table.sql_name || is_it(claim);
    if let Some(other) = claims.iter().filter(on_it).find(|claim| claim.scope != *scope) {
        return ClaimVerdict::Refuse(ClaimRefusal::Owned {
            table: facts.name.to_owned(),
            owner: other.scope.clone(),
            asks: scope.clone(),
        });
    }
    let ours = || claims.iter().filter(|claim| claim.scope == *scope);
    let written = facts.next.iter().any(|(_, next)| *next > NextOffset::ZERO);
    let of_the_name = ours().find(|claim| claim.table == table.sql_name);
    if let Some(same) = ours().find(|claim| is_it(claim)) {
        return match (likeness(same), facts.is_empty) {
            (Likeness::Doubtful, None) if written => ClaimVerdict::AskWhetherEmpty,
            // TRUNCATE; or a rebuild or a new partition, after the log had deleted every row.
            (Likeness::Doubtful, Some(true)) if written => {
                ClaimVerdict::NoteEmptied(facts.emptied())
            }
            (Likeness::Same, _) if is_noted(same) && ours().count() == 1 => ClaimVerdict::Ours,
            // The table was renamed, and the route follows it; or it was rebuilt.
            _ => ClaimVerdict::Note,
        };
    }
    let Some(claim) = of_the_name else {
        return match ours().next() {
            Some(before) if written => ClaimVerdict::Refuse(facts.another_table(&before.table)),
            _ => ClaimVerdict::Note,
        };
    };
    match (likeness(claim), facts.is_empty) {
        (Likeness::Same, _) if is_noted(claim) && ours().count() == 1 => ClaimVerdict::Ours,
        (Likeness::Same | Likeness::Unknown, _) | (Likeness::Doubtful, Some(false)) => {
            ClaimVerdict::Note
        }
        (Likeness::Doubtful | Likeness::Other, _) if !written => ClaimVerdict::Note,
        (Likeness::Other, _) => ClaimVerdict::Refuse(ClaimRefusal::Recreated {
            scope: scope.clone(),
            now: table.sql_name.clone(),
            next: facts.next.to_vec(),
        }),
        (Likeness::Doubtful, None) => ClaimVerdict::AskWhetherEmpty,
        (Likeness::Doubtful, Some(true)) if facts.is_running => {
            ClaimVerdict::NoteEmptied(facts.emptied())
        }
        (Likeness::Doubtful, Some(true)) => {
            ClaimVerdict::Refuse(ClaimRefusal::Emptied(facts.emptied()))
        }
    }
}

impl ClaimFacts<'_> {
    fn emptied(&self) -> EmptiedTable {
        EmptiedTable {
            scope: self.scope.clone(),
            now: self.table.sql_name.clone(),
            next: self.next.to_vec(),
        }
    }

    fn another_table(&self, before: &str) -> ClaimRefusal {
        let (now, before) = (self.table.sql_name.clone(), before.to_owned());
        let bare = |name: &str| name.rsplit_once("\".\"").map(|(_, table)| table.to_owned());
        let same_name = bare(&now).is_some() && bare(&now) == bare(&before);
        let hint = if same_name { " (write it with its schema)" } else { "" };
        ClaimRefusal::AnotherTable {
            scope: self.scope.clone(),
            before,
            now,
            hint,
            next: self.next.to_vec(),
        }
    }
}

impl EmptiedTable {
    /// What a person should know where the route goes on.
    #[must_use]
    pub fn warning(&self) -> String {
        self.text("If the log has deleted every row, all is well. Else restore its rows, or,")
    }

    fn text(&self, mend: &str) -> String {
        format!(
            "{} is empty, although the pipeline {:?} has written topic {} to it ({}), and it was \
             emptied by TRUNCATE, rebuilt, or dropped and created again since. {mend} to fill it \
             from the beginning of the log, run `write-behind hand-over begin`",
            self.now,
            self.scope.pipeline,
            self.scope.topic,
            up_to(&self.next)
        )
    }
}

fn owned(table: &str, owner: &BookkeepingKey, asks: &BookkeepingKey) -> String {
    let BookkeepingKey { pipeline, cluster, topic } = owner;
    let same_pipeline = *pipeline == asks.pipeline && *cluster == asks.cluster;
    if same_pipeline {
        return format!(
            "table {table} is written from topic {topic:?} by a route of this pipeline: two logs \
             have no order between them, so give each route a table of its own. If topic {} \
             replaces topic {topic}, run `write-behind hand-over begin --from-topic {topic}` once \
             that one is drained",
            asks.topic
        );
    }
    let way = if *topic == asks.topic {
        format!(
            "If this pipeline is that one under another name, or its cluster has moved with its log, \
             end that one and run `write-behind hand-over go-on --from-pipeline {pipeline}`"
        )
    } else {
        format!(
            "When the other pipeline has ended for good, empty the table and run `write-behind \
             hand-over begin --from-pipeline {pipeline} --from-topic {topic}`"
        )
    };
    format!(
        "table {table} is written by the pipeline {pipeline:?} from topic {topic:?} of cluster \
         {cluster:?}: two logs have no order between them. Give this route a table of its own. {way}"
    )
}

/// How far the database is, in words.
#[must_use]
pub fn up_to(next: &[(Partition, NextOffset)]) -> String {
    let written: Vec<_> = next.iter().filter(|(_, next)| *next > NextOffset::ZERO).collect();
    let mut said = String::new();
    for (at, (partition, next)) in written.iter().take(NAMED_MAX).enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(said, "{comma}partition {partition} up to offset {next}");
    }
    if written.len() > NAMED_MAX {
        let _ = write!(said, ", and {} more", written.len() - NAMED_MAX);
    }
    said
}

#[cfg(test)]
#[path = "tests/claim.rs"]
mod tests;
