//! The examples as a user runs them: child processes, driven over TCP, stopped by a signal.
//!
//! `cargo test` builds them for this test; alone (`--test examples`) it takes those built last.

#![expect(clippy::expect_used, reason = "a broken test bed fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use write_behind_producer::testing::Broker;

const DEADLINE: Duration = Duration::from_secs(30);

/// A running example. Dropped, it is killed.
struct Example {
    child: Child,
    address: String,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

/// What an example left.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Example {
    fn start(name: &str, args: &[&str]) -> Self {
        let mut command = Command::new(binary(name));
        command.args(["--listen", "127.0.0.1:0"]).args(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let stderr = child.stderr.take().expect("its errors are a pipe");
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_default();
        let address = address.to_owned();
        let mut example = Self { child, address, stdout, stderr };
        if example.address.is_empty() {
            let _ = example.child.kill();
            let mut said = String::new();
            let _ = example.stderr.read_to_string(&mut said);
            panic!("{name} does not say where it listens, but {line:?} and {said:?}");
        }
        example
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path, "")
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.request("POST", path, &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        request(&self.address, method, path, body)
    }

    /// Sends SIGTERM.
    fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("there is a `kill`").success());
    }

    /// Waits for its end.
    fn ended(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).expect("its output is text");
        self.stderr.read_to_string(&mut stderr).expect("its errors are text");
        let status = self.child.wait().expect("it ends");
        Ended { status, stdout, stderr }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo puts examples: beside the folder of this test.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test is a file");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("it is in target/*/deps");
    let binary = profile.join("examples").join(name);
    assert!(
        binary.exists(),
        "the example `{name}` is not built; run `cargo test -p write-behind-producer`, or first \
         `cargo build -p write-behind-producer --examples`"
    );
    binary
}

fn request(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("an answer has a status"), body.to_owned())
}

/// Asks again until the answer holds `wanted`.
fn until(what: &str, wanted: &str, ask: impl Fn() -> String) {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer.contains(wanted) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}: {answer}");
        std::thread::yield_now();
    }
}

#[test]
fn the_leaderboard_reads_its_writes_and_ends_with_all_of_them_delivered() {
    let kafka = Broker::start().unwrap().topic("players", 4).unwrap();
    let leaderboard = Example::start("leaderboard", &["--kafka", &kafka.bootstrap_servers()]);
    assert_eq!(leaderboard.get("/players/7").0, 404);
    let ada = |points: i64, games: i64| json!({"name": "ada", "points": points, "games": games});
    for games in 1..=20 {
        let game = json!({"name": "ada", "points": 10});
        let saved = leaderboard.post("/players/7/games", &game);
        assert_eq!(saved, (201, ada(10 * games, games)));
        let (status, read) = leaderboard.get("/players/7");
        assert_eq!((status, serde_json::from_str::<Value>(&read).unwrap()), (200, saved.1));
    }
    leaderboard.post("/players/8/games", &json!({"name": "bob", "points": 500}));
    leaderboard.post("/players/9/games", &json!({"name": "cyd", "points": -1}));
    let top: Value = serde_json::from_str(&leaderboard.get("/top/2").1).unwrap();
    assert_eq!(top[0]["name"], "bob");
    assert_eq!(top[1], json!({"rank": 2, "id": 7, "name": "ada", "points": 200, "games": 20}));
    assert_eq!(top.as_array().map(Vec::len), Some(2));

    assert_eq!(leaderboard.get("/healthz").0, 200);
    assert_eq!(leaderboard.get("/readyz").0, 200);
    assert_eq!(leaderboard.get("/players/ada").0, 400, "no number");
    assert_eq!(leaderboard.post("/players/7/games", &json!({"points": 1})).0, 422, "no name");
    let nul = json!({"name": "a\0b", "points": 1});
    assert_eq!(leaderboard.post("/players/7/games", &nul).0, 400, "no database takes it");
    let counted = "write_behind_producer_writes_total{topic=\"players\"} 22";
    until("the writes are counted", counted, || leaderboard.get("/metrics").1);

    leaderboard.terminate();
    let ended = leaderboard.ended();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stdout.contains("stopped; every write is in the log"), "{}", ended.stdout);
    assert!(!ended.stderr.contains("still under way"), "no request was cut off: {}", ended.stderr);
    let sink = kafka.sink("players", "check").unwrap();
    assert_eq!(sink.apply_all().unwrap(), 22);
    assert_eq!(sink.row(&7).unwrap(), Some(ada(200, 20)));
}

#[test]
fn a_leaderboard_that_cannot_deliver_says_202_and_ends_by_naming_the_rows() {
    let kafka = Broker::start().unwrap().topic("players", 4).unwrap();
    let args = ["--kafka", &kafka.bootstrap_servers(), "--stop-within", "1"];
    let leaderboard = Example::start("leaderboard", &args);
    let game = json!({"name": "ada", "points": 10});
    assert_eq!(leaderboard.post("/players/7/games", &game).0, 201);
    kafka.brokers_down().unwrap();
    let (status, seen) = leaderboard.post("/players/7/games", &game);
    assert_eq!((status, &seen["points"]), (202, &json!(20)), "accepted and visible, no more");
    leaderboard.terminate();
    let ended = leaderboard.ended();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("players 7"), "{}", ended.stderr);
}

#[test]
fn the_counter_counts_every_view_once() {
    let counter = Example::start("counter", &["--visitors", "2"]);
    for views in 1..=50 {
        assert_eq!(counter.request("POST", "/views/home", "").0, 202);
        assert_eq!(counter.get("/views/home"), (200, format!("{{\"views\":{views}}}")));
    }
    assert_eq!(counter.get("/views/nowhere"), (200, "{\"views\":0}".to_owned()));
    counter.terminate();
    let ended = counter.ended();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stdout.contains("every page is exact"), "{}", ended.stdout);
}
