//! `init --table`: a configuration to begin with, made from a table as the database describes it.

use std::fmt::Write as _;

use write_behind_shared::table_name::Name;

use crate::check::init::InitError;
use crate::config::Database;
use crate::core::table::Table;
use crate::core::table::sample::Sample;
use crate::store::{Store as _, Timeouts};

/// What a configuration is wanted for.
#[derive(Clone)]
pub struct Draft {
    /// The database's URL. Its password is not written down.
    pub url: String,
    /// The brokers.
    pub servers: String,
    /// The table, as a route names it.
    pub table: String,
    /// The topic. Defaults to the table's name.
    pub topic: Option<String>,
}

impl Draft {
    /// Looks at the table, and writes a configuration, with the topic's command and a record to try
    /// in its comments. Nothing is changed. `database`: what `url` says.
    ///
    /// # Errors
    /// [`InitError`]: the database can't be reached, or the table is not one that a route can write.
    pub async fn write(&self, database: &Database) -> Result<String, InitError> {
        let mut store = database.connect(&Timeouts::STANDARD).await?;
        let table = store.describe(&self.table, &[]).await?;
        let sample = Sample::of(&table).map_err(|error| InitError::Failed(error.to_string()))?;
        Ok(self.text(&table, &sample))
    }

    fn text(&self, table: &Table, sample: &Sample) -> String {
        let Self { servers, .. } = self;
        let (url, has_password) = without_password(&self.url);
        let topic = self.topic.clone().unwrap_or_else(|| topic_for(&self.table));
        let mut text = format!("# Made from {} as it is now: {}\n", self.table, columns(table));
        for warning in &table.warnings {
            let _ = writeln!(text, "# Mind: {}", warning.replace('\n', " "));
        }
        let _ = write!(
            text,
            "name = {name}                 # the pipeline; also the consumer group\n\n\
             [kafka]\n\"bootstrap.servers\" = {servers}\n\n[database]\nurl = {url}\n",
            name = quoted(&topic),
            servers = quoted(servers),
            url = quoted(&url),
        );
        if has_password {
            text.push_str("# ${PASSWORD} is the environment variable of that name.\n");
        }
        let _ = write!(
            text,
            "\n[[route]]\ntopic = {}\ntable = {}\n\n\
             # Once, the topic. Its number of partitions should never change, so take more than you need now.\n\
             #   kafka-topics.sh --bootstrap-server {servers} --create --topic {topic} --partitions 12 \
             --config cleanup.policy=delete --config retention.ms=604800000\n\
             # With three brokers or more add: --replication-factor 3 --config min.insync.replicas=2\n#\n\
             # A record to try, its key and its value:\n\
             #   printf '%s\\t%s\\n' {} {} | kcat -P -b {servers} -t {topic} \
             -X topic.partitioner=murmur2_random -X enable.idempotence=true -K '\\t'\n",
            quoted(&topic),
            quoted(&self.table),
            shell(&sample.key),
            shell(&sample.value),
        );
        if !sample.left_out.is_empty() {
            let _ = writeln!(text, "# It leaves out: {}", sample.left_out.join(", "));
        }
        text.push_str("#\n# Every other setting: write-behind example. Next: write-behind --config FILE check\n");
        text
    }
}

impl std::fmt::Debug for Draft {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("table", &self.table).finish_non_exhaustive()
    }
}

/// The columns with their types, the key's first.
fn columns(table: &Table) -> String {
    let of = |is_key: bool| {
        let columns = table.columns.iter().filter(|column| table.is_key(&column.name) == is_key);
        let columns = columns.map(|column| format!("{} {}", column.name, column.sql_type));
        columns.collect::<Vec<_>>().join(", ")
    };
    format!("key {}; columns {}", of(true), of(false)).replace('\n', " ")
}

/// A topic's name that is like the table's, of the letters that Kafka takes.
fn topic_for(table: &str) -> String {
    let name = Name::parse(table).map_or(table.to_owned(), |name| name.table);
    let is_taken = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.chars().map(|c| if is_taken(c) { c } else { '_' }).collect()
}

/// A text in TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A word for a shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The URL with a variable in the place of its password, and whether it had one.
fn without_password(url: &str) -> (String, bool) {
    const VARIABLE: &str = "${PASSWORD}";
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), false) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let mut has_password = false;
    let authority = match authority.rsplit_once('@').and_then(|(login, host)| {
        let (user, _) = login.split_once(':')?;
        Some(format!("{user}:{VARIABLE}@{host}"))
    }) {
        Some(authority) => {
            has_password = true;
            authority
        }
        None => authority.to_owned(),
    };
    let mut path = path.to_owned();
    if let Some(at) =
        ["?password=", "&password="].iter().find_map(|name| Some(path.find(name)? + name.len()))
    {
        let end = path[at..].find('&').map_or(path.len(), |length| at + length);
        path.replace_range(at..end, VARIABLE);
        has_password = true;
    }
    (format!("{scheme}://{authority}{path}"), has_password)
}

#[cfg(test)]
mod tests {
    use write_behind_shared::key::KeyKind;

    use super::*;
    use crate::config::Config;
    use crate::core::table::{Column, ColumnKind};

    fn draft(url: &str, table: &str) -> String {
        let wanted = Draft {
            url: url.to_owned(),
            servers: "localhost:9092".to_owned(),
            table: table.to_owned(),
            topic: None,
        };
        let columns = vec![
            Column { sql_type: "bigint".to_owned(), ..Column::plain("id", ColumnKind::Text) },
            Column { sql_type: "text".to_owned(), ..Column::plain("it's", ColumnKind::Text) },
        ];
        let mut described = Table::plain(table, KeyKind::Integer(1..=9), columns);
        described.warnings.push("a trigger\nruns".to_owned());
        let sample = Sample::of(&described).unwrap();
        wanted.text(&described, &sample)
    }

    #[test]
    fn a_draft_is_a_configuration_with_the_topics_command_and_a_record() {
        let text = draft("postgres://writer@localhost/game", "public.\"my scores\"");
        let config = Config::read(&text, &[].into()).unwrap();
        assert_eq!(config.routes[0].table, "public.\"my scores\"");
        assert_eq!((&*config.routes[0].topic, &*config.name), ("my_scores", "my_scores"));
        for told in [
            "# Made from public.\"my scores\" as it is now: key id bigint; columns it's text",
            "# Mind: a trigger runs",
            "--create --topic my_scores --partitions 12",
            r#"printf '%s\t%s\n' '1' '{"it'\''s":"text"}' | kcat"#,
        ] {
            assert!(text.contains(told), "{told}\n{text}");
        }
        assert!(!text.contains("PASSWORD"), "{text}");
    }

    #[test]
    fn a_password_is_not_written_down_wherever_it_stands_in_the_url() {
        for (url, written) in [
            (
                "postgres://u:hush@h:5/d?sslmode=require",
                "postgres://u:${PASSWORD}@h:5/d?sslmode=require",
            ),
            ("postgres://u@h/d?password=hush&a=b", "postgres://u@h/d?password=${PASSWORD}&a=b"),
            (
                "mysql://u:hush@h?x=1&password=hush",
                "mysql://u:${PASSWORD}@h?x=1&password=${PASSWORD}",
            ),
            ("postgres://u:hu:sh@h", "postgres://u:${PASSWORD}@h"),
        ] {
            assert_eq!(without_password(url), (written.to_owned(), true));
            let text = draft(url, "t");
            assert!(!text.contains("hush") && text.contains("environment variable"), "{text}");
        }
        for url in ["sqlite:///srv/x.db", "postgres://u@h/d:e@f", "postgres:///d?host=/run"] {
            assert_eq!(without_password(url), (url.to_owned(), false));
        }
    }
}
