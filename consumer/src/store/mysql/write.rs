//! Rows into MySQL: takes those of one shape, writes them by as few statements as fit its messages.

use sqlx::{AssertSqlSafe, Row as _};

use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::store::StoreError;
use crate::store::classify::Failure;
use crate::store::mysql::rows::documents;
use crate::store::mysql::{MysqlStore, sql};

/// What a message holds beside its largest parameter, at most.
const PACKET_BYTES_SPARE: usize = 64 << 10;
/// Beyond this a statement is not faster, and the server holds it in memory.
const STATEMENT_BYTES_MAX: usize = 4 << 20;

impl MysqlStore {
    /// Runs the statement for `rows`, all of one shape: for as many at a time as fit one message.
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
    /// Which are there is asked first, and once: a row that comes between two looks would be missed
    /// by both. One that another writer inserts after the look is refused as a duplicate, and when
    /// it is tried alone the look finds it.
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
        let of = |is_there: bool| -> Vec<&Row<'_>> {
            let chosen = rows.iter().zip(&there).filter(|(_, there)| **there == is_there);
            chosen.map(|(row, _)| *row).collect()
        };
        let (old, new) = (of(true), of(false));
        let updated = match shape {
            [] => old.len() as u64,
            _ => self.bulk(&sql::update(table, shape), table, &old, true).await?,
        };
        Ok(updated + self.bulk(&sql::insert(table, shape), table, &new, true).await?)
    }

    /// `rows` as documents that each fit one message, with how many rows come before each.
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

    /// The server ends the connection over a message that is too large, and so it would each time
    /// the batch is tried again.
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
