//! F9, the configuration and the database's URL: read or refused, and no refusal tells a secret.

use write_behind_consumer::config::Config;
use write_behind_consumer::config::environment::Variables;
use write_behind_consumer::store::database::Database;

use crate::outcome::told;
use crate::targets::Target;

const SECRET: &str = "hunter2secret";

pub const CONFIGURATION: Target = Target {
    name: "configuration",
    what: "a configuration is read or refused, whatever the file and the environment say, and a refusal tells no password",
    run: configure,
    words: &[
        "\n",
        "= ",
        "\"",
        "[",
        "]",
        "[[route]]",
        "name",
        "topic",
        "table",
        "batch",
        "max_rows",
        "1e9",
        "-1",
        "\"5s\"",
        "\"64MiB\"",
        "true",
        "${NAME}",
        "$",
        "#$WRITE_BEHIND_BATCH_MAX_ROWS=",
        "#$NAME=x\n",
        "[bad_records]",
        "[memory]",
        "[http]",
        "listen",
        "rename",
        "columns",
        "priority",
        "version",
        "{",
        "}",
        "[kafka]\n\"sasl.password\" = \"hunter2secret\"\n",
    ],
    examples: &[
        "name = \"p\"\nkafka = { \"bootstrap.servers\" = \"b:9092\" }\ndatabase = { url = \"sqlite://x.db\" }\n[[route]]\ntopic = \"t\"\n",
        "name = \"p\"\n[kafka]\n\"bootstrap.servers\" = \"b\"\n\"sasl.password\" = \"hunter2secret\"\n[database]\nurl = \"postgres://u:hunter2secret@h/d\"\nconnections = 2\n[batch]\nmax_rows = 10\nmax_age = \"5s\"\n[[route]]\ntopic = \"t\"\ntable = \"s.t\"\npriority = \"high\"\n",
        "#$NAME=p\n#$WRITE_BEHIND_BATCH_MAX_ROWS=10\nname = \"${NAME}\"\n",
    ],
};

pub const URL: Target = Target {
    name: "url",
    what: "a database's URL is read or refused, and a refusal tells no password",
    run: url,
    words: &[
        "postgres://",
        "mysql://",
        "mariadb://",
        "sqlite://",
        "sqlite::memory:",
        "@",
        ":",
        "/",
        "?",
        "&",
        "=",
        "%",
        "%40",
        "%zz",
        "[::1]",
        "127.0.0.1",
        ":5432",
        ":99999",
        "sslmode=",
        "host=",
        "a,b",
        "#",
        " ",
        "\\",
    ],
    examples: &[
        "postgres://u:hunter2secret@h:5432/d?sslmode=require",
        "mysql://u:hunter2secret@[::1]/d",
        "sqlite://x.db?mode=rwc",
        "postgres://u:hunter2secret@a,b/d",
        "postgres:///d?host=/tmp",
    ],
};

/// Lines `#$NAME=VALUE` are variables of the environment; all of it is the file.
fn configure(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    let variables = text.lines().filter_map(|line| line.strip_prefix("#$")?.split_once('='));
    let variables: Variables =
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match Config::read(text, &variables) {
        Ok(config) => told("", &[config.routes.len(), config.batch.max_rows]),
        Err(why) => {
            let why = why.to_string();
            assert!(!why.is_empty());
            assert!(!is_kept(text) || !why.contains(SECRET), "a password is told: {why}");
            told(why, &[])
        }
    }
}

/// Whether the secret stands only where a configuration has one: as the value of the password, or in the
/// URL. Elsewhere it is a name that a refusal may tell.
fn is_kept(text: &str) -> bool {
    let is_its_place = |line: &str| {
        line == "\"sasl.password\" = \"hunter2secret\""
            || line == "url = \"postgres://u:hunter2secret@h/d\""
    };
    text.lines().filter(|line| line.contains(SECRET)).all(is_its_place)
}

fn url(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    match Database::parse(text) {
        Ok(database) => told(
            "",
            &[
                usize::from(database.is_of_several()),
                usize::from(database.in_the_clear().is_some()),
                text.split_once(':').map_or(0, |(scheme, _)| scheme.len()),
            ],
        ),
        Err(why) => {
            let why = why.to_string();
            let is_password = text.split_once("://").is_some_and(|(_, rest)| {
                rest.split_once(':').is_some_and(|(user, rest)| {
                    rest.starts_with(SECRET) && user.bytes().all(|b| b.is_ascii_alphanumeric())
                })
            });
            assert!(!is_password || !why.contains(SECRET), "a password is told: {why}");
            told(why, &[])
        }
    }
}
