//! Poolers between the consumer and Postgres, by a server that does with connections what `PgBouncer`
//! does: it refuses startup parameters that it does not know, and gives out sessions of the server by
//! session or by transaction.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use write_behind_consumer::store::{Database, StoreError, Timeouts};

/// The parameters that `PgBouncer` takes at a start.
const TAKEN: [&str; 7] = [
    "user",
    "database",
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "application_name",
    "standard_conforming_strings",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pools {
    BySession,
    ByTransaction,
}

/// Sessions of the server that nobody has, the last one first; and how many there are in all.
#[derive(Default)]
struct Sessions {
    free: Vec<i32>,
    all: i32,
}

impl Sessions {
    fn take(&mut self) -> i32 {
        self.free.pop().unwrap_or_else(|| {
            self.all += 1;
            self.all
        })
    }
}

/// Starts a pooler before a database that is no standby; gives its URL.
async fn pooler(pools: Pools) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sessions = Arc::new(Mutex::new(Sessions::default()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, pools, Arc::clone(&sessions)));
        }
    });
    format!("postgres://u:p@127.0.0.1:{port}/game?sslmode=disable")
}

async fn serve(mut stream: TcpStream, pools: Pools, sessions: Arc<Mutex<Sessions>>) -> Option<()> {
    let length = stream.read_u32().await.ok()?;
    let mut startup = vec![0; length as usize - 4];
    stream.read_exact(&mut startup).await.ok()?;
    let names = startup[4..].split(|byte| *byte == 0).step_by(2).map(String::from_utf8_lossy);
    let strange = names.filter(|name| !name.is_empty()).find(|name| !TAKEN.contains(&&**name));
    if let Some(strange) = strange {
        let told = format!("SFATAL\0C08P01\0Munsupported startup parameter: {strange}\0\0");
        stream.write_all(&message(b'E', told.as_bytes())).await.ok()?;
        return None;
    }
    let hello = [message(b'R', &[0; 4]), message(b'K', &[0; 8]), message(b'Z', b"I")];
    stream.write_all(&hello.concat()).await.ok()?;
    let (mut session, mut in_transaction) = (None, false);
    loop {
        let kind = stream.read_u8().await.ok()?;
        let length = stream.read_u32().await.ok()?;
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.ok()?;
        if kind != b'Q' {
            return None;
        }
        let held = session.take().unwrap_or_else(|| sessions.lock().unwrap().take());
        let sql = String::from_utf8_lossy(&body[..body.len() - 1]).into_owned();
        let mut answer = Vec::new();
        for statement in sql.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            match statement {
                "BEGIN" => in_transaction = true,
                "ROLLBACK" => in_transaction = false,
                "SELECT pg_backend_pid()" => answer.extend(row(23, &[&held.to_string()])),
                // It is no standby, and its triggers run.
                select if select.starts_with("SELECT") => answer.extend(row(16, &["f", "f"])),
                _ => {}
            }
            answer.extend(message(b'C', b"DONE 0\0"));
        }
        answer.extend(message(b'Z', if in_transaction { b"T" } else { b"I" }));
        if pools == Pools::ByTransaction && !in_transaction {
            sessions.lock().unwrap().free.push(held);
        } else {
            session = Some(held);
        }
        stream.write_all(&answer).await.ok()?;
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&[kind][..], &length, body].concat()
}

/// A row of columns of this type, and before it their description.
fn row(of_type: u32, texts: &[&str]) -> Vec<u8> {
    let count = (texts.len() as u16).to_be_bytes();
    let (mut columns, mut cells) = (count.to_vec(), count.to_vec());
    for text in texts {
        columns.extend(b"column\0");
        columns.extend([0; 6]);
        columns.extend(of_type.to_be_bytes());
        columns.extend([0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        cells.extend((text.len() as u32).to_be_bytes());
        cells.extend(text.as_bytes());
    }
    [message(b'T', &columns), message(b'D', &cells)].concat()
}

#[tokio::test]
async fn a_pooler_by_session_takes_our_connections_and_is_none_for_us() {
    let database = Database::parse(&pooler(Pools::BySession).await).unwrap();
    let mut store = database.connect(&Timeouts::STANDARD).await.unwrap();
    assert_eq!(database.pooling(&mut store, &Timeouts::STANDARD).await.unwrap(), None);
}

#[tokio::test]
async fn a_pooler_by_transaction_is_told_in_one_sentence_however_many_sessions_it_has() {
    let url = pooler(Pools::ByTransaction).await;
    let database = Database::parse(&url).unwrap();
    for _ in 0..3 {
        let mut store = database.connect(&Timeouts::STANDARD).await.unwrap();
        let why = database.pooling(&mut store, &Timeouts::STANDARD).await.unwrap().unwrap();
        assert!(
            why.starts_with("postgres://127.0.0.1:") && why.contains("pool by session"),
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_parameter_that_a_pooler_refuses_ends_the_start_with_the_mend() {
    let url = pooler(Pools::BySession).await;
    let database = Database::parse(&format!("{url}&options=-c%20a.b%3Dc")).unwrap();
    let error = database.connect(&Timeouts::STANDARD).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Stop(why) if why.contains("ignore_startup_parameters")),
        "{error}"
    );
}
