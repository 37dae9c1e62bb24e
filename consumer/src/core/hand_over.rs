//! The plan of a hand-over: what an operator's decision about a table, a topic or a pipeline's name
//! changes in the bookkeeping, and why it may not.
//!
//! Pure. A hand-over goes on from the offsets as they are, adopts those that the group has committed,
//! or begins at the beginning of the log. One that stays in a script must not act again: what it
//! would accept is named by number, and what is done already is refused.

use std::fmt::Write as _;

use write_behind_shared::{NextOffset, Partition};

use crate::core::assign::{PartitionFacts, Refusal, Verdict, judge};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::claim::Claim;
use crate::core::torn_keys::{RecordPlace, TornKeys};

/// Where the database stands in a partition, and where its log ends, if it is there.
pub type Stand = (Partition, NextOffset, Option<NextOffset>);

/// Where the records are written from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOverMode {
    /// From the offsets as they are: the table holds what they say.
    GoOn,
    /// From the offsets that the group has committed: the database knows none.
    Adopt,
    /// From the beginning of the log.
    Begin,
}

/// What is known before a hand-over.
#[derive(Clone, Debug)]
pub struct HandOverFacts<'a> {
    /// What the operator wants.
    pub mode: HandOverMode,
    /// Whose offsets or table it is: the route's own, or those of `--from-pipeline` and
    /// `--from-topic`.
    pub from: &'a BookkeepingKey,
    /// The route's pipeline, cluster and topic.
    pub to: &'a BookkeepingKey,
    /// The table's name in SQL.
    pub table: &'a str,
    /// The claims on the table.
    pub claims: &'a [Claim],
    /// Whether it has no rows.
    pub is_empty: bool,
    /// Whether it may have rows where the log is read from its beginning.
    pub keep_rows: bool,
    /// Members of the consumer groups concerned, by group.
    pub members: &'a [(String, usize)],
    /// The log of `from`.
    pub before: &'a [Stand],
    /// Where the database stands in the log of `to`.
    pub next: &'a [(Partition, NextOffset)],
    /// The facts of each partition of the route's topic, judged as if they were of `from`.
    pub partitions: &'a [(Partition, PartitionFacts)],
    /// How many open dead letters `to` has.
    pub open_letters: u64,
    /// The keys whose records wait in two partitions, if the number of partitions changed.
    pub torn_keys: Option<TornKeys>,
    /// The first record of the keys whose order may be lost.
    pub accept_disorder: Option<RecordPlace>,
    /// How many records the table may lack that the log has lost before they were written.
    pub accept_loss: u64,
}

/// What a hand-over does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Whose bookkeeping it was.
    pub from: BookkeepingKey,
    /// Whose it becomes.
    pub to: BookkeepingKey,
    /// Where the database must stand in the log of `from`, or nothing is done.
    pub seen: Vec<(Partition, NextOffset)>,
    /// Where each partition begins; `None`: where it stands.
    pub begins: Option<Vec<(Partition, NextOffset)>>,
    /// Where partitions stand from now on, if elsewhere.
    pub moves: Vec<(Partition, NextOffset)>,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// What it means, line by line.
    pub lines: Vec<String>,
}

/// Plans a hand-over.
///
/// # Errors
/// Why it would not be safe, and what to do.
pub fn plan(facts: &HandOverFacts<'_>) -> Result<HandOver, String> {
    let HandOverFacts { from, to, table, .. } = *facts;
    if let Some((group, members)) = facts.members.iter().find(|(_, members)| *members > 0) {
        return Err(format!(
            "{members} consumers of the group {group} are running: end them first (one that was killed \
             counts until its session has ended, at most 45 s by default)"
        ));
    }
    let of_others = |claim: &&Claim| claim.scope != *from && claim.scope != *to;
    if let Some(Claim { scope, .. }) = facts.claims.iter().find(of_others) {
        return Err(format!(
            "table {table} is written by the pipeline {:?} from topic {:?}: name them by \
             --from-pipeline and --from-topic if their time is over",
            scope.pipeline, scope.topic
        ));
    }
    let mut plan = HandOver {
        from: from.clone(),
        to: to.clone(),
        seen: facts.before.iter().map(|(partition, next, _)| (*partition, *next)).collect(),
        begins: None,
        moves: Vec::new(),
        partitions: facts.partitions.len() as i32,
        lines: vec![format!(
            "table {table}: written from topic {} by the pipeline {:?}",
            to.topic, to.pipeline
        )],
    };
    match facts.mode {
        HandOverMode::GoOn => go_on(facts, &mut plan)?,
        HandOverMode::Adopt => adopt(facts, &mut plan)?,
        HandOverMode::Begin => begin(facts, &mut plan)?,
    }
    Ok(plan)
}

fn go_on(facts: &HandOverFacts<'_>, plan: &mut HandOver) -> Result<(), String> {
    let HandOverFacts { from, to, .. } = *facts;
    if from.topic != to.topic {
        return Err(format!(
            "the offsets of topic {} say nothing of topic {}: use `hand-over begin`",
            from.topic, to.topic
        ));
    }
    if facts.before.is_empty() {
        return Err(format!(
            "the database knows no offsets of the pipeline {:?} in topic {}, so there is nothing to \
             go on from; if it holds what the group has committed, use `hand-over adopt`",
            from.pipeline, from.topic
        ));
    }
    if from != to && facts.next.iter().any(|(_, next)| *next > NextOffset::ZERO) {
        return Err(format!(
            "the pipeline {:?} has offsets of its own in topic {}: it can't take over others",
            to.pipeline, to.topic
        ));
    }
    accept_disorder(facts, plan)?;
    let is_gone = |partition| facts.partitions.iter().all(|(there, _)| *there != partition);
    if let Some((partition, ..)) = facts.before.iter().find(|(partition, ..)| is_gone(*partition)) {
        return Err(format!(
            "topic {} has no partition {partition} any more: it was created again, so its log is \
             another one; use `hand-over begin`",
            to.topic
        ));
    }
    accept_loss(facts, plan)?;
    let is_moved = |partition| plan.moves.iter().any(|(moved, _)| *moved == partition);
    for (partition, facts) in facts.partitions.iter().filter(|(at, _)| !is_moved(*at)) {
        match judge(facts, false) {
            Verdict::Continue(next) => plan.lines.push(format!(
                "partition {partition}: goes on at offset {next}, {} records behind",
                next.distance_to(facts.high)
            )),
            Verdict::Begin(next) => {
                plan.lines.push(format!("partition {partition}: begins at offset {next}"));
            }
            Verdict::Refuse(refusal) => return Err(format!("partition {partition}: {refusal}")),
        }
    }
    if from != to {
        plan.lines.push(format!(
            "the offsets and dead letters of the pipeline {:?} become those of {:?}",
            from.pipeline, to.pipeline
        ));
    }
    Ok(())
}

/// Goes on although records of a key wait in two partitions, if it is those that the operator was told
/// of.
fn accept_disorder(facts: &HandOverFacts<'_>, plan: &mut HandOver) -> Result<(), String> {
    let Some(TornKeys { keys, first, key }) = &facts.torn_keys else { return Ok(()) };
    let (partition, offset) = first;
    let which = format!(
        "records of one key wait in two partitions, those of {keys} keys, the first ({key}) at \
         {partition}:{offset}"
    );
    if facts.accept_disorder == Some(*first) {
        plan.lines.push(format!("{which}: their order is lost"));
        return Ok(());
    }
    Err(format!(
        "partitions were added, and {which}; these have no order between them, so a row may end as the \
         earlier record says. To accept that for these keys, add --accept-disorder {partition}:{offset}"
    ))
}

/// Moves the partitions whose logs have lost records that were not written to where these begin.
fn accept_loss(facts: &HandOverFacts<'_>, plan: &mut HandOver) -> Result<(), String> {
    let mut lost = 0;
    for (partition, facts) in facts.partitions {
        if let Verdict::Refuse(Refusal::BeforeTheLog { next, low }) = judge(facts, false) {
            let records = next.distance_to(low);
            lost += records;
            plan.moves.push((*partition, low));
            plan.lines.push(format!(
                "partition {partition}: goes on at offset {low}, without the records from {next} on"
            ));
        }
    }
    if lost == 0 || lost == facts.accept_loss {
        return Ok(());
    }
    Err(format!(
        "{lost} offsets were removed from the log of topic {} (by its retention) before they were \
         written: what was there is lost to the database, unless the producers or another copy of the \
         log still have it. To go on without, add --accept-loss {lost}",
        facts.to.topic
    ))
}

fn adopt(facts: &HandOverFacts<'_>, plan: &mut HandOver) -> Result<(), String> {
    let HandOverFacts { from, to, .. } = *facts;
    if from != to || !facts.before.is_empty() {
        return Err(format!(
            "the database knows offsets of the pipeline {:?} in topic {}: there is nothing to adopt",
            from.pipeline, from.topic
        ));
    }
    if facts.partitions.iter().all(|(_, facts)| facts.committed.is_none()) {
        return Err(format!(
            "the group {:?} has committed no offset of topic {}: there is nothing to adopt",
            to.pipeline, to.topic
        ));
    }
    for (partition, facts) in facts.partitions {
        let next = match judge(&PartitionFacts { was_adopted: false, ..*facts }, true) {
            Verdict::Begin(next) | Verdict::Continue(next) => next,
            Verdict::Refuse(refusal) => return Err(format!("partition {partition}: {refusal}")),
        };
        plan.lines.push(match facts.committed {
            Some(_) => format!("partition {partition}: adopts the group's offset {next}"),
            None => format!("partition {partition}: begins at offset {next}"),
        });
        plan.moves.push((*partition, next));
    }
    Ok(())
}

/// Refuses to write records once more onto rows that have them already.
fn is_another_log(facts: &HandOverFacts<'_>) -> Result<(), String> {
    for (partition, facts) in facts.partitions {
        if let Verdict::Continue(next) = judge(facts, false)
            && next > facts.low
        {
            return Err(format!(
                "the table has the records of this log already, of partition {partition} those below \
                 offset {next}: increments would count again. --keep-rows is for the log of another \
                 topic, or of one that was created again. To fill the table from this log, empty it \
                 first"
            ));
        }
    }
    Ok(())
}

fn begin(facts: &HandOverFacts<'_>, plan: &mut HandOver) -> Result<(), String> {
    let HandOverFacts { from, to, table, .. } = *facts;
    if !facts.is_empty && !facts.keep_rows {
        return Err(format!(
            "table {table} has rows, and the log would be written on top of them (increments count \
             again): empty it first; or, if the log is a new one that goes on where the rows end, \
             add --keep-rows"
        ));
    }
    if !facts.is_empty {
        is_another_log(facts)?;
    }
    if facts.open_letters > 0 {
        return Err(format!(
            "topic {} has {} open dead letters, whose places would mean other records: replay or \
             discard them first (`write-behind dead-letters`)",
            to.topic, facts.open_letters
        ));
    }
    if from.topic != to.topic {
        for (partition, next, end) in facts.before {
            match end {
                Some(end) if end > next => {
                    return Err(format!(
                        "partition {partition} of topic {} has records up to offset {end}, and the \
                         database holds those below {next}: let the pipeline {:?} write the rest \
                         first",
                        from.topic, from.pipeline
                    ));
                }
                _ => {}
            }
        }
    }
    let mut begins = Vec::with_capacity(facts.partitions.len());
    for (partition, facts) in facts.partitions {
        let mut line = format!("partition {partition}: begins at offset {}", facts.low);
        // Writing to a string does not fail.
        let _ = match facts.database {
            Some(next) => write!(line, " (the database stood at {next})"),
            None => Ok(()),
        };
        if facts.low > NextOffset::ZERO {
            line.push_str("; the log has lost what was before");
        }
        plan.lines.push(line);
        begins.push((*partition, facts.low));
    }
    plan.begins = Some(begins);
    plan.lines.push("its closed dead letters and known writers are forgotten".to_owned());
    Ok(())
}

#[cfg(test)]
#[path = "tests/hand_over.rs"]
mod tests;
