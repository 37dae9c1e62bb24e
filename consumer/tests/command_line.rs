//! The binary by its arguments, its variables and its file: what it says and how it ends when they are
//! wrong. Nothing of it asks Kafka or a database.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

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
fn a_refused_configuration_is_json_where_check_is() {
    let output = run(&["check", "--json"], &[], "");
    assert_eq!(output.status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["findings"][0]["grade"], "failed");
    assert_eq!(report["findings"][0]["what"], "configuration");
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

    let url = consumer_of("pt");
    let shown = run(&["status", "--url", &url], &[], "");
    assert!(shown.status.success() && shown.stdout.starts_with(b"pt, asked the consumer at"));
    let other = run(&["--config", "CONFIG", "status", "--url", &url], &[], LEAST);
    ends(&other, 1, "is pipeline \"pt\", not \"rc\"");
    assert_eq!(other.stdout, b"");
}

/// Starts what answers as a consumer of `pipeline` does; gives its URL.
fn consumer_of(pipeline: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let report = serde_json::json!({
        "schema": 1, "source": "process", "pipeline": pipeline, "time_ms": 0, "process": null,
        "troubles": [], "routes": [],
    });
    let (body, head) = (report.to_string(), "HTTP/1.1 200 OK\r\nContent-Length: ");
    let answer = format!("{head}{}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}
