//! The read-modify-write calls.

use std::borrow::Borrow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WriteBehind;
use crate::core::delta::Row;
use crate::error::{ModifyError, ReadError, Refusal, WriteError};
use crate::owner::Owner;
use crate::write_behind::reads::decoded;
use crate::writes::encode::Prepared;
use crate::writes::receipt::Receipt;

/// What [`WriteBehind::modify`] made of a row.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Modified<V> {
    /// The row as the closure returned it.
    pub row: Option<V>,
    /// The write. `None`: nothing was written, because the closure returned what it was given.
    pub receipt: Option<Receipt>,
}

impl<K, V> WriteBehind<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// Reads the row, and writes what `change` makes of it: a row is [`put`](Self::put), `None`
    /// deletes it. A row that is not known here is loaded first.
    ///
    /// No write is lost: among all tasks of this process that use this handle, its clones included,
    /// the row that `change` was given is the one that is replaced. When another write of the row
    /// comes in between, `change` is called again with what the row is then; so it must have no
    /// effects of its own, or bear repeating them. It runs on the caller's task, under no lock, and
    /// must not wait. What it returns as it was given, compared as `V` is serialised, is not
    /// written.
    ///
    /// With [`follow`](crate::Builder::follow) the loader must say which offset its row holds, as a
    /// table loader does: otherwise a row that must be loaded is never known for sure, and this
    /// ends with [`ReadError::NoAnswerInTime`] after `load_timeout`.
    ///
    #[cfg_attr(feature = "testing", doc = "```")]
    #[cfg_attr(not(feature = "testing"), doc = "```ignore")]
    /// # use write_behind_producer::{WriteBehind, testing};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Account { cents: i64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = testing::Broker::start()?.topic("accounts", 1)?;
    /// # let database = kafka.sink("accounts", "account-writer")?;
    /// # let accounts = WriteBehind::<String, Account>::builder("accounts", kafka.properties())
    /// #     .sink_group("account-writer").loader(database.loader()).build().await?;
    /// accounts.put("ada", &Account { cents: 1_000 }).await?;
    /// let withdrawn = accounts
    ///     .modify("ada", |account| match account {
    ///         Some(account) if account.cents >= 300 => Some(Account { cents: account.cents - 300 }),
    ///         too_little => too_little,                 // as it was: nothing is written
    ///     })
    ///     .await?;
    /// if let Some(receipt) = withdrawn.receipt {
    ///     receipt.replicated().await?;                  // then hand out the money
    /// }
    /// assert_eq!(accounts.get("ada").await?.map(|account| account.cents), Some(700));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Between processes
    /// Another process's write is in the log, and not known here in time: of a row that two
    /// processes write, the later record wins, and the other is lost without a word, also with
    /// [`follow`](crate::Builder::follow). Either let one process write a row, as when requests are
    /// routed by key; or use [`add`](Self::add), which loses nothing between any number of writers.
    /// With [`Builder::version`](crate::Builder::version), and `version` in the route, an older row
    /// loses instead of the earlier record, if each writer sets a higher version than all that it
    /// has read; whose row was left out is not told either.
    ///
    /// # Waiting
    /// It waits for a load, and as [`put`](Self::put) does for room. Where the loader doesn't say which increments
    /// its row holds ([`Loaded::at`](crate::Loaded::at)), as a closure doesn't, it also waits until those that are pending are
    /// in the database, at most [`load_timeout`](crate::Builder::load_timeout). Cancelled, it has written nothing.
    ///
    /// A write that `change` has seen may still be lost, as any accepted write
    /// ([`DeliveryError`](crate::DeliveryError)); what was made of it stays.
    ///
    /// # Errors
    /// [`ModifyError`]: the row can't be read or written. Without a loader, a row that is not in
    /// memory can't be read ([`ReadError::NoLoader`]).
    pub async fn modify<Q>(
        &self,
        key: &Q,
        mut change: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Modified<V>, ModifyError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized,
    {
        let encoder = &self.owner.encoder;
        let (row, receipt) = self
            .modify_row(key, |before| {
                let as_it_was = before.as_ref().map(|row| encoder.put(key, row)).transpose();
                let is_missing = before.is_none();
                let row = change(before);
                let write = match &row {
                    Some(row) => Some(encoder.put(key, row)?),
                    None if is_missing => None,
                    None => Some(encoder.delete(key)?),
                };
                // A row that was read and can't be written is another than any that can.
                let as_it_was = as_it_was.ok().flatten();
                let changes = |write: &Prepared| {
                    as_it_was.as_ref().is_none_or(|before| write.value() != before.value())
                };
                Ok((row, write.filter(changes)))
            })
            .await?;
        Ok(Modified { row, receipt })
    }

    /// Puts the row if there is none. `None`: there is one, and nothing was written. In other
    /// respects as [`modify`](Self::modify).
    ///
    #[cfg_attr(feature = "testing", doc = "```")]
    #[cfg_attr(not(feature = "testing"), doc = "```ignore")]
    /// # use write_behind_producer::{WriteBehind, testing};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Lease { holder: i64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = testing::Broker::start()?.topic("leases", 1)?;
    /// # let database = kafka.sink("leases", "leases-writer")?;
    /// # let leases = WriteBehind::<String, Lease>::builder("leases", kafka.properties())
    /// #     .sink_group("leases-writer").loader(database.loader()).build().await?;
    /// assert!(leases.put_if_absent("job-7", &Lease { holder: 1 }).await?.is_some());
    /// assert!(leases.put_if_absent("job-7", &Lease { holder: 2 }).await?.is_none());   // it is the first one's
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ModifyError`]: whether there is a row can't be told, or this one can't be written.
    pub async fn put_if_absent<Q>(&self, key: &Q, row: &V) -> Result<Option<Receipt>, ModifyError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized,
    {
        let Owner { encoder, acceptor, reader, .. } = &*self.owner;
        let canonical = encoder.key(key).map_err(ReadError::from)?;
        let write = |found: Option<&Row>| {
            if found.is_some() {
                return Ok(((), None));
            }
            let write = encoder.put(key, row).map_err(WriteError::from)?;
            Ok(((), Some(self.prioritised(write))))
        };
        let ((), receipt) = reader.modify(acceptor, (key, &canonical), write).await?;
        Ok(receipt)
    }

    /// The row; if there is none, the one that `make` returns, which is put. `make` may be called
    /// more than once. In other respects as [`modify`](Self::modify).
    ///
    #[cfg_attr(feature = "testing", doc = "```")]
    #[cfg_attr(not(feature = "testing"), doc = "```ignore")]
    /// # use write_behind_producer::{WriteBehind, testing};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Player { level: i64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = testing::Broker::start()?.topic("players", 1)?;
    /// # let database = kafka.sink("players", "players-writer")?;
    /// # let players = WriteBehind::<String, Player>::builder("players", kafka.properties())
    /// #     .sink_group("players-writer").loader(database.loader()).build().await?;
    /// let (ada, receipt) = players.get_or_put_with("ada", || Player { level: 1 }).await?;
    /// assert!(ada.level == 1 && receipt.is_some());
    /// let (ada, receipt) = players.get_or_put_with("ada", || Player { level: 9 }).await?;
    /// assert!(ada.level == 1 && receipt.is_none());          // she was there
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ModifyError`]: the row can't be read, or the new one can't be written.
    pub async fn get_or_put_with<Q>(
        &self,
        key: &Q,
        mut make: impl FnMut() -> V,
    ) -> Result<(V, Option<Receipt>), ModifyError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized,
    {
        self.modify_row(key, |found| {
            if let Some(row) = found {
                return Ok((row, None));
            }
            let row = make();
            let write = self.owner.encoder.put(key, &row)?;
            Ok((row, Some(write)))
        })
        .await
    }

    async fn modify_row<Q, T>(
        &self,
        key: &Q,
        mut change: impl FnMut(Option<V>) -> Result<(T, Option<Prepared>), Refusal>,
    ) -> Result<(T, Option<Receipt>), ModifyError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized,
    {
        let Owner { encoder, acceptor, reader, .. } = &*self.owner;
        let canonical = encoder.key(key).map_err(ReadError::from)?;
        let change = |found: Option<&Row>| {
            let found = found.map(|row| decoded(row)).transpose()?;
            let (told, write) = change(found).map_err(WriteError::from)?;
            Ok((told, write.map(|write| self.prioritised(write))))
        };
        reader.modify(acceptor, (key, &canonical), change).await
    }
}
