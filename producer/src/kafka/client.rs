//! A Kafka client that several handles share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder as ThreadBuilder, JoinHandle};
use std::time::{Duration, Instant};

use tracing::error;
use write_behind_shared::kafka::{KafkaSettings, RESERVED_BY_PRODUCER};

use crate::error::BuildError;
use crate::event::Lag;
use crate::kafka::handles::{Member, Members};
use crate::kafka::link::Link;
use crate::kafka::polling::Polling;
use crate::metrics::Metrics;
use crate::partitions::Lanes;

/// A Kafka client that several handles share: one set of connections, one queue, one thread.
///
/// [`WriteBehind::builder`](crate::WriteBehind::builder) makes one for its handle alone. Clones are
/// the same client; it ends when the last of them and of its handles is gone.
#[derive(Clone)]
pub struct Kafka(Arc<Shared>);

struct Shared {
    settings: KafkaSettings,
    members: Arc<Members>,
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
        let settings = KafkaSettings::new(properties, RESERVED_BY_PRODUCER)?;
        let members = Arc::new(Members::default());
        let link = Arc::new(Link::new(&settings, Arc::<Members>::clone(&members))?);
        members.set_link(Some(&link));
        let stop = Arc::new(AtomicBool::new(false));
        let mut polling = Polling::new(settings.clone(), Arc::clone(&members));
        let stopped = Arc::clone(&stop);
        let builder = ThreadBuilder::new().name("write-behind-publish".to_owned());
        let thread = builder.spawn(move || polling.run(&stopped))?;
        Ok(Self(Arc::new(Shared { settings, members, stop, polling: Mutex::new(Some(thread)) })))
    }

    pub(crate) fn settings(&self) -> &KafkaSettings {
        &self.0.settings
    }

    /// Lets a handle use the client.
    pub(crate) fn join(
        &self,
        topic: &str,
        lanes: &Arc<Lanes>,
        metrics: &Arc<Metrics>,
        (coalesce, lagging_after): (Option<Duration>, Duration),
    ) -> Result<Arc<Member>, BuildError> {
        let member = self.0.members.add(|place| Member {
            topic: topic.into(),
            place,
            lanes: Arc::clone(lanes),
            metrics: Arc::clone(metrics),
            coalesce,
            lag: Lag::new(lagging_after),
        })?;
        self.0.members.connect(&member);
        Ok(member)
    }

    /// A handle no longer uses the client. If it was the last, the client ends: what Kafka has not
    /// answered is given up, and this blocks until that is told.
    pub(crate) fn leave(self, member: &Member) {
        let members = Arc::clone(&self.0.members);
        if let Some(shared) = Arc::into_inner(self.0) {
            shared.stop.store(true, Ordering::Release);
            let thread = shared.polling.lock().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                error!("the polling thread panicked");
            }
        }
        member.lanes.close();
        members.remove(member.place);
        member.measure(Instant::now());
    }

    /// The same without waiting for anything.
    pub(crate) fn abandon(self, member: &Member) {
        member.lanes.stop_intake();
        if Arc::strong_count(&self.0) > 1 {
            member.lanes.close();
            self.0.members.remove(member.place);
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
        f.debug_struct("Kafka").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
