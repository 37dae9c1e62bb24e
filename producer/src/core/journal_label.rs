//! The label of a journal: whose writes it holds, and whether this handle may send them.

use std::fmt::Write as _;

/// Whose writes a journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalLabel {
    pub(crate) topic: String,
    /// The cluster's id, if it was ever known.
    pub(crate) cluster: Option<String>,
    pub(crate) partitions: i32,
}

/// Why a journal is not this handle's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    #[error("its label is none of this crate: another program's journal?")]
    Unreadable,
    #[error("it holds entries and has no label: another program's journal?")]
    NoLabel,
    #[error("it is of the topic {was:?}, not of {now:?}: give each handle a directory of its own")]
    Topic { was: String, now: String },
    #[error(
        "it holds writes for the cluster {was:?}, and this is {now:?}: start with that cluster until \
         all is sent, or move the directory away and give these writes up"
    )]
    Cluster { was: String, now: String },
    #[error(
        "it holds writes for {was} partitions, and the topic has {now}: keys now belong to other \
         partitions. Salvage what it holds, or move the directory away and give these writes up"
    )]
    Partitions { was: i32, now: i32 },
}

/// The version of the text.
const VERSION: &str = "write-behind 1";

impl JournalLabel {
    /// Reads a label; none: the journal is new.
    pub(crate) fn read(label: &[u8]) -> Result<Option<Self>, Foreign> {
        if label.is_empty() {
            return Ok(None);
        }
        let text = std::str::from_utf8(label).map_err(|_| Foreign::Unreadable)?;
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(Foreign::Unreadable);
        if line()? != VERSION {
            return Err(Foreign::Unreadable);
        }
        let topic = line()?.to_owned();
        let cluster = Some(line()?.to_owned()).filter(|cluster| !cluster.is_empty());
        let partitions = line()?.parse().map_err(|_| Foreign::Unreadable)?;
        Ok(Some(Self { topic, cluster, partitions }))
    }

    /// As it is kept in the journal.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut text = String::new();
        let cluster = self.cluster.as_deref().unwrap_or_default();
        // Writing to a string does not fail.
        let _ = write!(text, "{VERSION}\n{}\n{cluster}\n{}", self.topic, self.partitions);
        text.into_bytes()
    }

    /// The label from now on, of a journal that had `earlier`, with what is known of the topic now.
    pub(crate) fn after(self, earlier: Option<Self>, is_empty: bool) -> Result<Self, Foreign> {
        let Some(earlier) = earlier else {
            return if is_empty { Ok(self) } else { Err(Foreign::NoLabel) };
        };
        if earlier.topic != self.topic {
            return Err(Foreign::Topic { was: earlier.topic, now: self.topic });
        }
        if is_empty {
            return Ok(Self { cluster: self.cluster.or(earlier.cluster), ..self });
        }
        if let (Some(was), Some(now)) = (&earlier.cluster, &self.cluster)
            && was != now
        {
            return Err(Foreign::Cluster { was: was.clone(), now: now.clone() });
        }
        if earlier.partitions != self.partitions {
            let (was, now) = (earlier.partitions, self.partitions);
            return Err(Foreign::Partitions { was, now });
        }
        Ok(Self { cluster: self.cluster.or(earlier.cluster), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(topic: &str, cluster: Option<&str>, partitions: i32) -> JournalLabel {
        let (topic, cluster) = (topic.to_owned(), cluster.map(str::to_owned));
        JournalLabel { topic, cluster, partitions }
    }

    #[test]
    fn a_label_is_read_as_it_was_written_and_nothing_else_is_one() {
        for label in [label("scores", None, 1), label("a.b-c", Some("5L6g3nShT-eMCtK"), 12)] {
            assert_eq!(JournalLabel::read(&label.write()), Ok(Some(label)));
        }
        assert_eq!(JournalLabel::read(b""), Ok(None));
        for strange in [&b"\xff"[..], b"x", b"write-behind 2\na\n\n1", b"write-behind 1\na\n\nx"] {
            assert_eq!(JournalLabel::read(strange), Err(Foreign::Unreadable));
        }
    }

    #[test]
    fn writes_are_sent_to_the_topic_the_cluster_and_the_partitions_that_they_were_written_for() {
        let was = || Some(label("scores", Some("c"), 3));
        assert_eq!(label("scores", Some("c"), 3).after(None, true), Ok(was().unwrap()));
        assert_eq!(label("scores", None, 3).after(was(), false), Ok(was().unwrap()), "offline");
        let of = |label: JournalLabel, is_empty| label.after(was(), is_empty).unwrap_err();
        assert!(matches!(of(label("other", Some("c"), 3), true), Foreign::Topic { .. }));
        assert!(matches!(of(label("scores", Some("d"), 3), false), Foreign::Cluster { .. }));
        assert!(matches!(of(label("scores", Some("c"), 4), false), Foreign::Partitions { .. }));
        let moved = label("scores", Some("d"), 4);
        assert_eq!(moved.clone().after(was(), true), Ok(moved), "nothing is left to send");
        assert_eq!(label("scores", None, 3).after(None, false), Err(Foreign::NoLabel));
    }
}
