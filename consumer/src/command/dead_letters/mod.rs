//! `dead-letters`: lists, shows, replays and discards the records that were set aside.

mod print;

use std::ops::ControlFlow;

use anyhow::bail;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use write_behind_consumer::config::Config;
use write_behind_consumer::config::units::HumanDuration;
use write_behind_consumer::dead_letters::admin::Admin;
use write_behind_consumer::dead_letters::fate::Fate;
use write_behind_consumer::dead_letters::replay::ReplayOptions;
use write_behind_consumer::dead_letters::{DeadLetterState, Filter};

use crate::command::{DONE, FAILED, REFUSED, USAGE, agreed, place};

#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists them, and counts them by topic and state.
    List(List),
    /// Shows one with all that is known of it.
    Show(Show),
    /// Applies open ones to their rows, each once and only as far as no later record overrules it.
    Replay(Replay),
    /// Marks open ones, so that they are never applied.
    Discard(Act),
}

/// Which ones: those that match every given option.
#[derive(Debug, Args)]
struct Selection {
    /// Of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Of this partition.
    #[arg(long)]
    partition: Option<i32>,
    /// From this offset on.
    #[arg(long, value_name = "OFFSET")]
    from: Option<i64>,
    /// Up to and including this offset.
    #[arg(long, value_name = "OFFSET")]
    to: Option<i64>,
    /// Whose reason contains this text, in upper or lower case.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Whose SQLSTATE begins with this, such as `23514` or `23`.
    #[arg(long)]
    sqlstate: Option<String>,
    /// Whose record has this key, written as in the log.
    #[arg(long)]
    key: Option<String>,
    /// Set aside since this time: how long ago, such as `2h`, or an instant, such as
    /// `2030-01-31T08:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<i64>,
    /// Set aside before this time, written as for --since.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<i64>,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    selection: Selection,
    /// In this state: open, replayed, discarded, superseded, or all.
    #[arg(long, default_value = "open", value_parser = state)]
    state: AnyState,
    /// How many are listed at most; all are counted.
    #[arg(long, default_value_t = 50)]
    limit: u64,
    /// One JSON object a line, and no counts.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// Which one: `PARTITION:OFFSET`.
    #[arg(value_parser = place)]
    place: (i32, i64),
    /// Of this topic; needed if several topics have one there.
    #[arg(long)]
    topic: Option<String>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What `replay` and `discard` have in common.
#[derive(Debug, Args)]
struct Act {
    #[command(flatten)]
    selection: Selection,
    /// How many at most, the first ones of each partition first.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// Says what would happen to each, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct Replay {
    #[command(flatten)]
    act: Act,
    /// Also those whose later records are gone from the log: what those have set since is then
    /// overwritten.
    #[arg(long)]
    force: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// `None`: any.
#[derive(Clone, Copy, Debug)]
struct AnyState(Option<DeadLetterState>);

impl DeadLettersArgs {
    pub(crate) async fn perform(self, config: &Config) -> anyhow::Result<u8> {
        let mut admin = Admin::open(config).await?;
        match self.what {
            What::List(list) => list.perform(&mut admin).await,
            What::Show(show) => show.perform(&mut admin).await,
            What::Replay(replay) => replay.perform(&mut admin).await,
            What::Discard(act) => act.discard(&mut admin).await,
        }
    }
}

impl Selection {
    fn filter(self, state: Option<DeadLetterState>) -> Filter {
        Filter {
            cluster: None,
            topic: self.topic,
            partition: self.partition,
            from: self.from,
            to: self.to,
            reason: self.reason,
            sqlstate: self.sqlstate,
            key: self.key.map(String::into_bytes),
            since: self.since,
            until: self.until,
            state,
        }
    }
}

impl List {
    async fn perform(self, admin: &mut Admin<'_>) -> anyhow::Result<u8> {
        let filter = self.selection.filter(self.state.0);
        let mut lines = print::Lines::new(self.json);
        admin.list(&filter, self.limit, |letter| lines.add(&letter)).await?;
        lines.print();
        if !self.json {
            print::counts(&admin.tally(&filter).await?, lines.listed());
        }
        Ok(DONE)
    }
}

impl Show {
    async fn perform(self, admin: &mut Admin<'_>) -> anyhow::Result<u8> {
        let (partition, offset) = self.place;
        let filter = Filter {
            topic: self.topic,
            partition: Some(partition),
            from: Some(offset),
            to: Some(offset),
            ..Filter::default()
        };
        let mut found = Vec::new();
        admin.list(&filter, 2, |letter| found.push(letter)).await?;
        let [letter] = &found[..] else {
            if found.is_empty() {
                bail!("there is no dead letter {partition}:{offset}; `list --state all` names all");
            }
            bail!("several topics have a dead letter {partition}:{offset}; name one by --topic");
        };
        if self.json {
            outln!("{}", print::json(letter));
        } else {
            print::whole(letter);
        }
        Ok(DONE)
    }
}

impl Replay {
    async fn perform(self, admin: &mut Admin<'_>) -> anyhow::Result<u8> {
        let dry_run = self.act.dry_run;
        let (filter, letters) = match self.act.agreed(admin, "Replay").await? {
            ControlFlow::Continue(agreed) => agreed,
            ControlFlow::Break(code) => return Ok(code),
        };
        let (mut open, mut refused) = (0, 0);
        let options = ReplayOptions { force: self.force, dry_run };
        let telling = admin.replay(&filter, letters, options, |letter, fate| {
            match fate {
                Fate::Gone | Fate::AnotherLog => refused += 1,
                Fate::Rejected { .. } | Fate::Undecodable(_) => open += 1,
                Fate::Replayed(_) | Fate::Superseded | Fate::Closed(_) => {}
            }
            print::fate(letter, fate, dry_run, self.json);
        });
        telling.await?;
        Ok(if refused > 0 {
            REFUSED
        } else if open > 0 {
            FAILED
        } else {
            DONE
        })
    }
}

impl Act {
    async fn discard(self, admin: &mut Admin<'_>) -> anyhow::Result<u8> {
        if self.dry_run {
            let mut lines = print::Lines::new(false);
            let filter = self.selection.filter(Some(DeadLetterState::Open));
            admin.list(&filter, self.limit, |letter| lines.add(&letter)).await?;
            lines.print();
            outln!("{} would be discarded", lines.listed());
            return Ok(DONE);
        }
        match self.agreed(admin, "Discard").await? {
            ControlFlow::Continue((filter, letters)) => {
                outln!("{} discarded", admin.discard(&filter, letters).await?);
                Ok(DONE)
            }
            ControlFlow::Break(code) => Ok(code),
        }
    }

    /// The open letters that match, and their number; or the exit code if there are none or nobody
    /// agrees.
    async fn agreed(
        self,
        admin: &mut Admin<'_>,
        act: &str,
    ) -> anyhow::Result<ControlFlow<u8, (Filter, u64)>> {
        let filter = self.selection.filter(Some(DeadLetterState::Open));
        let tallies = admin.tally(&filter).await?;
        let letters = tallies.iter().map(|tally| tally.letters).sum::<u64>().min(self.limit);
        if letters == 0 {
            eprintln!("no open dead letter matches");
            return Ok(ControlFlow::Break(DONE));
        }
        let count = if letters == 1 {
            "1 dead letter".to_owned()
        } else {
            format!("{letters} dead letters")
        };
        if !self.dry_run && !agreed(&format!("{act} {count}?"), self.yes)? {
            return Ok(ControlFlow::Break(USAGE));
        }
        Ok(ControlFlow::Continue((filter, letters)))
    }
}

fn time(text: &str) -> Result<i64, String> {
    if let Some(HumanDuration(ago)) = HumanDuration::parse(text) {
        let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
        return Ok(Timestamp::now().as_second().saturating_sub(ago));
    }
    let time: Result<Timestamp, _> = text.parse();
    time.map(Timestamp::as_second)
        .map_err(|_| "write it like 2h or 30m (ago), or like 2030-01-31T08:00:00Z".to_owned())
}

fn state(text: &str) -> Result<AnyState, String> {
    if text == "all" {
        return Ok(AnyState(None));
    }
    text.parse().map(|state| AnyState(Some(state))).map_err(|why| format!("{why}, or all"))
}
