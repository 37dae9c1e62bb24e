//! The start of the poll thread.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::MonotonicClock;
use crate::config::Config;
use crate::core::pipeline::bounds::Bounds;
use crate::kafka::bell::Bell;
use crate::kafka::messages::PollExit;
use crate::kafka::reading::Reading;
use crate::kafka::source::{Ends, Source};

/// Starts the poll thread. The first receiver gets how it ended; the second completes once the
/// client is closed. `partitions`: how many the topics have; `bell` wakes the thread.
pub(super) fn start_polling(
    config: &Config,
    partitions: usize,
    ends: Ends,
    bell: &Arc<Bell>,
) -> Result<(oneshot::Receiver<PollExit>, oneshot::Receiver<()>), String> {
    let reading = Reading::subscribe(config, partitions, Arc::clone(bell))?;
    let source = Source::new(config, Bounds::STANDARD, reading, MonotonicClock::start(), ends);
    let (tell_exit, exit) = oneshot::channel();
    let (tell_closed, closed) = oneshot::channel();
    let poll = move || {
        let (exit, reading) = source.run();
        // The receiver is gone if the consumer's future was dropped. The thread ends either way.
        let _ = tell_exit.send(exit);
        reading.close();
        let _ = tell_closed.send(());
    };
    let thread = std::thread::Builder::new().name("write-behind-poll".to_owned());
    thread.spawn(poll).map_err(|error| error.to_string())?;
    Ok((exit, closed))
}
