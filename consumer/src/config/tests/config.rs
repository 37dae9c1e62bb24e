//! What a configuration may say, and how the rest is refused.

use std::time::Duration;

use write_behind_shared::kafka::RESERVED_BY_CONSUMER;

use super::*;
use crate::core::memory::MemoryLimits;
use crate::core::pipeline::schedule::Priority;

pub(super) const WHOLE: &str = r#"
name = "scores"
[kafka]
"bootstrap.servers" = "localhost:9092"
"session.timeout.ms" = 30000
[database]
url = "postgres://app:${PASSWORD}@db/app"
connections = 3
rows_per_second = 1000
[batch]
max_rows = 500
max_bytes = "1MiB"
max_age = "50ms"
target_time = "2s"
drain_time = "10s"
[[route]]
topic = "scores"
table = "public.scores"
key = ["player_id"]
columns = ["score", "name"]
priority = "high"
rows_per_second = 200
on_bad_record = "stop"
on_wrong_partition = "dead-letter"
[[route]]
topic = "players"
[memory]
buffers = "64MiB"
[http]
listen = "off"
"#;

pub(super) fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn refusal(text: &str, pairs: &[(&str, &str)]) -> String {
    Config::read(text, &variables(pairs)).unwrap_err().to_string()
}

#[test]
fn every_key_is_read() {
    let config = Config::read(WHOLE, &variables(&[("PASSWORD", "hush")])).unwrap();
    assert_eq!(format!("{:?}", config.database.target), "postgres://db:5432/app");
    assert_eq!((config.database.connections, config.database.rows_per_second), (3, Some(1000)));
    assert_eq!((config.batch.max_rows, config.batch.max_bytes), (500, 1 << 20));
    assert_eq!(config.batch.max_age, Duration::from_millis(50));
    assert_eq!(config.batch.target_time, Duration::from_secs(2));
    assert_eq!(config.batch.drain_time, Duration::from_secs(10));
    assert_eq!(config.session_timeout(), Duration::from_secs(30));
    assert_eq!((config.memory, config.http), (MemoryLimits(64 << 20), None));
    let [scores, players] = &config.routes[..] else { panic!("two routes") };
    assert_eq!((&*scores.table, scores.on_bad_record), ("public.scores", OnBadRecord::Stop));
    assert_eq!(scores.on_wrong_partition, OnWrongPartition::DeadLetter);
    assert_eq!((scores.priority, scores.rows_per_second), (Priority::High, Some(200)));
    assert_eq!((players.priority, players.rows_per_second), (Priority::Normal, None));
    assert_eq!(scores.key, ["player_id"]);
    assert_eq!(scores.columns.as_deref().unwrap(), ["score", "name"]);
    assert_eq!((&*players.table, &players.columns), ("players", &None));
}

#[test]
fn what_is_not_said_has_a_default() {
    let config = Config::read(LEAST, &Variables::new()).unwrap();
    assert_eq!(config.http, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(config.database.connections, 1);
    assert_eq!(config.routes[0].on_bad_record, OnBadRecord::DeadLetter);
    assert_eq!(config.routes[0].on_wrong_partition, OnWrongPartition::Tell);
}

#[test]
fn a_variable_wins_over_the_file_and_can_be_all_there_is() {
    let config = Config::read(
        "",
        &variables(&[
            ("WRITE_BEHIND_NAME", "42"),
            ("WRITE_BEHIND_KAFKA_BOOTSTRAP_SERVERS", "b:1"),
            ("WRITE_BEHIND_KAFKA_SESSION_TIMEOUT_MS", "40000"),
            ("WRITE_BEHIND_DATABASE_URL", "sqlite://x.db"),
            ("WRITE_BEHIND_BATCH_MAX_ROWS", "7"),
            ("WRITE_BEHIND_BATCH_MAX_AGE", "3s"),
            ("WRITE_BEHIND_MEMORY_BUFFERS", "9MiB"),
            ("WRITE_BEHIND_HTTP_LISTEN", "off"),
            ("WRITE_BEHIND_ROUTE_0_TOPIC", "scores"),
            ("WRITE_BEHIND_ROUTE_0_KEY", "tenant, id"),
            ("WRITE_BEHIND_SERVICE_HOST", "10.0.0.1"),
        ]),
    )
    .unwrap();
    assert_eq!((&*config.name, config.kafka.get("bootstrap.servers")), ("42", Some("b:1")));
    assert_eq!((config.batch.max_rows, config.memory), (7, MemoryLimits(9 << 20)));
    assert_eq!(config.session_timeout(), Duration::from_secs(40));
    assert_eq!(config.routes[0].key, ["tenant", "id"]);
    let config = Config::read(LEAST, &variables(&[("WRITE_BEHIND_NAME", "other")])).unwrap();
    assert_eq!(config.name, "other");
}

#[test]
fn a_property_of_kafka_may_stand_without_quotes() {
    let text = LEAST.replace("\"bootstrap.servers\"", "bootstrap.servers");
    let config = Config::read(&text, &Variables::new()).unwrap();
    assert_eq!(config.kafka.get("bootstrap.servers"), Some("localhost:9092"));
    let text = LEAST.replace("\"localhost:9092\"", "[1]");
    assert!(refusal(&text, &[]).starts_with("`kafka.bootstrap.servers`: is of the type array"));
}

#[test]
fn what_kubernetes_sets_for_a_service_is_passed_over() {
    let links = variables(&[
        ("WRITE_BEHIND_KAFKA_SERVICE_HOST", "10.0.0.1"),
        ("WRITE_BEHIND_KAFKA_SERVICE_PORT", "9092"),
        ("WRITE_BEHIND_KAFKA_SERVICE_PORT_CLIENTS", "9092"),
        ("WRITE_BEHIND_KAFKA_PORT", "tcp://10.0.0.1:9092"),
        ("WRITE_BEHIND_KAFKA_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
        ("WRITE_BEHIND_KAFKA_PORT_9092_TCP_PROTO", "tcp"),
        ("WRITE_BEHIND_KAFKA_PORT_9092_TCP_PORT", "9092"),
        ("WRITE_BEHIND_KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ("WRITE_BEHIND_HTTP_SERVICE_HOST", "10.0.0.2"),
        ("WRITE_BEHIND_PORT", "tcp://10.0.0.3:9464"),
    ]);
    let config = Config::read(LEAST, &links).unwrap();
    assert_eq!(config.kafka.iter().collect::<Vec<_>>(), [("bootstrap.servers", "localhost:9092")]);
}

#[test]
fn the_default_drain_time_fits_into_the_session() {
    let drain_time = |timeout| {
        let timeout = [("WRITE_BEHIND_KAFKA_SESSION_TIMEOUT_MS", timeout)];
        Config::read(LEAST, &variables(&timeout)).map(|config| config.batch.drain_time)
    };
    assert_eq!(drain_time("6000").unwrap(), Duration::from_secs(4));
    assert_eq!(drain_time("45000").unwrap(), Duration::from_secs(20));
}

#[test]
fn settings_that_do_not_go_together_are_refused_with_the_mend() {
    let with = |name, value| refusal(LEAST, &[(name, value)]);
    assert!(
        with("WRITE_BEHIND_BATCH_DRAIN_TIME", "45s").starts_with("`batch.drain_time`: must be")
    );
    assert!(with("WRITE_BEHIND_MEMORY_BUFFERS", "1MiB").starts_with("`memory.buffers`: is less"));
    assert!(with("WRITE_BEHIND_BATCH_MAX_ROWS", "0").starts_with("`batch.max_rows`: is 0"));
    assert!(with("WRITE_BEHIND_BATCH_MAX_ROWS", "many").contains("is not a number"));
    assert!(with("WRITE_BEHIND_BATCH_MAX_BYTES", "0").starts_with("`batch.max_bytes`: is 0"));
    assert!(with("WRITE_BEHIND_BATCH_TARGET_TIME", "0s").starts_with("`batch.target_time`"));
    assert!(with("WRITE_BEHIND_DATABASE_CONNECTIONS", "0").contains("`database.connections`"));
    assert!(with("WRITE_BEHIND_DATABASE_ROWS_PER_SECOND", "0").contains("rows_per_second"));
    assert!(
        with("WRITE_BEHIND_DATABASE_URL", "mongodb://x")
            .contains("postgres://, mysql:// or sqlite://")
    );
    assert!(
        with("WRITE_BEHIND_DATABASE_URL", "oracle://x")
            .contains("postgres://, mysql:// or sqlite://")
    );
    assert!(
        with("WRITE_BEHIND_WATCHDOG_PATIENCE", "0s").starts_with("`watchdog.patience`: is too")
    );
    assert!(with("WRITE_BEHIND_HTTP_LISTEN", "9464").starts_with("`http.listen`: must be"));
    assert!(with("WRITE_BEHIND_NAME", " ").starts_with("`name`: is empty"));
    assert!(with("WRITE_BEHIND_KAFKA_GROUP_ID", "g").contains("`group.id` can't be set"));
    assert!(with("WRITE_BEHIND_ROUTE_0_VERSION", " ").contains("`route[0].version`: is empty"));
    let urgent = with("WRITE_BEHIND_ROUTE_0_PRIORITY", "urgent");
    assert!(urgent.contains("`high`, `normal`, `low`"), "{urgent}");
    assert!(with("WRITE_BEHIND_ROUTE_0_ROWS_PER_SECOND", "0").contains("remove it or raise it"));
    assert!(with("WRITE_BEHIND_ROUTE_0_ROWS_PER_SECOND", "many").contains("is not a number"));
    assert!(with("WRITE_BEHIND_ROUTE_1_TOPIC", "scores").contains("`route[1].topic`: names a"));
    assert!(with("WRITE_BEHIND_ROUTE_2_TOPIC", "x").contains("skips a route"));
    assert!(with("WRITE_BEHIND_ROUTE_X", "x").contains("WRITE_BEHIND_ROUTE_0_TOPIC"));
    assert!(refusal(&LEAST.replace("[[route]]\ntopic = \"scores\"\n", ""), &[]).contains("route"));
}

#[test]
fn what_the_broker_decides_in_the_new_protocol_cannot_be_set() {
    let new = LEAST.replace("\"localhost:9092\"", "\"b:1\", \"group.protocol\" = \"consumer\"");
    let config = Config::read(&new, &Variables::new()).unwrap();
    assert_eq!(config.session_timeout(), Duration::from_secs(45));
    for name in ["SESSION_TIMEOUT_MS", "HEARTBEAT_INTERVAL_MS", "PARTITION_ASSIGNMENT_STRATEGY"] {
        let refused = refusal(&new, &[(&format!("WRITE_BEHIND_KAFKA_{name}"), "1")]);
        assert!(refused.contains("can't be set with `group.protocol` = \"consumer\""), "{refused}");
    }
}

#[test]
fn every_reserved_property_is_refused_in_the_file_and_in_the_environment() {
    for (property, why) in RESERVED_BY_CONSUMER {
        let text = LEAST.replace("kafka = {", &format!("kafka = {{ \"{property}\" = \"x\","));
        let variable = format!("WRITE_BEHIND_KAFKA_{}", property.to_uppercase().replace('.', "_"));
        for refused in [refusal(&text, &[]), refusal(LEAST, &[(&variable, "x")])] {
            assert!(refused.contains(property) && refused.contains(why), "{refused}");
        }
    }
}

#[test]
fn secrets_are_never_shown() {
    let config = Config::read(WHOLE, &variables(&[("PASSWORD", "hush")])).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn the_documented_configurations_are_valid() {
    for (page, text) in [
        ("docs/configuration.md", include_str!("../../../../docs/configuration.md")),
        ("README.md", include_str!("../../../../README.md")),
        ("write-behind example", include_str!("../../command/example.toml")),
    ] {
        let rest = text.split_once("```toml\n").map_or(text, |(_, rest)| rest);
        let (example, _) = rest.split_once("```").unwrap_or((rest, ""));
        let secrets = variables(&[("PASSWORD", "hush"), ("PAGE_TOKEN", "hush-0123456789abcdef")]);
        let config = Config::read(example, &secrets).unwrap_or_else(|why| panic!("{page}: {why}"));
        assert_eq!(config.name, "scores", "{page}");
    }
}

#[test]
fn renames_come_from_the_file_or_from_the_environment() {
    let text = format!("{LEAST}rename = {{ playerId = \"player_id\" }}\n");
    let renames = |text: &str, variables: &[(&str, &str)]| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let config = Config::read(text, &variables.iter().map(owned).collect());
        config.map(|config| config.routes[0].rename.clone())
    };
    let pair = |name: &str, column: &str| (name.to_owned(), column.to_owned());
    assert_eq!(renames(&text, &[]).unwrap(), [pair("playerId", "player_id")]);
    let variable = "WRITE_BEHIND_ROUTE_0_RENAME";
    let both = [pair("a", "b"), pair("c", "d")];
    assert_eq!(renames(&text, &[(variable, "a=b, c=d")]).unwrap(), both);
    let refused = renames(&text, &[(variable, "a")]).unwrap_err().to_string();
    assert!(refused.contains(variable) && refused.contains("playerId=player_id"), "{refused}");
}

#[test]
fn a_version_is_a_column_that_records_may_name_and_may_call_otherwise() {
    let version = |text: &str| {
        let config = Config::read(&format!("{LEAST}{text}"), &Variables::new());
        config.map(|config| config.routes[0].version_in_records().map(str::to_owned))
    };
    assert_eq!(version("").unwrap(), None);
    assert_eq!(version("version = \"v\"\n").unwrap().as_deref(), Some("v"));
    let renamed = "version = \"v\"\nrename = { rev = \"v\", x = \"y\" }\n";
    assert_eq!(version(renamed).unwrap().as_deref(), Some("rev"));
    let left_out = version("version = \"v\"\ncolumns = [\"a\"]\n").unwrap_err().to_string();
    assert!(left_out.contains("`columns` leaves out; add it there"), "{left_out}");
}

#[test]
fn every_variable_in_a_text_or_in_a_list_is_replaced() {
    let text = LEAST.replace("\"scores\"\nkafka", "\"${A}-${B}\"\nkafka");
    let text = format!("{text}columns = [\"x\", \"${{B}}\"]\n");
    let config = Config::read(&text, &variables(&[("A", "one"), ("B", "two")])).unwrap();
    assert_eq!(config.name, "one-two");
    let columns = ["x", "two"].map(str::to_owned);
    assert_eq!(config.routes[0].columns.as_deref(), Some(&columns[..]));
}

#[test]
fn a_route_without_a_topic_or_without_columns_is_refused() {
    let no_topic = refusal(&LEAST.replace("topic = \"scores\"", "topic = \" \""), &[]);
    assert!(no_topic.contains("route[0].topic") && no_topic.contains("is empty"), "{no_topic}");
    let no_columns = refusal(&format!("{LEAST}columns = []\n"), &[]);
    assert!(no_columns.contains("no record could be applied"), "{no_columns}");
}
