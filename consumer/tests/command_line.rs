//! The binary by its arguments, its variables and its file: what it says and how it ends when they are
//! wrong. Nothing of it asks Kafka or a database.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

use sqlx::Connection as _;

const LEAST: &str = "name = \"rc\"\n[kafka]\n\"bootstrap.servers\" = \"127.0.0.1:1\"\n[database]\n\
                     url = \"sqlite:///nowhere/x.db\"\n[http]\nlisten = \"off\"\n[[route]]\ntopic = \"t\"\n";

/// Runs it with these arguments; `CONFIG` stands for a file with `text`.
fn run(arguments: &[&str], variables: &[(&str, &str)], text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rc.toml"), text).unwrap();
    let arguments = arguments.iter().map(|argument| argument.replace("CONFIG", "rc.toml"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_write-behind"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WRITE_BEHIND_")) {
        command.env_remove(name);
    }
    command.current_dir(folder.path()).args(arguments).envs(variables.iter().copied());
    command.output().unwrap()
}

fn ends(output: &Output, code: i32, told: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(told), "{error}\n{told}");
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn the_version_comes_first_and_the_commit_behind_it_where_it_is_known() {
    let told = run(&["--version"], &[], "");
    let told = String::from_utf8(told.stdout).unwrap();
    let rest =
        told.strip_prefix(concat!("write-behind ", env!("CARGO_PKG_VERSION"))).unwrap().trim_end();
    let is_commit =
        |text: &str| text.len() >= 12 && text.starts_with(|c: char| c.is_ascii_hexdigit());
    let commit = rest.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
    assert!(rest.is_empty() || commit.is_some_and(is_commit), "{told}");
}

#[test]
fn what_is_wrong_with_the_start_is_told_with_the_file_and_ends_with_2() {
    let property = LEAST.replace("[database]", "\"sasl.passwrd\" = \"hush\"\n[database]");
    let parameter = LEAST.replace("sqlite:///nowhere/x.db", "postgres://u:hush@h/d?sslmod=require");
    let no_quote = LEAST.replace("sqlite:///nowhere/x.db\"", "postgres://u:hush@h/d");
    let check = &["--config", "CONFIG", "check"][..];
    for (arguments, text, told) in [
        (&["check"][..], "", "error: no configuration: give --config FILE"),
        (&["--config", "none.toml", "run"], "", "none.toml: No such file"),
        (&["--config", ".", "run"], "", "error: the configuration can't be read: .: "),
        (
            check,
            &*property,
            "error: rc.toml:4: `kafka.sasl.passwrd`: librdkafka has no such property",
        ),
        (&["--config", "CONFIG", "run"], &*property, "did you mean `sasl.password`?"),
        (check, &*parameter, "error: rc.toml:5: `database.url`: "),
        (check, &*parameter, "unknown parameter `sslmod`; did you mean `sslmode`?"),
        (check, &*no_quote, "error: rc.toml:5:"),
        (check, "name: rc\nkafka:\n", "it looks like YAML"),
        (&["--log", "warning", "check"], "", "\"warning\" is no level"),
        (&["--log", "chatty", "example"], "", "one of error, warn, info, debug, trace"),
        (&["status", "--url", "foo"], "", "is no URL of a consumer"),
    ] {
        ends(&run(arguments, &[], text), 2, told);
        // `lint` judges what `check` judges first, by the same words.
        let lint = arguments.iter().map(|one| if *one == "check" { "lint" } else { *one });
        ends(&run(&lint.collect::<Vec<_>>(), &[], text), 2, told);
    }
    let variable = [("WRITE_BEHIND_KAFKA_SASL_PASSWRD", "hush")];
    ends(&run(check, &variable, LEAST), 2, "`kafka.sasl.passwrd`");
}

#[test]
fn variables_that_are_empty_as_templates_leave_them_mean_nothing() {
    let empty = [("WRITE_BEHIND_LOG", ""), ("WRITE_BEHIND_CONFIG", "")];
    ends(&run(&["check"], &empty, ""), 2, "no configuration");
    // Not mute: a file that is not there ends the start, which is an error whatever is logged.
    let told = run(&["--config", "CONFIG", "init"], &empty, LEAST);
    ends(&told, 1, "there is no folder /nowhere");
}

#[test]
fn a_refused_configuration_is_json_where_check_and_lint_are() {
    for command in ["check", "lint"] {
        let output = run(&[command, "--json"], &[], "");
        assert_eq!(output.status.code(), Some(2));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["findings"][0]["grade"], "failed");
        assert_eq!(report["findings"][0]["what"], "configuration");
    }
}

#[test]
fn lint_connects_to_nothing_and_tells_what_to_mind() {
    // Nobody listens there, and no folder of that name is there.
    let output = run(&["--config", "CONFIG", "lint"], &[], LEAST);
    ends(&output, 0, "");
    assert!(output.stdout.starts_with(b"ok      configuration: 1 route\n"), "{output:?}");
    let far = LEAST.replace("127.0.0.1:1", "kafka.example:9092");
    let output = run(&["--config", "CONFIG", "lint", "--json"], &[], &far);
    ends(&output, 0, "");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["findings"][1]["grade"], "warning");
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let help = printed(&run(&["help"], &[], ""));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    // A description that is long goes on below itself, further to the right.
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<&str> = commands.filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(commands.contains(&"dead-letters") && commands.contains(&"lint"), "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&run(&["completions", shell], &[], ""));
        for command in &commands {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    ends(&run(&["man", folder.path().to_str().unwrap()], &[], ""), 0, "");
    for command in commands {
        let page = folder.path().join(format!("write-behind-{command}.1"));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|why| panic!("{page:?}: {why}"));
        assert!(page.contains("write\\-behind"), "{page}");
    }
    assert!(folder.path().join("write-behind.1").exists());
}

#[test]
fn a_plan_needs_no_configuration_and_says_why_there_is_none() {
    let plan = ["plan", "--writes", "50_000", "--rows", "1000", "--keys", "10000"];
    let text = printed(&run(&plan, &[], ""));
    assert!(text.contains("fold        50.0 writes become one row"), "{text}");
    assert!(
        text.contains("batch.max_rows = 10000") && text.contains("at 1.00 million writes/s"),
        "{text}"
    );
    let json = printed(&run(&[&plan[..], &["--json"]].concat(), &[], ""));
    let sizing: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(sizing["partitions"], 12);

    let nothing_folds = ["plan", "--writes", "50000", "--rows", "1000", "--keys", "3000000"];
    ends(&run(&nothing_folds, &[], ""), 3, "nothing folds: 3000000 different rows");
    ends(&run(&[&plan[..], &["--window", "60"]].concat(), &[], ""), 2, "a time with its unit");
    ends(&run(&["plan", "--writes", "0", "--rows", "1", "--keys", "1"], &[], ""), 2, "at least 1");
}

#[test]
fn a_configuration_is_made_from_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("game.db").display());
    let create = "create table scores (player text primary key, score integer not null) strict";
    sqlite(&format!("{url}?mode=rwc"), create);
    let init = ["init", "--table", "scores", "--database", &url];
    let made = printed(&run(&init, &[], ""));
    assert!(made.contains(r#"'ada' '{"score":1}' | kcat"#), "{made}");
    ends(&run(&["--config", "CONFIG", "lint"], &[], &made), 0, "");
    let created = printed(&run(&["--config", "CONFIG", "init"], &[], &made));
    assert!(created.starts_with("created 7 bookkeeping tables: sqlite://"), "{created}");

    ends(&run(&init[..3], &[], ""), 2, "--database <URL>");
    ends(&run(&["init", "--table", "nosuch", "--database", &url], &[], ""), 1, "there is no table");
    let (hush, what) = ("postgres://u:hush@h/d?sslmod=require", "`--database`: ");
    ends(&run(&["init", "--table", "t", "--database", hush], &[], ""), 2, what);
    let variable = [("WRITE_BEHIND_DATABASE_URL", hush)];
    ends(&run(&init[..3], &variable, ""), 2, what);
    assert!(!printed(&run(&["init", "--help"], &variable, "")).contains("hush"));
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn sqlite(url: &str, statement: &'static str) {
    let done = async {
        let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(done);
}

#[test]
fn the_example_is_a_configuration() {
    let output = run(&["example"], &[], "");
    assert!(output.status.success());
    let example = String::from_utf8(output.stdout).unwrap();
    let output = run(&["--config", "CONFIG", "check"], &[], &example);
    ends(&output, 2, "names the environment variable `PASSWORD`, which is not set");
}

#[test]
fn a_status_of_a_named_consumer_is_that_consumer_s_and_of_this_pipeline() {
    let silent = run(&["status", "--url", "http://127.0.0.1:1"], &[], "");
    ends(&silent, 1, "no consumer answers at http://127.0.0.1:1");
    let with_file =
        run(&["--config", "CONFIG", "status", "--url", "http://127.0.0.1:1"], &[], LEAST);
    ends(&with_file, 1, "no consumer answers at http://127.0.0.1:1");

    let url = consumer_of("200 OK", &report_of("pt"));
    let shown = run(&["status", "--url", &url], &[], "");
    assert!(shown.status.success() && shown.stdout.starts_with(b"pt, asked the consumer at"));
    let other = run(&["--config", "CONFIG", "status", "--url", &url], &[], LEAST);
    ends(&other, 1, "is pipeline \"pt\", not \"rc\"");
    assert_eq!(other.stdout, b"");
}

#[test]
fn a_health_check_is_an_exit_code() {
    let health = |url: &str| run(&["status", "--health", "--url", url], &[], "");
    let (alive, sick) = (consumer_of("200 OK", "ok\n"), "503 Service Unavailable");
    assert_eq!(printed(&health(&alive)), "alive\n");
    let stuck = health(&consumer_of(sick, "the poll thread is stuck\n"));
    ends(&stuck, 1, "");
    assert_eq!(stuck.stdout, b"the poll thread is stuck\n");
    ends(&health("http://127.0.0.1:1"), 1, "no consumer answers at");
    ends(&run(&["status", "--health"], &[], ""), 2, "no configuration");
    let off = run(&["--config", "CONFIG", "status", "--health"], &[], LEAST);
    ends(&off, 1, "`http.listen` is \"off\"");
}

fn report_of(pipeline: &str) -> String {
    let report = serde_json::json!({
        "schema": 1, "source": "process", "pipeline": pipeline, "time_ms": 0, "process": null,
        "troubles": [], "routes": [],
    });
    report.to_string()
}

/// Starts what answers every request so, as a consumer would; gives its URL.
fn consumer_of(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}
