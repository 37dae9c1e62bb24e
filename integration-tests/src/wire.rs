//! What both proxies are made of: frames read whole, holds at named points, and a door to shut.
//!
//! A proxy forwards frame by frame. A [`Hold`] stops one connection at the first frame that is at
//! its point and tells the test; the rest flows on. A client that dies while it is held is noticed,
//! and its connection to the server is closed as the kernel would have closed it.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// What a proxy does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Forwards it.
    Open,
    /// Accepts connections and takes what is sent, but forwards nothing and answers nothing.
    BlackHole,
    /// Closes every connection at once, old and new.
    Refusing,
}

/// A stop at a point on the wire. Dropping it lets the traffic go on.
#[derive(Debug)]
pub struct Hold {
    point: String,
    reached: oneshot::Receiver<()>,
    release: oneshot::Sender<()>,
}

impl Hold {
    /// Waits until a connection has reached the point; it stands there until [`Hold::release`].
    pub async fn reached(&mut self, patience: Duration) -> Result<()> {
        tokio::time::timeout(patience, &mut self.reached)
            .await
            .with_context(|| format!("waited {patience:?} for the wire to reach {}", self.point))?
            .with_context(|| format!("the proxy ended before {}", self.point))
    }

    /// Lets the held connection go on.
    pub fn release(self) {
        // The connection may be gone by now, which is as good.
        let _ = self.release.send(());
    }
}

/// The holds that wait for their point.
#[derive(Debug)]
pub(crate) struct Holds<P>(Mutex<Vec<Armed<P>>>);

/// A hold before its point is reached.
#[derive(Debug)]
pub(crate) struct Armed<P> {
    point: P,
    reached: oneshot::Sender<()>,
    release: oneshot::Receiver<()>,
}

impl<P: std::fmt::Debug> Holds<P> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(crate) fn arm(&self, point: P) -> Hold {
        let (tell_reached, reached) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let hold = Hold { point: format!("{point:?}"), reached, release };
        let armed = Armed { point, reached: tell_reached, release: released };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(armed);
        hold
    }

    /// Takes the first hold whose point is `here`. One that was dropped before holds nothing.
    pub(crate) fn take(&self, here: impl Fn(&P) -> bool) -> Option<Armed<P>> {
        let mut armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        armed.retain_mut(|armed| {
            armed.release.try_recv() == Err(oneshot::error::TryRecvError::Empty)
        });
        let place = armed.iter().position(|armed| here(&armed.point))?;
        Some(armed.remove(place))
    }
}

impl<P> Armed<P> {
    /// Tells the test, and waits for it.
    pub(crate) async fn stop(self) {
        let _ = self.reached.send(());
        let _ = self.release.await;
    }
}

/// The length of the frame that begins with these bytes, when they tell it.
pub(crate) type Length = fn(&[u8]) -> Option<usize>;

/// The reading half of a connection, cut into frames.
#[derive(Debug)]
pub(crate) struct Frames {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Frames {
    pub(crate) fn new(half: OwnedReadHalf) -> Self {
        Self { half, buffer: Vec::new() }
    }

    /// The next frame; `None` when the connection has ended.
    pub(crate) async fn next(&mut self, length: Length) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(length) = length(&self.buffer).filter(|length| *length <= self.buffer.len())
            {
                let rest = self.buffer.split_off(length);
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Waits for `other`, but no longer than the connection lives.
    pub(crate) async fn while_alive(&mut self, other: impl Future<Output = ()>) -> io::Result<()> {
        tokio::pin!(other);
        loop {
            tokio::select! {
                biased;
                () = &mut other => return Ok(()),
                read = self.half.read_buf(&mut self.buffer) => if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                },
            }
        }
    }
}

/// Takes a port and serves every connection to it with one to the port that `server` says then,
/// until the sender of the returned door is dropped.
pub(crate) async fn listen<S, F>(
    server: Arc<AtomicU16>,
    serve: S,
) -> Result<(u16, watch::Sender<Door>)>
where
    S: Fn(Ends, watch::Receiver<Door>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for the proxy")?;
    let port = listener.local_addr()?.port();
    let (door, mut at_door) = watch::channel(Door::Open);
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        loop {
            let client = tokio::select! {
                biased;
                // Never true: it returns when the sender is dropped.
                _ = at_door.wait_for(|_| false) => return,
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => client,
                    Err(_) => return,
                },
            };
            let (serve, door) = (Arc::clone(&serve), at_door.clone());
            let server = server.load(Ordering::Relaxed);
            tokio::spawn(async move {
                let served = async {
                    let ends = Ends::connect(client, server).await?;
                    serve(ends, door.clone()).await
                };
                tokio::select! {
                    biased;
                    () = refused(door.clone()) => {}
                    // An ended connection is the peers' affair: both see it closed.
                    _ = served => {}
                }
            });
        }
    });
    Ok((port, door))
}

/// Both ends of one proxied connection.
pub(crate) struct Ends {
    pub(crate) from_client: Frames,
    pub(crate) to_client: OwnedWriteHalf,
    pub(crate) from_server: Frames,
    pub(crate) to_server: OwnedWriteHalf,
}

impl Ends {
    async fn connect(client: TcpStream, server: u16) -> io::Result<Self> {
        let server = TcpStream::connect(("127.0.0.1", server)).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (from_client, from_server) = (Frames::new(from_client), Frames::new(from_server));
        Ok(Self { from_client, to_client, from_server, to_server })
    }
}

/// Writes `frame` once the door is open.
pub(crate) async fn forward(
    to: &mut OwnedWriteHalf,
    frame: &[u8],
    door: &mut watch::Receiver<Door>,
) -> io::Result<()> {
    let open = door.wait_for(|door| *door == Door::Open).await;
    drop(open.map_err(|_| io::Error::from(io::ErrorKind::NotConnected))?);
    to.write_all(frame).await
}

/// Returns when the door begins to refuse, or when the proxy is dropped.
async fn refused(mut door: watch::Receiver<Door>) {
    // An error says that the proxy is gone, which ends the connection too.
    let _ = door.wait_for(|door| *door == Door::Refusing).await;
}
