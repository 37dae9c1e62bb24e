//! What people may do on the page: nothing, unless it is switched on and they have the token.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};
use write_behind_consumer::config::Config;
use write_behind_consumer::run::RunOptions;

use crate::world::{Running, TOPIC, World, wait_for, wait_until};

const TOKEN: &str = "0123456789abcdef-hush";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A consumer's page.
struct Page(u16);

impl Page {
    fn config(world: &World, more: &str) -> (Self, Config) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = world.config("", "");
        let text = format!(
            "name = \"x\"\nkafka = {{ \"bootstrap.servers\" = \"x:1\" }}\ndatabase = {{ url = \"sqlite://x.db\" }}\n[[route]]\n\
             topic = \"x\"\n[http]\n{more}"
        );
        config.page = Config::read(&text, &std::collections::BTreeMap::new()).unwrap().page;
        config.http = Some(([127, 0, 0, 1], port).into());
        (Self(port), config)
    }

    /// The status code, and the body.
    fn ask(&self, what: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.0)).unwrap();
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let headers = headers.collect::<Vec<_>>().concat();
        let request = format!(
            "{what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len(),
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    fn with_token(&self, what: &str, body: &Value) -> (u16, Value) {
        let bearer = format!("Bearer {TOKEN}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (code, answer) = self.ask(what, &[("authorization", &bearer), JSON], &body);
        (code, serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
    }
}

/// Sends bad records, and waits until they are dead letters.
fn with_letters(world: &World, records: i64) {
    for n in 0..records {
        let value = format!(r#"{{"name":"n{n}","extra":{n}}}"#);
        world.send_to(1, Some(&n.to_string()), Some(&value), None);
    }
    world.flush();
    let letters = || {
        let tables = "SELECT count(*) FROM sqlite_master WHERE name = 'write_behind_dead_letters'";
        if world.number(tables) == 0 {
            return 0;
        }
        world.number("SELECT count(*) FROM write_behind_dead_letters WHERE state = 'open'")
    };
    wait_for("the letters are there", letters, |letters| *letters == records);
}

#[test]
fn letters_are_listed_replayed_and_discarded_by_who_has_the_token() {
    let world = World::new();
    let (page, config) = Page::config(&world, &format!("actions = true\ntoken = \"{TOKEN}\"\n"));
    let consumer = Running::start(config, RunOptions::default());
    // A table that was altered while it was empty would be told as emptied.
    world.send("7", Some("{}"), None);
    with_letters(&world, 4);
    wait_for("a row", || world.number("SELECT count(*) FROM scores"), |rows| *rows == 1);

    let list = format!("GET /dead-letters?topic={TOPIC}");
    let (code, listed) = page.with_token(&list, &Value::Null);
    assert_eq!((code, &listed["open"]), (200, &json!(4)), "{listed}");
    let first = &listed["letters"][0];
    assert_eq!((&first["place"], &first["key"]), (&json!([1, 0]), &json!("0")), "{listed}");
    assert!(first["reason"].as_str().unwrap().contains("extra"), "{listed}");
    assert_eq!(first["value"], json!(r#"{"name":"n0","extra":0}"#));

    let one = |offset: i64| json!({ "topic": TOPIC, "place": [1, offset] });
    let (code, told) = page.with_token("POST /dead-letters/replay", &one(0));
    assert_eq!((code, &told[0]["outcome"]), (200, &json!("left open")), "{told}");
    world.execute("ALTER TABLE scores ADD COLUMN extra INTEGER");
    let (code, told) = page.with_token("POST /dead-letters/replay", &one(0));
    assert_eq!((code, &told[0]["outcome"]), (200, &json!("replayed")), "{told}");
    assert_eq!(world.query("SELECT name, extra FROM scores WHERE id = 0"), [["n0", "0"]]);
    let (code, told) = page.with_token("POST /dead-letters/discard", &one(1));
    assert_eq!((code, told), (200, json!({ "discarded": 1 })));
    let (code, told) = page.with_token("POST /dead-letters/replay", &json!({ "topic": TOPIC }));
    assert_eq!((code, told.as_array().unwrap().len()), (200, 2), "{told}");
    let (_, listed) = page.with_token(&list, &Value::Null);
    assert_eq!(listed, json!({ "open": 0, "letters": [] }));
    let states = "SELECT state FROM write_behind_dead_letters ORDER BY record_offset";
    let expected = [["replayed"], ["discarded"], ["replayed"], ["replayed"]];
    assert_eq!(world.query(states), expected);
    let (_, status) = page.ask("GET /status", &[], "");
    assert!(status.contains("\"actions\":true") && !status.contains(TOKEN), "{status}");
    consumer.drain().unwrap();
}

#[test]
fn nobody_acts_without_the_token_and_no_other_page_can() {
    let world = World::new();
    let (page, config) = Page::config(&world, &format!("actions = true\ntoken = \"{TOKEN}\"\n"));
    let consumer = Running::start(config, RunOptions::default());
    with_letters(&world, 1);
    let which = json!({ "topic": TOPIC }).to_string();
    let bearer = format!("Bearer {TOKEN}");
    let almost = format!("Bearer {TOKEN}x");
    for act in
        ["POST /dead-letters/discard", "POST /dead-letters/replay", "GET /dead-letters?topic=x"]
    {
        for wrong in ["Bearer", "Bearer ", "Bearer hush", TOKEN, &almost, "Basic eDp5"] {
            let (code, told) = page.ask(act, &[("authorization", wrong), JSON], &which);
            assert_eq!(code, 401, "{act} {wrong}: {told}");
            assert!(!told.contains(TOKEN));
        }
        assert_eq!(page.ask(act, &[JSON], &which).0, 401);
        // In a cookie or a URL, which a browser sends for others, it counts for nothing.
        assert_eq!(page.ask(act, &[("cookie", &bearer), JSON], &which).0, 401);
    }
    let discard = "POST /dead-letters/discard";
    let in_url = format!("{discard}?token={TOKEN}&authorization={TOKEN}");
    assert_eq!(page.ask(&in_url, &[JSON], &which).0, 401);
    // What a browser asks before it sends a header for a foreign page is not allowed.
    let preflight = [("origin", "http://evil"), ("access-control-request-method", "POST")];
    let (code, told) = page.ask("OPTIONS /dead-letters/discard", &preflight, "");
    assert!(code >= 400, "{code} {told}");
    // What a form can send is no JSON; and a GET changes nothing.
    let form = [("authorization", &*bearer), ("content-type", "text/plain")];
    assert_eq!(page.ask(discard, &form, &which).0, 415);
    assert_eq!(page.ask("GET /dead-letters/discard", &[("authorization", &bearer)], "").0, 405);
    let long = json!({ "topic": "x".repeat(100_000) }).to_string();
    assert_eq!(page.ask(discard, &[("authorization", &bearer), JSON], &long).0, 413);
    let misspelt = json!({ "topic": TOPIC, "plaec": [1, 0] }).to_string();
    assert_eq!(page.ask(discard, &[("authorization", &bearer), JSON], &misspelt).0, 422);
    let open = "SELECT count(*) FROM write_behind_dead_letters WHERE state = 'open'";
    assert_eq!(world.number(open), 1, "nothing was done");
    consumer.drain().unwrap();
}

#[test]
fn a_page_without_actions_changes_nothing_whatever_is_sent() {
    let world = World::new();
    let (page, config) = Page::config(&world, &format!("token = \"{TOKEN}\"\n"));
    let consumer = Running::start(config, RunOptions::default());
    with_letters(&world, 1);
    wait_until("it listens", || page.ask("GET /healthz", &[], "").0 == 200);
    let which = json!({ "topic": TOPIC });
    for act in
        ["POST /dead-letters/discard", "POST /dead-letters/replay", "GET /dead-letters?topic=x"]
    {
        assert_eq!(page.with_token(act, &which).0, 404, "{act}");
    }
    let open = "SELECT count(*) FROM write_behind_dead_letters WHERE state = 'open'";
    assert_eq!(world.number(open), 1);
    assert!(page.ask("GET /status", &[], "").1.contains("\"actions\":false"));
    consumer.drain().unwrap();
}
