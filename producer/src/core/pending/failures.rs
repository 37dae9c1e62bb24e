//! Writes that a Kafka client could not deliver: which are sent again, and which are lost.

use crate::core::cache::Cache;
use crate::core::ledger::{Key, Sequence};
use crate::core::lost_writes::Loss;
use crate::core::pending::Pending;
use crate::core::reason::Reason;
use crate::core::unanswered::{GivenBack, PersistedWhen};

impl Pending {
    /// The Kafka client could not deliver the write that was sent with these low bits of its
    /// sequence.
    pub(crate) fn give_back(&mut self, low_bits: usize, how: GivenBack) -> Option<Sequence> {
        let (sequence, _) = self.ledger.find(low_bits)?;
        self.ledger.give_back(sequence, how);
        Some(sequence)
    }

    /// The Kafka client is gone, or has given back all that it had: what it has not answered is
    /// sent again. Gives the rows of writes that can't be, because later ones have overtaken them.
    pub(crate) fn requeue(&mut self, reason: &Reason, cache: &impl Cache) -> Vec<(Key, Loss)> {
        let overtaken = self.ledger.requeue().into_iter().rev();
        let lose = |sequence| self.lose(sequence, Loss::Failed(reason.clone()), cache);
        overtaken.filter_map(lose).collect()
    }

    /// INV-15: what the client gave back can't be sent again once a later write is in the log. It
    /// is lost before that write takes its place, which would otherwise be read as the older one.
    pub(crate) fn lose_overtaken(&mut self, sequence: Sequence, cache: &impl Cache) {
        if self.ledger.has_given_back() {
            for overtaken in self.ledger.given_back_below(sequence) {
                let reason = "a later write of its partition is in the log".into();
                let lost = self.lose(overtaken, Loss::Failed(reason), cache);
                self.overtaken.extend(lost);
            }
        }
    }

    /// The rows of writes that later ones have overtaken, and what is told of them. Given once.
    pub(crate) fn take_overtaken(&mut self) -> Vec<(Key, Loss)> {
        std::mem::take(&mut self.overtaken)
    }

    /// The write that was sent with these low bits of its sequence is lost.
    pub(crate) fn lost(
        &mut self,
        low_bits: usize,
        loss: Loss,
        cache: &impl Cache,
    ) -> Option<(Key, Loss)> {
        let (sequence, _) = self.ledger.find(low_bits)?;
        self.lose(sequence, loss, cache)
    }

    /// How many writes were lost with the earlier one that they had gone with; forgets which have gone
    /// with those that Kafka has answered.
    pub(crate) fn lost_along(&mut self) -> u64 {
        self.joined = self.joined.split_off(&self.ledger.replicated());
        self.lost_along
    }

    /// The write failed, or whether Kafka has it cannot be told. Gives its row's key, and what is
    /// told.
    pub(crate) fn lose(
        &mut self,
        sequence: Sequence,
        loss: Loss,
        cache: &impl Cache,
    ) -> Option<(Key, Loss)> {
        let key = self.ledger.unanswered(sequence)?;
        let rules = self.rules;
        let loss = match loss {
            // It was sent before too, and that copy may be in the log: told as failed, the caller
            // would write it again, and an increment would count twice.
            Loss::Failed(reason) if self.ledger.is_in_doubt(sequence) => Loss::Unknown(reason),
            loss => loss,
        };
        let failed = matches!(loss, Loss::Failed(_));
        self.lost_along += self.joined.remove(&sequence).unwrap_or_default();
        self.ledger.lost.add(sequence, loss.clone());
        if failed {
            self.change(&key, |entry| entry.failed(sequence));
            self.ledger.acknowledge(sequence, PersistedWhen::AtOnce);
            self.let_leave(&key, cache);
        } else {
            self.place(sequence, &key, None, cache, |entry| entry.unknown(sequence, rules));
        }
        Some((key, loss))
    }
}
