//! A statement on the bookkeeping tables, with its values, in a database's dialect.
//!
//! INV-13: the text is constant; whatever people or records say is bound.

use std::fmt::Write as _;

use write_behind_shared::{Offset, Partition};

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::dead_letters::Filter;
use crate::store::StoreError;

/// The most dead letters that one statement names.
pub(super) const PLACES_MAX: usize = 200;
const OF_TOPIC: &str = " WHERE pipeline = ? AND cluster = ? AND topic = ?";

/// The SQL that the databases spell differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Parameters are `$1`, `$2`, …; otherwise each is `?`.
    pub numbered: bool,
    /// Ends an INSERT that does nothing where the row exists.
    pub unless_there: &'static str,
    /// When a dead letter was set aside, in seconds since 1970.
    pub failed_at: &'static str,
    /// The function that finds a text in another one.
    pub find: &'static str,
    /// The headers as text.
    pub headers: &'static str,
    /// The query of the bookkeeping tables' names.
    pub bookkeeping: &'static str,
}

/// A value that goes into a statement or comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Integer(i64),
    /// A text, or NULL.
    Text(Option<String>),
    /// Bytes, or NULL.
    Bytes(Option<Vec<u8>>),
}

/// The kind of a column of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// [`Value::Integer`].
    Integer,
    /// [`Value::Text`].
    Text,
    /// [`Value::Bytes`].
    Bytes,
}

/// A statement with its values.
#[derive(Debug)]
pub struct Statement {
    /// Its text.
    pub text: String,
    /// Its parameters, in their order.
    pub values: Vec<Value>,
    /// The columns of its answer.
    pub columns: &'static [ValueKind],
    numbered: bool,
}

/// A connection that runs such statements. No row of the target table is involved, so none can be
/// refused.
pub trait Statements: Send {
    /// Its dialect.
    fn dialect(&self) -> Dialect;

    /// Runs one; returns how many rows it found.
    fn perform(
        &mut self,
        statement: Statement,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Runs one that answers with rows.
    fn select(
        &mut self,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<Vec<Value>>, StoreError>> + Send;
}

impl Statement {
    pub(crate) fn new(dialect: Dialect, columns: &'static [ValueKind]) -> Self {
        let (text, values) = (String::new(), Vec::new());
        Self { text, values, columns, numbered: dialect.numbered }
    }

    /// Appends SQL text; each `?` is the next of `values`.
    pub(crate) fn add<const N: usize>(mut self, text: &str, values: [Value; N]) -> Self {
        for part in text.split_inclusive('?') {
            match part.strip_suffix('?') {
                Some(before) if self.numbered => {
                    let place = self.text.matches('$').count() + 1;
                    // Writing to a string does not fail.
                    let _ = write!(self.text, "{before}${place}");
                }
                _ => self.text.push_str(part),
            }
        }
        self.values.extend(values);
        self
    }

    pub(super) fn of_topic(self, scope: &BookkeepingKey) -> Self {
        self.add(OF_TOPIC, scope.values())
    }

    pub(super) fn of_partition(self, scope: &BookkeepingKey, partition: Partition) -> Self {
        self.of_topic(scope).add(r#" AND "partition" = ?"#, [i64::from(partition.0).into()])
    }

    /// Adds the condition that a letter is one of `places`, of which there is at least one.
    pub(super) fn one_of(mut self, places: &[(BookkeepingKey, Partition, Offset)]) -> Self {
        for (at, (scope, partition, offset)) in places.iter().enumerate() {
            let begin = if at == 0 { " AND (" } else { " OR " };
            self = self.add(begin, []).add(
                r#"(cluster = ? AND topic = ? AND "partition" = ? AND record_offset = ?)"#,
                [
                    scope.cluster.clone().into(),
                    scope.topic.clone().into(),
                    i64::from(partition.0).into(),
                    offset.0.into(),
                ],
            );
        }
        self.add(")", [])
    }

    pub(super) fn filtered(mut self, dialect: Dialect, pipeline: &str, filter: &Filter) -> Self {
        self = self.add(" WHERE pipeline = ?", [pipeline.to_owned().into()]);
        let texts = [(" AND cluster = ?", &filter.cluster), (" AND topic = ?", &filter.topic)];
        for (text, value) in texts {
            if let Some(value) = value {
                self = self.add(text, [value.clone().into()]);
            }
        }
        let (failed_at, find) = (dialect.failed_at, dialect.find);
        let integers = [
            (r#" AND "partition" = ?"#.to_owned(), filter.partition.map(i64::from)),
            (" AND record_offset >= ?".to_owned(), filter.from),
            (" AND record_offset <= ?".to_owned(), filter.to),
            (format!(" AND {failed_at} >= ?"), filter.since),
            (format!(" AND {failed_at} < ?"), filter.until),
        ];
        for (text, value) in integers {
            if let Some(value) = value {
                self = self.add(&text, [value.into()]);
            }
        }
        if let Some(part) = &filter.reason {
            let text = format!(" AND {find}(lower(reason), lower(?)) > 0");
            self = self.add(&text, [part.clone().into()]);
        }
        if let Some(start) = &filter.sqlstate {
            let length = i32::try_from(start.chars().count()).unwrap_or(i32::MAX);
            let text = format!(r#" AND substr("sqlstate", 1, {length}) = ?"#);
            self = self.add(&text, [start.clone().into()]);
        }
        if let Some(key) = &filter.key {
            self = self.add(" AND record_key = ?", [Value::Bytes(Some(key.clone()))]);
        }
        if let Some(state) = filter.state {
            self = self.add(" AND state = ?", [state.as_str().to_owned().into()]);
        }
        self
    }
}

impl BookkeepingKey {
    /// The first columns of every bookkeeping table's key.
    pub(super) fn values(&self) -> [Value; 3] {
        [&self.pipeline, &self.cluster, &self.topic].map(|text| text.clone().into())
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}
