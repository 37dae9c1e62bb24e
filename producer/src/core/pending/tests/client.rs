//! The Kafka client and the brokers, as the pending core meets them: what they append, answer, give
//! back and lose.

use write_behind_shared::{WriteId, record};

use super::super::*;
use super::log::{OWN, Record, key, writer};
use super::ops::Op;
use super::world::{Doubt, World, sent};
use crate::core::lost_writes::Loss;
use crate::core::unanswered::GivenBack;

impl World {
    pub(super) fn hand_over(&mut self, count: usize) {
        for _ in 0..count {
            if self.pending.ledger().has_given_back() {
                break;
            }
            let Some((sequence, to, delta)) = self.pending.next_unsent() else { break };
            assert_eq!(*to, key(self.own[&sequence].name));
            assert!(self.on_their_way.back().is_none_or(|last| *last < sequence), "out of order");
            let (sent, _) = sent(delta);
            let first = self.sent_as.entry(sequence).or_insert_with(|| sent.clone());
            assert_eq!(
                *first, sent,
                "one sequence, one record: the log may have the first already"
            );
            self.on_their_way.push_back(sequence);
            self.pending.mark_sent(sequence);
        }
    }

    pub(super) fn replace_client(&mut self, appended: usize) {
        for sequence in std::mem::take(&mut self.on_their_way).into_iter().take(appended) {
            self.append_own(sequence, false);
        }
        self.give_back_given_up();
        self.requeue();
    }

    pub(super) fn refuse_batch(&mut self, count: usize, bad: bool) {
        // Answers come in order.
        self.ack(usize::MAX);
        let how = if bad { GivenBack::Refused } else { GivenBack::NotNow };
        for sequence in self.on_their_way.drain(..).take(count) {
            self.pending.give_back(sequence as usize, how);
        }
        self.give_back_given_up();
        self.requeue();
    }

    pub(super) fn told_of_given_up(&mut self) {
        self.give_back_given_up();
        if self.pending.ledger().has_given_back() && self.pending.ledger().client_has_none() {
            self.requeue();
        }
    }

    pub(super) fn give_back_given_up(&mut self) {
        for sequence in self.given_up.drain(..) {
            self.pending.give_back(sequence as usize, GivenBack::Unsent);
        }
    }

    fn requeue(&mut self) {
        self.unanswered.clear();
        self.sent_again_below = self.pending.ledger().next();
        self.pending.requeue(&"given up".into(), &self.copies);
    }

    /// Writes that were lost unappended are not in the truth any more. As far as it is not known
    /// that they are nowhere, they go on being seen for a while.
    pub(super) fn note_lost(&mut self) {
        let mut unknown = Vec::new();
        for (sequence, own) in self.own.iter_mut().filter(|(_, own)| !own.gone) {
            match self.pending.ledger().lost.first_in(&(*sequence..sequence + 1)) {
                Some(Loss::Failed(_)) => {
                    assert_eq!(own.at, None, "told as failed, and in the log");
                    own.gone = true;
                }
                Some(Loss::Unknown(_)) => {
                    own.gone = own.at.is_none();
                    unknown.push(own.name);
                }
                Some(Loss::DeadLetter(_)) | None => {}
            }
        }
        for name in unknown {
            self.doubt(name, Doubt::All);
        }
    }

    pub(super) fn append(&mut self, refused: bool) {
        let Some(sequence) = self.on_their_way.pop_front() else { return };
        let offset = self.append_own(sequence, refused);
        self.unanswered.push_back((sequence, offset));
    }

    pub(super) fn append_own(&mut self, sequence: Sequence, refused: bool) -> i64 {
        let (value, add) = &self.sent_as[&sequence];
        let change = record::decode(value.as_deref(), add.as_deref()).unwrap();
        let own = self.own.get_mut(&sequence).expect("a write that was accepted");
        let name = own.name;
        let write_id = Some(WriteId { writer: writer(OWN), sequence });
        // Only an unknown write's content is read from the tail.
        let delta =
            if change.writes() { Delta::Change(Box::new(change.clone())) } else { Delta::Delete };
        let (at, counts) = self.log.append(Some(Record { name, delta, change, write_id, refused }));
        assert!(counts || own.at.is_some(), "behind a later write: the consumer drops it (INV-15)");
        own.at = own.at.or(Some(at));
        if refused && counts {
            self.refused(name, at);
        }
        at
    }

    pub(super) fn ack(&mut self, count: usize) {
        for _ in 0..count {
            let Some((sequence, offset)) = self.unanswered.pop_front() else { break };
            if sequence < self.sent_again_below {
                self.ack_without_offset(sequence);
            }
            self.pending.acked(sequence as usize, offset, &self.copies);
        }
    }

    pub(super) fn ack_somewhere(&mut self) {
        if let Some((sequence, _)) = self.unanswered.pop_front() {
            self.ack_without_offset(sequence);
            self.pending.acked(sequence as usize, -1, &self.copies);
        }
    }

    /// Where it is, the tail will say, if the log is followed.
    fn ack_without_offset(&mut self, sequence: Sequence) {
        if !self.plan.follow {
            self.doubt(self.own[&sequence].name, Doubt::Loads);
        }
    }

    pub(super) fn lose(&mut self, op: &Op) {
        // Answers come in order: those before are answered first.
        self.ack(usize::MAX);
        let Some(sequence) = self.on_their_way.pop_front() else { return };
        let loss = match op {
            Op::Lose(appended) => {
                if *appended {
                    self.append_own(sequence, false);
                }
                Loss::Unknown("lost".into())
            }
            _ => Loss::Failed("refused".into()),
        };
        self.pending.lost(sequence as usize, loss, &self.copies);
    }
}
