//! How the simulated world answers the pipeline.

use super::*;

impl World {
    /// The client loses a record without a word.
    pub(super) fn pass_over(&mut self, partition: usize) {
        let end = self.logs[partition].len();
        if let Some((offset, false)) = self.fetching.get_mut(&partition)
            && *offset < end
        {
            self.lost[partition] = Some(*offset);
            *offset += 1;
            // Only the next record shows it. Where none comes, the watchdog looks.
            self.moved[partition] = true;
        }
    }

    pub(super) fn look(&mut self, is_answered: bool) {
        for (tp, id, look) in std::mem::take(&mut self.looks) {
            let log = &self.logs[tp.partition.0 as usize];
            let records = log[look.start.0 as usize..look.end.0 as usize].iter();
            let records =
                records.filter(|entry| !matches!(entry.kind, Kind::Marker)).count() as u64;
            let facts = SkipFacts { low: NextOffset::ZERO, records, is_compacted: false };
            let found = if is_answered { Ok(facts) } else { Err("silence".to_owned()) };
            self.pipeline.looked_at_skip(self.now, tp, id, &found);
        }
    }

    pub(super) fn finish(&mut self, chosen: usize) {
        let all = self.batches.len() + self.orphans.len();
        if all == 0 {
            return;
        }
        let chosen = chosen % all;
        if chosen >= self.batches.len() {
            let orphan = self.orphans.swap_remove(chosen - self.batches.len());
            transact(&mut self.tables, &orphan);
            self.moved = [true; PARTITIONS];
            return;
        }
        let (id, batch) = self.batches.swap_remove(chosen);
        let ended = transact(&mut self.tables, &batch);
        self.pipeline.finished(self.now, id, &ended);
    }

    /// A batch was not written, for a reason that only time or a person ends.
    pub(super) fn give_back(&mut self, chosen: usize, op: &Op) {
        let Some(chosen) = chosen.checked_rem(self.batches.len()) else { return };
        let (id, batch) = self.batches.swap_remove(chosen);
        match op {
            Op::Refuse(_) => {
                let stop = Stop { why: "no table".to_owned(), partition: None };
                self.pipeline.stopped(self.now, id, &stop);
            }
            Op::Delay(_) => self.pipeline.hold(self.now, id, "locked"),
            _ => {
                self.held.push(id);
                self.pipeline.park(self.now, id, Box::new(batch), &ahead::Survey::default());
            }
        }
    }

    pub(super) fn answer_commit(&mut self, answer: Answer) {
        let Some((id, offsets)) = self.committing.take() else { return };
        if !matches!(answer, Answer::Refused) {
            for (tp, next) in offsets {
                let partition = tp.partition.0 as usize;
                self.committed[partition] = Some(next.0);
            }
        }
        self.pipeline.commit_answered(self.now, id, matches!(answer, Answer::Taken));
    }

    pub(super) fn locate(&mut self) {
        let found = std::mem::take(&mut self.asked).into_iter().map(|(tp, epoch)| {
            let partition = tp.partition.0 as usize;
            let table = &self.tables[partition];
            Located {
                tp,
                epoch,
                next: NextOffset(table.next as i64),
                committed: self.committed[partition].map(NextOffset),
                was_adopted: false,
                writers: table.writers(tp.partition),
            }
        });
        let found = found.collect();
        self.pipeline.located(self.now, found);
    }
}
