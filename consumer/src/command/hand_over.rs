//! `hand-over`: says which table the offsets speak of, or where a log begins, after an operator has
//! changed a table, a topic or a pipeline's name.

use anyhow::bail;
use clap::{Args, ValueEnum};
use write_behind_consumer::config::Config;
use write_behind_consumer::hand_over::{HandOverMode, HandOverOptions, PlannedHandOver};
use write_behind_shared::{Offset, Partition};

use crate::command::{DONE, USAGE, agreed, place};

#[derive(Debug, Args)]
pub(crate) struct HandOverArgs {
    /// From where the records are written.
    from: From,
    /// The route's topic; needed if there are several routes.
    #[arg(long)]
    topic: Option<String>,
    /// The pipeline that has written the table, if it had another name.
    #[arg(long, value_name = "NAME")]
    from_pipeline: Option<String>,
    /// The topic from which the table was written, if it was another one.
    #[arg(long, value_name = "TOPIC")]
    from_topic: Option<String>,
    /// With `begin`: writes onto the rows that the table has.
    #[arg(long)]
    keep_rows: bool,
    /// With `go-on`, after partitions were added: also where a key's records wait in two of them, the
    /// first of them at this place. Without the flag, the command says where that is.
    #[arg(long, value_name = "PARTITION:OFFSET", value_parser = place)]
    accept_disorder: Option<(i32, i64)>,
    /// With `go-on`: without this number of records, which the log has lost before they were written.
    /// Without the flag, the command says how many they are.
    #[arg(long, value_name = "RECORDS", default_value_t = 0, hide_default_value = true)]
    accept_loss: u64,
    /// Says what it would do, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// From the offsets as they are: the table holds all that they say.
    GoOn,
    /// From the offsets that the group has committed: the table holds all below, and the database knows
    /// no offsets.
    Adopt,
    /// From the beginning of the log.
    Begin,
}

impl HandOverArgs {
    pub(crate) async fn perform(self, config: &Config) -> anyhow::Result<u8> {
        let wanted = |topic: &str| self.topic.as_deref().is_none_or(|wanted| wanted == topic);
        let routes: Vec<_> = config.routes.iter().filter(|route| wanted(&route.topic)).collect();
        let [route] = routes[..] else {
            let topics: Vec<&str> = config.routes.iter().map(|route| &*route.topic).collect();
            bail!("name the route by --topic: {}", topics.join(", "));
        };
        let mode = match self.from {
            From::GoOn => HandOverMode::GoOn,
            From::Adopt => HandOverMode::Adopt,
            From::Begin => HandOverMode::Begin,
        };
        let options = HandOverOptions {
            mode,
            from_pipeline: self.from_pipeline,
            from_topic: self.from_topic,
            keep_rows: self.keep_rows,
            accept_disorder: self
                .accept_disorder
                .map(|(partition, offset)| (Partition(partition), Offset(offset))),
            accept_loss: self.accept_loss,
        };
        let planned = PlannedHandOver::plan(config, route, &options).await?;
        for line in planned.lines() {
            outln!("{line}");
        }
        if self.dry_run {
            return Ok(DONE);
        }
        if !agreed("Hand over?", self.yes)? {
            return Ok(USAGE);
        }
        planned.perform().await?;
        outln!("done: `write-behind run` goes on from there");
        Ok(DONE)
    }
}
