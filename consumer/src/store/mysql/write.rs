//! Rows into MySQL: as few statements as the server's message size allows.

use sqlx::{AssertSqlSafe, Row as _};

use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::writes::old_and_new;
use crate::store::StoreError;
use crate::store::classify::Failure;
use crate::store::mysql::rows::documents;
use crate::store::mysql::{MysqlStore, sql};

/// The most bytes of a message beside its largest parameter.
const PACKET_BYTES_SPARE: usize = 64 << 10;
/// The most bytes of rows in a statement. Larger ones are not faster, and the server holds them in
/// memory.
const STATEMENT_BYTES_MAX: usize = 4 << 20;

impl MysqlStore {
    /// Runs a statement for `rows`, as often as it takes to fit messages; returns how many rows it
    /// wrote.
    pub(super) async fn bulk(
        &mut self,
        sql: &str,
        table: &Table,
        rows: &[&Row<'_>],
        with_cells: bool,
    ) -> Result<u64, Failure> {
        let mut written = 0;
        for (_, document) in self.documents(table, rows, with_cells)? {
            let query = sqlx::query(AssertSqlSafe(sql.to_owned())).bind(&*document);
            written += self.execute(query).await?;
        }
        Ok(written)
    }

    /// Updates the rows that are there, and inserts the others.
    ///
    /// One locking read says which rows exist, and both statements go by it. Were the INSERT to
    /// look again (`WHERE NOT EXISTS`), a row that another writer inserts between the two would be
    /// neither updated nor inserted. As it is, the INSERT is refused as a duplicate, and the next
    /// try's read finds the row. Rows that exist stay locked until COMMIT, so none vanishes before
    /// its UPDATE.
    pub(super) async fn update_or_insert(
        &mut self,
        table: &Table,
        shape: &[(usize, bool)],
        rows: &[&Row<'_>],
    ) -> Result<u64, Failure> {
        let mut there = vec![false; rows.len()];
        for (before, document) in self.documents(table, rows, false)? {
            let query = sqlx::query(AssertSqlSafe(sql::present(table))).bind(document);
            for row in self.fetch(query).await? {
                let at: i64 = row.try_get(0)?;
                there[before + at as usize] = true;
            }
        }
        let (old, new) = old_and_new(rows, &there);
        let (update, insert) = (sql::update(table, shape), sql::insert(table, shape));
        // A row that exists may refer to a new one of the same table, but none refers to what an
        // update is still to write: a reference is to the key, which stays.
        if table.own_references.is_empty() {
            let updated = self.update_rows(&update, table, shape, &old).await?;
            return Ok(updated + self.bulk(&insert, table, &new, true).await?);
        }
        let inserted = self.bulk(&insert, table, &new, true).await?;
        Ok(inserted + self.update_rows(&update, table, shape, &old).await?)
    }

    async fn update_rows(
        &mut self,
        update: &str,
        table: &Table,
        shape: &[(usize, bool)],
        rows: &[&Row<'_>],
    ) -> Result<u64, Failure> {
        match shape {
            [] => Ok(0),
            _ => self.bulk(update, table, rows, true).await,
        }
    }

    /// `rows` as documents that each fit a message, with how many rows come before each.
    pub(super) fn documents(
        &self,
        table: &Table,
        rows: &[&Row<'_>],
        with_cells: bool,
    ) -> Result<Vec<(usize, String)>, StoreError> {
        let bytes_max = self.server.packet_bytes.saturating_sub(PACKET_BYTES_SPARE);
        let documents = documents(table, rows, with_cells, bytes_max.min(STATEMENT_BYTES_MAX));
        let documents = documents.map_err(|error| StoreError::Stop(error.to_string()))?;
        documents.iter().try_for_each(|(_, document)| self.fits_a_packet(document.len()))?;
        Ok(documents)
    }

    /// Refuses a message that is too large. The server would drop the connection over it, and every
    /// retry would end the same way.
    pub(super) fn fits_a_packet(&self, bytes: usize) -> Result<(), StoreError> {
        if bytes + PACKET_BYTES_SPARE <= self.server.packet_bytes {
            return Ok(());
        }
        Err(StoreError::Stop(format!(
            "a row or record takes {bytes} bytes in a statement, and the server's \
             max_allowed_packet is {}: raise it",
            self.server.packet_bytes
        )))
    }
}
