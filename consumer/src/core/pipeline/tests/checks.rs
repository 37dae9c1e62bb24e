//! What must hold of the simulated world at every moment, and that it comes to its end.

use super::*;

impl World {
    /// What must hold at every moment.
    pub(super) fn check(&self) {
        for partition in 0..PARTITIONS {
            let table = &self.tables[partition];
            let expected = prefix(&self.logs[partition], table.next);
            assert_eq!(*table, expected, "partition {partition} is an exact prefix of its log");
            if let (Some(committed), false) = (self.committed[partition], self.restored[partition])
            {
                assert!(committed as usize <= table.next, "Kafka is never ahead of the database");
            }
        }
        let progress = self.pipeline.progress(self.now);
        let held = progress.open_bytes + progress.in_flight_bytes;
        assert!(held <= MEMORY + 1_000, "{held} bytes are within the limit and one record");
    }

    /// Whether everything is written and Kafka knows it.
    fn is_done(&self) -> bool {
        (0..PARTITIONS).all(|partition| {
            let is_record = |entry: &Entry| !matches!(entry.kind, Kind::Marker);
            let end = self.logs[partition].iter().rposition(is_record).map_or(0, |last| last + 1);
            let next = self.tables[partition].next;
            next >= end && self.committed[partition] == Some(next as i64)
        })
    }

    /// Without further faults, everything is written soon. Only the next record reveals a database
    /// that others moved, so one more arrives.
    pub(super) fn advance(&mut self) {
        for partition in 0..PARTITIONS {
            if self.moved[partition] {
                self.append(partition, Kind::Add(0, 1), false);
            }
        }
        for _ in 0..1_000 {
            if self.is_done() {
                return;
            }
            for partition in 0..PARTITIONS {
                self.step(&Op::Assign(partition));
                self.step(&Op::Deliver(partition, 10));
            }
            self.step(&Op::Look(true));
            self.step(&Op::Locate);
            self.step(&Op::Finish(0));
            self.step(&Op::Commit(Answer::Taken));
            self.step(&Op::Tick(100));
        }
        panic!("it never ends: {:?}", self.pipeline);
    }
}
