//! A client that is slow, silent, greedy or endless takes nothing for ever, and nothing from the next
//! one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::AbortHandle;

use super::*;

/// Longer than any of the limits below, and than a busy machine takes.
const PATIENCE: Duration = Duration::from_mins(1);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";
const LONG: Duration = Duration::from_hours(1);

/// No limit of time is reached.
const PATIENT: ServerLimits = ServerLimits {
    connections: 2,
    head_bytes: 16 << 10,
    head_within: LONG,
    connection_within: LONG,
};

/// A listener with limits of its own, whose answer has a body of a given size.
struct Served {
    address: SocketAddr,
    serving: AbortHandle,
}

impl Served {
    async fn with(limits: ServerLimits, body: usize) -> Self {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async move || "x".repeat(body)));
        let serving = tokio::spawn(accept(listener, router, limits)).abort_handle();
        Self { address, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What comes until the other side ends the connection.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A connection may also be reset.
    let _ = read.expect("the connection is ended");
    rest
}

async fn is_answered(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 12];
    stream.write_all(GET).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    read.expect("an answer").is_ok_and(|_| answer == *b"HTTP/1.1 200")
}

#[tokio::test]
async fn a_client_that_sends_half_a_head_or_nothing_is_disconnected() {
    let limits = ServerLimits { head_within: Duration::from_millis(200), ..PATIENT };
    let served = Served::with(limits, 9).await;
    for sent in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nHost: here\r\nX: "] {
        let mut stream = served.connect().await;
        stream.write_all(sent).await.unwrap();
        let rest = rest(stream).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{sent:?}");
    }
    // Neither is one kept that asked once and then says nothing.
    let mut stream = served.connect().await;
    assert!(is_answered(&mut stream).await);
    rest(stream).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_the_answer_is_disconnected() {
    let within = Duration::from_millis(200);
    let limits =
        ServerLimits { connections: 1, head_within: within, connection_within: within, ..PATIENT };
    // More than the sockets' buffers hold.
    let served = Served::with(limits, 64 << 20).await;
    let mut deaf = served.connect().await;
    deaf.write_all(GET).await.unwrap();
    let mut next = served.connect().await;
    assert!(is_answered(&mut next).await, "the only place is free again");
}

#[tokio::test]
async fn a_client_that_asks_without_end_must_connect_again() {
    let limits = ServerLimits { connection_within: Duration::from_millis(300), ..PATIENT };
    let served = Served::with(limits, 9).await;
    let mut stream = served.connect().await;
    let asking = async {
        let mut answers = 0;
        let mut answer = [0; 4096];
        while stream.write_all(GET).await.is_ok() {
            match stream.read(&mut answer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => answers += 1,
            }
        }
        answers
    };
    let answers = tokio::time::timeout(PATIENCE, asking).await.expect("the connection is ended");
    assert!(answers > 0, "it was answered until then");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_before_all_of_it_is_read() {
    let served = Served::with(PATIENT, 9).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nX: ").await.unwrap();
    let endless = async {
        let piece = [b'x'; 1024];
        // It ends when the other side has had enough.
        while stream.write_all(&piece).await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, endless).await.expect("it is not read for ever");
}

#[tokio::test]
async fn there_are_only_so_many_connections_and_the_next_one_waits_for_its_turn() {
    let served = Served::with(PATIENT, 9).await;
    let (mut first, mut second) = (served.connect().await, served.connect().await);
    assert!(is_answered(&mut first).await && is_answered(&mut second).await);
    let mut third = served.connect().await;
    third.write_all(GET).await.unwrap();
    let mut answer = [0; 12];
    let early = tokio::time::timeout(Duration::from_millis(300), third.read(&mut answer)).await;
    assert!(early.is_err(), "both places are taken: {early:?}");
    drop(first);
    let read = tokio::time::timeout(PATIENCE, third.read_exact(&mut answer)).await;
    assert!(read.expect("its turn").is_ok() && answer == *b"HTTP/1.1 200");
}
