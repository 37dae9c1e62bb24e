//! The owner of bookkeeping rows: a pipeline, a Kafka cluster and a topic.

/// The first three columns of every bookkeeping table's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookkeepingKey {
    /// The pipeline's name.
    pub pipeline: String,
    /// The Kafka cluster's id.
    pub cluster: String,
    /// The topic.
    pub topic: String,
}
