//! A Kafka client that several handles share.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder as ThreadBuilder, JoinHandle};
use std::time::{Duration, Instant};

use tracing::error;
use write_behind_shared::kafka::{KafkaSettings, RESERVED_BY_PRODUCER};

use crate::core::bounds::Bounds;
use crate::error::BuildError;
use crate::event::Lag;
use crate::kafka::batch_limit::BatchLimit;
use crate::kafka::connection::{AccessToken, Connection, Tokens};
use crate::kafka::handles::{ClientHandle, ClientHandles};
use crate::kafka::polling::Polling;
use crate::kafka::producer::{KafkaProducer, queue_of};
use crate::kafka::producer_client::ProducerClient;
use crate::metrics::Metrics;
use crate::partitions::Partitions;

/// A Kafka client that several handles share: one set of connections, one queue, one thread.
///
/// [`WriteBehind::builder`](crate::WriteBehind::builder) makes one for its handle alone. Clones are
/// the same client; it ends when the last of them and of its handles is gone.
#[derive(Clone)]
pub struct Kafka(Arc<Shared>);

struct Shared {
    connection: Connection,
    handles: Arc<ClientHandles>,
    batch_limit: Arc<BatchLimit>,
    stop: Arc<AtomicBool>,
    polling: Mutex<Option<JoinHandle<()>>>,
}

impl Kafka {
    /// A client with these librdkafka properties. It connects when the first handle is built.
    ///
    /// # Errors
    /// [`BuildError`]: a property is wrong or reserved, or no broker is named.
    pub fn new(
        properties: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Result<Self, BuildError> {
        Self::with(KafkaSettings::new(properties, RESERVED_BY_PRODUCER)?.into())
    }

    /// The same with tokens for a login by `SASL/OAUTHBEARER` (`sasl.mechanisms`), as MSK IAM and most
    /// identity services need them. `tokens` is called when a token is needed and before it expires,
    /// by each of the clients that a handle has, on their threads; it may block for a moment. What it
    /// fails with is logged, and it is asked again some seconds later.
    ///
    /// librdkafka needs its TLS for this mechanism (feature `tls`). The topic's own limits
    /// (`max.message.bytes`) are not asked for then: brokers tell what is too large.
    ///
    /// ```no_run
    /// # use std::time::{Duration, SystemTime};
    /// use write_behind_producer::{AccessToken, Kafka, WriteBehind};
    /// # fn signed() -> Result<String, std::io::Error> { Ok(String::new()) }
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let properties = [
    ///     ("bootstrap.servers", "kafka:9098"),
    ///     ("security.protocol", "SASL_SSL"),
    ///     ("sasl.mechanisms", "OAUTHBEARER"),
    /// ];
    /// let kafka = Kafka::with_tokens(properties, || {
    ///     let expires_at = SystemTime::now() + Duration::from_secs(900);
    ///     signed().map(|token| AccessToken { token, principal: "scores".to_owned(), expires_at })
    /// })?;
    /// let scores = kafka.builder::<u64, serde_json::Value>("scores").sink_group("scores").build().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BuildError`]: a property is wrong or reserved, or no broker is named.
    pub fn with_tokens<E>(
        properties: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
        tokens: impl Fn() -> Result<AccessToken, E> + Send + Sync + 'static,
    ) -> Result<Self, BuildError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let settings = KafkaSettings::new(properties, RESERVED_BY_PRODUCER)?;
        Self::with(Connection { settings, tokens: Tokens::of(tokens) })
    }

    fn with(connection: Connection) -> Result<Self, BuildError> {
        let settings = &connection.settings;
        let handles = Arc::new(ClientHandles::new(queue_of(settings)));
        let batch_limit = Arc::new(BatchLimit::of(settings));
        let (of_client, limit) = (connection.clone(), Arc::clone(&batch_limit));
        let make = move |listener| -> Result<Arc<dyn ProducerClient>, BuildError> {
            let reports_at_once = Bounds::STANDARD.reports_at_once;
            let limit = Arc::clone(&limit);
            Ok(Arc::new(KafkaProducer::new(&of_client, listener, limit, reports_at_once)?))
        };
        let now = Instant::now();
        let mut polling = Polling::start(Box::new(make), Arc::clone(&handles), now)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let builder = ThreadBuilder::new().name("write-behind-publish".to_owned());
        let told = Arc::clone(&handles);
        let thread = builder.spawn(move || told.run(|| polling.run(&stopped)));
        let thread = thread.inspect_err(|_| {
            // The client and the handles know each other: nothing else would end the client.
            handles.set_producer(None);
        })?;
        let polling = Mutex::new(Some(thread));
        Ok(Self(Arc::new(Shared { connection, handles, batch_limit, stop, polling })))
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// What to do when a topic is known to take no larger batch than this: one that is too large is
    /// refused with all that is in it. It does not keep the client.
    pub(crate) fn smaller_batches(&self) -> impl FnOnce(usize) + Send + 'static {
        let (limit, handles) = (Arc::clone(&self.0.batch_limit), Arc::clone(&self.0.handles));
        move |bytes| {
            if limit.lower_to(bytes) {
                handles.want_another_client();
            }
        }
    }

    /// Lets the handle's records leave that was joined without.
    pub(crate) fn connect_later(
        &self,
        handle: &Arc<ClientHandle>,
    ) -> impl FnOnce() + Send + 'static {
        // Not the client itself, which ends with the last handle that has it.
        let (handles, handle) = (Arc::clone(&self.0.handles), Arc::clone(handle));
        move || {
            handle.may_send.store(true, Ordering::Release);
            handles.connect(&handle);
        }
    }

    /// Lets a handle use the client; unless it `may_send`, its records wait.
    pub(crate) fn join(
        &self,
        topic: &str,
        partitions: &Arc<Partitions>,
        metrics: &Arc<Metrics>,
        (coalesce, lagging_after): (Option<Duration>, Duration),
        may_send: bool,
    ) -> Result<Arc<ClientHandle>, BuildError> {
        let handle = self.0.handles.add(|place| ClientHandle {
            topic: topic.into(),
            place,
            partitions: Arc::clone(partitions),
            metrics: Arc::clone(metrics),
            coalesce,
            lag: Lag::new(lagging_after),
            may_send: AtomicBool::new(may_send),
        })?;
        self.0.handles.connect(&handle);
        Ok(handle)
    }

    /// A handle no longer uses the client. If it was the last, the client ends: what Kafka has not
    /// answered is given up, and this blocks until that is told.
    pub(crate) fn leave(self, handle: &ClientHandle) {
        let handles = Arc::clone(&self.0.handles);
        if let Some(shared) = Arc::into_inner(self.0) {
            shared.stop.store(true, Ordering::Release);
            let thread = shared.polling.lock().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                error!("the polling thread panicked");
            }
        }
        handle.partitions.close();
        handles.remove(handle.place);
        // Somebody may keep a write for long: it must not keep the client.
        handle.partitions.set_outlet(None);
        handle.measure(Instant::now());
    }

    /// The same without waiting for anything.
    pub(crate) fn abandon(self, handle: &ClientHandle) {
        handle.partitions.stop_intake();
        if Arc::strong_count(&self.0) > 1 {
            handle.partitions.close();
            self.0.handles.remove(handle.place);
            handle.partitions.set_outlet(None);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka")
            .field("settings", &self.0.connection.settings)
            .finish_non_exhaustive()
    }
}
