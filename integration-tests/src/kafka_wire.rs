//! A proxy in front of the broker that can keep a client's commits or fetches from arriving.
//!
//! The broker advertises the proxy's port on a listener of its own, so a client that bootstraps
//! there stays there, while the tests use the direct listener. Clients are told apart by their
//! `client.id`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Result;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;

use crate::wire::{Door, Ends, Frames, Hold, Holds, forward, listen};

const FETCH: i16 = 1;
const OFFSET_COMMIT: i16 = 8;

/// The next request of this kind and client is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Next {
    api_key: i16,
    client: String,
}

/// The proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct KafkaWire {
    port: u16,
    server: Arc<AtomicU16>,
    holds: Arc<Holds<Next>>,
    door: watch::Sender<Door>,
}

impl KafkaWire {
    /// Takes a port. The broker must advertise it, so the proxy is there before the broker.
    pub(crate) async fn listening() -> Result<Self> {
        let server = Arc::new(AtomicU16::new(0));
        let holds = Arc::new(Holds::new());
        let held = Arc::clone(&holds);
        let serve = move |ends, door| serve(ends, door, Arc::clone(&held));
        let (port, door) = listen(Arc::clone(&server), serve).await?;
        Ok(Self { port, server, holds, door })
    }

    /// From now on what comes is forwarded to this port of the broker.
    pub(crate) fn forward_to(&self, server: u16) {
        self.server.store(server, Ordering::Relaxed);
    }

    /// Where the proxy listens; what the broker must advertise.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Keeps the next `OffsetCommit` of the client named `client_id` from the broker.
    pub fn hold_commit_of(&self, client_id: &str) -> Hold {
        self.holds.arm(Next { api_key: OFFSET_COMMIT, client: client_id.to_owned() })
    }

    /// Keeps the next `Fetch` of the client named `client_id` from the broker, and with it all that
    /// comes after it on this connection.
    pub fn hold_fetch_of(&self, client_id: &str) -> Hold {
        self.holds.arm(Next { api_key: FETCH, client: client_id.to_owned() })
    }

    /// Opens or shuts the way to the broker.
    pub fn set(&self, door: Door) {
        self.door.send_replace(door);
    }
}

async fn serve(ends: Ends, door: watch::Receiver<Door>, holds: Arc<Holds<Next>>) -> io::Result<()> {
    tokio::select! {
        biased;
        ended = requests(ends.from_client, ends.to_server, &holds, door.clone()) => ended,
        ended = answers(ends.from_server, ends.to_client, door) => ended,
    }
}

async fn requests(
    mut from: Frames,
    mut to: OwnedWriteHalf,
    holds: &Holds<Next>,
    mut door: watch::Receiver<Door>,
) -> io::Result<()> {
    while let Some(request) = from.next(length).await? {
        if let Some(key @ (FETCH | OFFSET_COMMIT)) = api_key(&request) {
            let client = client_id(&request).unwrap_or_default();
            let is_it = |next: &Next| next.api_key == key && next.client.as_bytes() == client;
            if let Some(hold) = holds.take(is_it) {
                from.while_alive(hold.stop()).await?;
            }
        }
        forward(&mut to, &request, &mut door).await?;
    }
    Ok(())
}

async fn answers(
    mut from: Frames,
    mut to: OwnedWriteHalf,
    mut door: watch::Receiver<Door>,
) -> io::Result<()> {
    while let Some(answer) = from.next(length).await? {
        forward(&mut to, &answer, &mut door).await?;
    }
    Ok(())
}

/// A frame's length field does not count itself.
fn length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(0..4)?.try_into().ok()?;
    Some(4 + u32::from_be_bytes(length) as usize)
}

/// A request begins, after its length, with the api key, the version and the correlation id.
fn api_key(request: &[u8]) -> Option<i16> {
    Some(i16::from_be_bytes(request.get(4..6)?.try_into().ok()?))
}

/// The nullable client id follows: two bytes of length, then the text.
fn client_id(request: &[u8]) -> Option<&[u8]> {
    let length = i16::from_be_bytes(request.get(12..14)?.try_into().ok()?);
    request.get(14..14 + usize::try_from(length).ok()?)
}
