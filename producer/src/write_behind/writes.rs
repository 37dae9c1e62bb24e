//! The calls that write rows.

use std::borrow::Borrow;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use write_behind_shared::{Change, Number};

use super::WriteBehind;
use crate::error::{DeliveryError, PersistError, WriteError};
use crate::metrics::Metrics;
use crate::partitions::sync;
use crate::writes::receipt::Receipt;

impl<K, V> WriteBehind<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// Writes every column of the row. The row is visible to reads when this returns; it is not in
    /// the log yet, which [`Receipt::replicated`] waits for. This waits only for room, and only with
    /// [`WhenFull::Wait`](crate::WhenFull::Wait) or [`WhenFull::ForgetRows`](crate::WhenFull::ForgetRows);
    /// writes that wait are served in the order they came, without a time limit.
    ///
    /// Cancelled while it waits, it has written nothing.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn put<Q>(&self, key: &Q, row: &V) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.put(key, row).map(|write| self.prioritised(write));
        self.owner.acceptor.write(start, prepared).await
    }

    /// Like [`put`](Self::put), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_put<Q>(&self, key: &Q, row: &V) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.put(key, row).map(|write| self.prioritised(write));
        self.owner.acceptor.try_write(start, prepared)
    }

    /// Writes the columns that `fields` (a struct or a map) has, and leaves the others. The row is
    /// inserted if it is missing.
    ///
    /// A field that is `None` is written as null: the column becomes SQL's NULL. To leave a column
    /// alone, leave its field out, which is what `skip_serializing_if` is for:
    ///
    /// ```
    /// #[derive(serde::Serialize, Default)]
    /// struct Fields {
    ///     #[serde(skip_serializing_if = "Option::is_none")]
    ///     name: Option<String>,                            // None: the column keeps its value
    ///     #[serde(skip_serializing_if = "Option::is_none")]
    ///     left_at: Option<Option<String>>,                 // Some(None): the column becomes NULL
    /// }
    /// let fields = Fields { left_at: Some(None), ..Fields::default() };
    /// assert_eq!(serde_json::to_string(&fields).unwrap(), r#"{"left_at":null}"#);
    /// ```
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn update<Q, F>(&self, key: &Q, fields: &F) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
        F: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.update(key, fields).map(|write| self.prioritised(write));
        self.owner.acceptor.write(start, prepared).await
    }

    /// Like [`update`](Self::update), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_update<Q, F>(&self, key: &Q, fields: &F) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
        F: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.update(key, fields).map(|write| self.prioritised(write));
        self.owner.acceptor.try_write(start, prepared)
    }

    /// Adds `delta` to one column, exactly once. A missing row is inserted with the delta.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn add<Q>(
        &self,
        key: &Q,
        column: &str,
        delta: impl Into<Number>,
    ) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.change(key, Change::new().add(column, delta)).await
    }

    /// Like [`add`](Self::add), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_add<Q>(
        &self,
        key: &Q,
        column: &str,
        delta: impl Into<Number>,
    ) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.try_change(key, Change::new().add(column, delta))
    }

    /// Sets some columns and adds to others, in one write.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn change<Q>(&self, key: &Q, change: Change) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.change(key, change).map(|write| self.prioritised(write));
        self.owner.acceptor.write(start, prepared).await
    }

    /// Like [`change`](Self::change), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_change<Q>(&self, key: &Q, change: Change) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.change(key, change).map(|write| self.prioritised(write));
        self.owner.acceptor.try_write(start, prepared)
    }

    /// Writes every column of the row and waits until the database has it, but no longer than
    /// `timeout`: write-through, for the write that others must find there.
    ///
    /// # Errors
    /// [`PersistError`]: the write was not accepted, or is not known to be in the database. With
    /// [`DeliveryError::TimedOut`] it was accepted and goes on, as it does when this is cancelled
    /// after that.
    pub async fn put_and_persist<Q>(
        &self,
        key: &Q,
        row: &V,
        timeout: Duration,
    ) -> Result<(), PersistError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let mut accepted = false;
        let written = async {
            let write = self.put(key, row).await?;
            accepted = true;
            Ok(write.persisted().await?)
        };
        match sync::timeout(timeout, written).await {
            Some(outcome) => outcome,
            None if accepted => Err(DeliveryError::TimedOut.into()),
            None => Err(WriteError::NoRoomInTime.into()),
        }
    }

    /// Deletes the row.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub async fn delete<Q>(&self, key: &Q) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.delete(key).map(|write| self.prioritised(write));
        self.owner.acceptor.write(start, prepared).await
    }

    /// Like [`delete`](Self::delete), but never waits.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn try_delete<Q>(&self, key: &Q) -> Result<Receipt, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let start = Metrics::sampled_start();
        let prepared = self.owner.encoder.delete(key).map(|write| self.prioritised(write));
        self.owner.acceptor.try_write(start, prepared)
    }
}
