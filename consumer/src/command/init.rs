//! `init`: creates the bookkeeping tables, or prints a configuration for a table.

use clap::Args;
use write_behind_consumer::check::draft::Draft;
use write_behind_consumer::check::init;
use write_behind_consumer::config::{Config, ConfigError, Database};

use crate::command::DONE;

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Changes nothing, but looks at this table and prints a configuration for it, the topic's
    /// command and a record to try; it needs no configuration.
    #[arg(long, value_name = "TABLE", requires = "database")]
    table: Option<String>,
    /// With `--table`: the database's URL. Its password is not printed.
    #[arg(long, value_name = "URL", env = "WRITE_BEHIND_DATABASE_URL", hide_env_values = true)]
    database: Option<String>,
    /// With `--table`: the brokers.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9092")]
    #[arg(env = "WRITE_BEHIND_KAFKA_BOOTSTRAP_SERVERS")]
    kafka: String,
    /// With `--table`: the topic, if it is not called like the table.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
}

impl InitArgs {
    pub(crate) async fn perform(self, config: Result<Config, ConfigError>) -> anyhow::Result<u8> {
        let (Some(table), Some(url)) = (self.table, self.database) else {
            outln!("{}", init(&config?).await?);
            return Ok(DONE);
        };
        let database = Database::parse(&url).map_err(|error| ConfigError::Setting {
            setting: "--database".to_owned(),
            why: error.to_string(),
        })?;
        let draft = Draft { url, servers: self.kafka, table, topic: self.topic };
        let text = draft.write(&database).await?;
        outln!("{}", text.trim_end());
        Ok(DONE)
    }
}
