//! A proxy in front of Postgres that stops a worker at an exact point of its transaction.
//!
//! It reads the frontend's messages, remembers the text of every prepared statement, and so knows
//! what a connection is about to do. The worker is the unmodified binary and knows nothing of it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;

use crate::wire::{Armed, Door, Ends, Frames, Hold, Holds, forward, listen};

/// Where a connection can be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// BEGIN was sent and is not forwarded: the database knows nothing of the transaction.
    Begin,
    /// Inside the transaction: the insert into this table is bound and not forwarded.
    Insert(String),
    /// The database has committed a transaction that inserted into this table, and its answer is
    /// not forwarded.
    CommitAnswer(String),
}

/// The proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct PostgresWire {
    port: u16,
    holds: Arc<Holds<Point>>,
    door: watch::Sender<Door>,
}

impl PostgresWire {
    /// Listens on a free port and forwards to Postgres at `server`.
    pub async fn in_front_of(server: u16) -> Result<Self> {
        let holds = Arc::new(Holds::new());
        let held = Arc::clone(&holds);
        let serve = move |ends, door| serve(ends, door, Arc::clone(&held));
        let (port, door) = listen(Arc::new(server.into()), serve).await?;
        Ok(Self { port, holds, door })
    }

    /// Where the proxy listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the next connection that comes to `point`.
    pub fn hold(&self, point: Point) -> Hold {
        self.holds.arm(point)
    }

    /// Opens or shuts the way to the database.
    pub fn set(&self, door: Door) {
        self.door.send_replace(door);
    }
}

async fn serve(
    mut ends: Ends,
    mut door: watch::Receiver<Door>,
    holds: Arc<Holds<Point>>,
) -> io::Result<()> {
    start_up(&mut ends, &mut door).await?;
    let (inserting, inserted) = watch::channel(String::new());
    let requests = Requests {
        from: ends.from_client,
        to: ends.to_server,
        statements: HashMap::new(),
        inserting,
        holds: &holds,
        door: door.clone(),
    };
    tokio::select! {
        biased;
        ended = requests.pump() => ended,
        ended = answers(ends.from_server, ends.to_client, inserted, &holds, door) => ended,
    }
}

/// Forwards the start-up message, and says no to encryption itself, so that all that follows is
/// framed alike.
async fn start_up(ends: &mut Ends, door: &mut watch::Receiver<Door>) -> io::Result<()> {
    const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
    const GSS_REQUEST: [u8; 4] = 80_877_104_u32.to_be_bytes();
    loop {
        let Some(first) = ends.from_client.next(untyped_length).await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let code = first.get(4..8).unwrap_or_default();
        if code == SSL_REQUEST || code == GSS_REQUEST {
            ends.to_client.write_all(b"N").await?;
        } else {
            return forward(&mut ends.to_server, &first, door).await;
        }
    }
}

struct Requests<'a> {
    from: Frames,
    to: OwnedWriteHalf,
    /// The text of each prepared statement by its name.
    statements: HashMap<Vec<u8>, String>,
    /// The text of the inserts since BEGIN.
    inserting: watch::Sender<String>,
    holds: &'a Holds<Point>,
    door: watch::Receiver<Door>,
}

impl Requests<'_> {
    async fn pump(mut self) -> io::Result<()> {
        while let Some(message) = self.from.next(typed_length).await? {
            if let Some(hold) = self.point_of(&message) {
                self.from.while_alive(hold.stop()).await?;
            }
            forward(&mut self.to, &message, &mut self.door).await?;
        }
        Ok(())
    }

    fn point_of(&mut self, message: &[u8]) -> Option<Armed<Point>> {
        let mut fields = message.get(5..)?.split(|byte| *byte == 0);
        match message[0] {
            b'P' => {
                let name = fields.next()?.to_vec();
                let text = String::from_utf8_lossy(fields.next()?).into_owned();
                self.statements.insert(name, text);
                None
            }
            b'B' => {
                let _portal = fields.next()?;
                let text = self.statements.get(fields.next()?)?.clone();
                self.point_of_text(&text)
            }
            b'Q' => {
                let text = String::from_utf8_lossy(fields.next()?).into_owned();
                self.point_of_text(&text)
            }
            _ => None,
        }
    }

    fn point_of_text(&self, text: &str) -> Option<Armed<Point>> {
        if starts_with(text, "BEGIN") || starts_with(text, "START TRANSACTION") {
            self.inserting.send_replace(String::new());
            return self.holds.take(|point| *point == Point::Begin);
        }
        let inserts = starts_with(text, "INSERT") || starts_with(text, "WITH");
        if !inserts {
            return None;
        }
        self.inserting.send_modify(|texts| texts.push_str(text));
        self.holds.take(|point| matches!(point, Point::Insert(table) if text.contains(&**table)))
    }
}

async fn answers(
    mut from: Frames,
    mut to: OwnedWriteHalf,
    inserted: watch::Receiver<String>,
    holds: &Holds<Point>,
    mut door: watch::Receiver<Door>,
) -> io::Result<()> {
    while let Some(message) = from.next(typed_length).await? {
        if message.starts_with(b"C") && message.get(5..) == Some(b"COMMIT\0") {
            let texts = inserted.borrow().clone();
            let here = |point: &Point| matches!(point, Point::CommitAnswer(table) if texts.contains(&**table));
            if let Some(hold) = holds.take(here) {
                hold.stop().await;
            }
        }
        forward(&mut to, &message, &mut door).await?;
    }
    Ok(())
}

fn starts_with(text: &str, word: &str) -> bool {
    text.trim_start().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// A message with a type byte: its length field counts itself and not the type.
fn typed_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(1..5)?.try_into().ok()?;
    Some(1 + u32::from_be_bytes(length) as usize)
}

/// The first message has no type byte.
fn untyped_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(0..4)?.try_into().ok()?;
    Some(u32::from_be_bytes(length) as usize)
}
