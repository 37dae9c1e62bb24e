//! The calls that write many rows at once.

use std::borrow::Borrow;
use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;
use write_behind_shared::{Change, Number};

use super::WriteBehind;
use crate::error::Refusal;
use crate::writes::batch::ManyError;
use crate::writes::encode::Prepared;
use crate::writes::receipt::Receipt;

/// Many writes on their way to be accepted.
///
/// Its type says nothing of where the writes came from: a future that did could not be spawned as
/// soon as a closure that borrows makes them.
pub type ManyWrites<'h> =
    Pin<Box<dyn Future<Output = Result<Vec<Receipt>, ManyError>> + Send + 'h>>;

impl<K, V> WriteBehind<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// [`put`](Self::put)s many rows: they are admitted together, and each partition's lock is taken
    /// once for a few dozen of them instead of once for each. The receipts are in the order of the
    /// rows.
    ///
    /// It is no transaction: the rows are records of their own, and show up one after the other. If
    /// there is no room for all, it waits as [`put`](Self::put) does, or none is accepted.
    /// Cancelled while it waits, it has written nothing.
    ///
    #[cfg_attr(feature = "testing", doc = "```")]
    #[cfg_attr(not(feature = "testing"), doc = "```ignore")]
    /// # use write_behind_producer::{Receipt, WriteBehind, testing};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Score { points: i64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = testing::Broker::start()?.topic("scores", 4)?;
    /// # let scores = WriteBehind::<String, Score>::builder("scores", kafka.properties())
    /// #     .sink_group("score-writer").build().await?;
    /// let rows = std::collections::HashMap::from([
    ///     ("ada".to_owned(), Score { points: 1 }),
    ///     ("bob".to_owned(), Score { points: 2 }),
    /// ]);
    /// scores.put_many(&rows).await?;
    /// let receipts = scores.add_many("points", [("ada", 10), ("bob", 20)]).await?;
    /// Receipt::all_replicated(&receipts).await?;
    /// assert_eq!(scores.peek("bob")?.and_then(|bob| bob.row).map(|bob| bob.points), Some(22));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManyError`], which says which rows were accepted: usually none.
    pub fn put_many<'r, Q>(&self, rows: impl IntoIterator<Item = (&'r Q, &'r V)>) -> ManyWrites<'_>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'r,
        V: 'r,
    {
        let encoder = &self.owner.encoder;
        self.write_many(rows.into_iter().map(|(key, row)| encoder.put(key, row)))
    }

    /// [`update`](Self::update)s many rows, as [`put_many`](Self::put_many) puts them.
    ///
    #[cfg_attr(feature = "testing", doc = "```")]
    #[cfg_attr(not(feature = "testing"), doc = "```ignore")]
    /// # use write_behind_producer::{WriteBehind, testing};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Seen { at: i64, visits: i64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = testing::Broker::start()?.topic("seen", 1)?;
    /// # let seen = WriteBehind::<String, Seen>::builder("seen", kafka.properties())
    /// #     .sink_group("seen-writer").build().await?;
    /// seen.put("ada", &Seen { at: 1, visits: 3 }).await?;
    /// let at = std::collections::HashMap::from([("at", 2)]);
    /// seen.update_many([("ada", &at)]).await?;               // `visits` stays
    /// let ada = seen.get("ada").await?.map(|ada| (ada.at, ada.visits));
    /// assert_eq!(ada, Some((2, 3)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As of [`put_many`](Self::put_many).
    pub fn update_many<'r, Q, F>(
        &self,
        rows: impl IntoIterator<Item = (&'r Q, &'r F)>,
    ) -> ManyWrites<'_>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'r,
        F: Serialize + ?Sized + 'r,
    {
        let encoder = &self.owner.encoder;
        self.write_many(rows.into_iter().map(|(key, fields)| encoder.update(key, fields)))
    }

    /// [`add`](Self::add)s to one column of many rows, as [`put_many`](Self::put_many) puts them.
    ///
    /// # Errors
    /// As of [`put_many`](Self::put_many).
    pub fn add_many<'r, Q>(
        &self,
        column: &str,
        deltas: impl IntoIterator<Item = (&'r Q, impl Into<Number>)>,
    ) -> ManyWrites<'_>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'r,
    {
        let change = |(key, delta)| (key, Change::new().add(column, delta));
        self.change_many(deltas.into_iter().map(change))
    }

    /// [`change`](Self::change)s many rows, as [`put_many`](Self::put_many) puts them.
    ///
    /// # Errors
    /// As of [`put_many`](Self::put_many).
    pub fn change_many<'r, Q>(
        &self,
        changes: impl IntoIterator<Item = (&'r Q, Change)>,
    ) -> ManyWrites<'_>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'r,
    {
        let encoder = &self.owner.encoder;
        self.write_many(changes.into_iter().map(|(key, change)| encoder.change(key, change)))
    }

    /// [`delete`](Self::delete)s many rows, as [`put_many`](Self::put_many) puts them.
    ///
    /// # Errors
    /// As of [`put_many`](Self::put_many).
    pub fn delete_many<'r, Q>(&self, keys: impl IntoIterator<Item = &'r Q>) -> ManyWrites<'_>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'r,
    {
        let encoder = &self.owner.encoder;
        self.write_many(keys.into_iter().map(|key| encoder.delete(key)))
    }

    fn write_many(
        &self,
        writes: impl Iterator<Item = Result<Prepared, Refusal>>,
    ) -> ManyWrites<'_> {
        let writes = writes.map(|write| write.map(|write| self.prioritised(write)));
        Box::pin(self.owner.acceptor.write_many(writes.collect()))
    }
}
