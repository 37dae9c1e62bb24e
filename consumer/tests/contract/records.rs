//! A log in memory, of which everything can be read again.

use std::sync::{Arc, Mutex};

use write_behind_consumer::apply::log::{Log, RereadError, RereadPart};
use write_behind_consumer::core::batch::{Span, WantedKeys};
use write_behind_consumer::core::record::RawRecord;
use write_behind_shared::NextOffset;

/// The records, in the order of their offsets.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) all: Mutex<Vec<RawRecord>>,
    /// How often some were read again.
    pub(crate) reads: Mutex<usize>,
    /// How many records memory holds at once, if there is a limit.
    pub(crate) part_max: Mutex<Option<usize>>,
}

impl Log for Records {
    async fn records(
        &self,
        _topic: Arc<str>,
        spans: Vec<Span>,
        wanted: Arc<WantedKeys>,
    ) -> Result<RereadPart, RereadError> {
        *self.reads.lock().unwrap() += 1;
        let all = self.all.lock().unwrap();
        let is_wanted = |span: &Span, record: &RawRecord| {
            let Span { partition, start, end } = *span;
            let in_span = partition == record.partition
                && !start.is_past(record.offset)
                && end.is_past(record.offset);
            let mut key = record.key.iter();
            in_span && key.any(|key| wanted.contains(&(partition, key.clone())))
        };
        let places = spans.iter().enumerate();
        let mut found = places.flat_map(|(at, span)| {
            all.iter().filter(move |record| is_wanted(span, record)).map(move |record| (at, record))
        });
        let part_max = self.part_max.lock().unwrap().unwrap_or(usize::MAX);
        let records = found.by_ref().take(part_max).map(|(_, record)| record.clone()).collect();
        let rest = found.next().map_or_else(Vec::new, |(at, next)| {
            let mut rest = spans[at..].to_vec();
            rest[0].start = NextOffset(next.offset.0);
            rest
        });
        Ok(RereadPart { records, rest })
    }
}
