//! The calls that read rows.

use std::borrow::Borrow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WriteBehind;
use crate::core::delta::Row;
use crate::core::loaded::Reading;
use crate::error::ReadError;
use crate::owner::Owner;

/// What is known of a row: what [`WriteBehind::read`] and [`WriteBehind::peek`] find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known<V> {
    /// The row, if there is one.
    pub row: Option<V>,
    /// A newer write of the row was forgotten here, or the tail that follows the log is broken: the
    /// row may be older than the log has it.
    pub may_be_behind: bool,
}

impl<K, V> WriteBehind<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// The row as of this process's last accepted write: from what is pending, else from the
    /// cache, else from the loader. `None` if there is none, or none is known and there is no
    /// loader.
    ///
    /// A load takes no longer than [`load_timeout`](crate::Builder::load_timeout). Cancelled, this
    /// leaves a load under way to the others that wait for it.
    ///
    /// # Errors
    /// [`ReadError`]: the loader failed or took too long, the row does not fit `V`, or it cannot be
    /// promised to be that new ([`ReadError::MayBeBehind`]).
    pub async fn get<Q>(&self, key: &Q) -> Result<Option<V>, ReadError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized,
    {
        Known::of(self.find_or_load(key).await?)?.promised()
    }

    /// The row as [`get`](Self::get) finds it, or as new as is known, and whether that may be
    /// behind.
    ///
    /// # Errors
    /// [`ReadError`]: the loader failed, or the row does not fit `V`.
    pub async fn read<Q>(&self, key: &Q) -> Result<Known<V>, ReadError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized,
    {
        let found = Known::of(self.find_or_load(key).await?)?;
        // Asked afterwards: a tail that broke meanwhile counts too.
        let is_behind = |key: &[u8]| self.owner.reader.tail_may_be_behind(key);
        let may_be_behind = found.may_be_behind || self.owner.encoder.with_key(key, is_behind)?;
        Ok(Known { may_be_behind, ..found })
    }

    /// The rows of all `keys`, in their order, each as [`get`](Self::get) has it. The loader is
    /// asked once for all rows that have to be loaded.
    ///
    /// # Errors
    /// [`ReadError`], when one of the rows cannot be read, or cannot be promised to be that new.
    pub async fn get_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Result<Vec<Option<V>>, ReadError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized + 'q,
    {
        let encode = |key: &'q Q| Ok((key, self.owner.encoder.key(key)?));
        let encoded = keys.into_iter().map(encode).collect::<Result<Vec<_>, ReadError>>()?;
        let rows = self.owner.reader.read_many(encoded).await?;
        rows.into_iter().map(|row| Known::of(row)?.promised()).collect()
    }

    /// Whether there is such a row, as [`get`](Self::get) would find it.
    ///
    #[cfg_attr(feature = "testing", doc = "```")]
    #[cfg_attr(not(feature = "testing"), doc = "```ignore")]
    /// # use write_behind_producer::{WriteBehind, testing};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Session { since: i64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = testing::Broker::start()?.topic("sessions", 1)?;
    /// # let database = kafka.sink("sessions", "sessions-writer")?;
    /// # let sessions = WriteBehind::<String, Session>::builder("sessions", kafka.properties())
    /// #     .sink_group("sessions-writer").loader(database.loader()).build().await?;
    /// assert!(sessions.peek("ada")?.is_none());              // not known here: `get` would ask the loader
    /// assert!(!sessions.contains("ada").await?);             // the loader was asked, and there is none
    /// sessions.put("ada", &Session { since: 1_700_000_000 }).await?;
    /// assert!(sessions.contains("ada").await?);
    /// assert!(sessions.peek("ada")?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As of [`get`](Self::get), but for what its columns are.
    pub async fn contains<Q>(&self, key: &Q) -> Result<bool, ReadError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized,
    {
        let found = self.find_or_load(key).await?;
        if found.may_be_behind { Err(ReadError::MayBeBehind) } else { Ok(found.row.is_some()) }
    }

    /// The row, if it is known in memory: pending, or cached. It never waits, never loads, needs no
    /// runtime, and counts in no metric.
    ///
    /// `None` says that the row is not known here: [`get`](Self::get) would load it. That there is
    /// no such row is `Some` of a [`Known`] whose [`row`](Known::row) is `None`.
    ///
    /// # Errors
    /// [`ReadError`]: the key has no canonical text, or the row does not fit `V`.
    pub fn peek<Q>(&self, key: &Q) -> Result<Option<Known<V>>, ReadError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let reader = &self.owner.reader;
        let peeked = self.owner.encoder.with_key(key, |key| {
            let found = reader.peek(key)?;
            Some(Reading { may_be_behind: reader.tail_may_be_behind(key), ..found })
        });
        peeked?.map(Known::of).transpose()
    }

    /// The row as it is known here, else from the loader.
    async fn find_or_load<Q>(&self, key: &Q) -> Result<Reading, ReadError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized,
    {
        let Owner { encoder, reader, .. } = &*self.owner;
        if let Some(found) = encoder.with_key(key, |key| reader.look_up(key))?? {
            return Ok(found);
        }
        reader.read_loaded(key, encoder.key(key)?).await
    }

    /// Loads the row again, though there may be a cached row, which it replaces. If what is pending
    /// says what the row is, that is the answer and the loader is not asked. Until the answer is
    /// there, and if the loader fails, other reads see the previously cached row.
    ///
    /// # Errors
    /// [`ReadError`]: the loader failed, the row does not fit `V`, it cannot be promised to be as
    /// new as this process's last write of it, or there is no loader.
    pub async fn refresh<Q>(&self, key: &Q) -> Result<Option<V>, ReadError>
    where
        K: Borrow<Q>,
        Q: Serialize + ToOwned<Owned = K> + ?Sized,
    {
        let row = self.owner.reader.refresh(key, self.owner.encoder.key(key)?).await?;
        Known::of(row)?.promised()
    }

    /// Removes the row from the cache, because something else changed the database. What a load
    /// under way finds is not kept. Pending writes of the row stay visible, and do not become a
    /// cached row.
    ///
    /// # Errors
    /// The key has no canonical text.
    pub fn invalidate<Q>(&self, key: &Q) -> Result<(), ReadError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.owner.reader.invalidate(&self.owner.encoder.key(key)?);
        Ok(())
    }

    /// [`invalidate`](Self::invalidate)s every row.
    pub fn invalidate_all(&self) {
        self.owner.reader.invalidate_all();
    }
}

impl<V: DeserializeOwned> Known<V> {
    fn of(reading: Reading) -> Result<Self, ReadError> {
        let row = reading.row.map(|row| decoded(&row)).transpose()?;
        Ok(Self { row, may_be_behind: reading.may_be_behind })
    }

    /// The row, if it is as new as is promised.
    fn promised(self) -> Result<Option<V>, ReadError> {
        if self.may_be_behind { Err(ReadError::MayBeBehind) } else { Ok(self.row) }
    }
}

/// A row of `V`.
pub(super) fn decoded<V: DeserializeOwned>(row: &Row) -> Result<V, ReadError> {
    // Checked as a whole, which is quicker than text by text. What is not UTF-8 is told by serde.
    let read = match std::str::from_utf8(row) {
        Ok(row) => serde_json::from_str(row),
        Err(_) => serde_json::from_slice(row),
    };
    read.map_err(|error| ReadError::Type(Arc::new(error)))
}
