//! The plan of a table loader: the columns it reads, the key that finds a row, keys as texts.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use write_behind_shared::key::{self, KeyColumn, KeyKind, KeyWriter};
use write_behind_shared::{WriteId, partition, record};

use crate::error::LoadError;
use crate::load::{Source, TableShape};

/// What a user said of the table.
#[derive(Clone, Debug)]
pub(super) struct TableOptions {
    pub(super) table: String,
    /// Empty: all.
    pub(super) columns: Vec<String>,
    /// Empty: the primary key.
    pub(super) key: Vec<String>,
}

/// A unique key of a table.
#[derive(Clone, Debug)]
pub(super) struct UniqueKey {
    pub(super) is_primary: bool,
    pub(super) columns: Vec<String>,
}

/// A column as the catalogue describes it.
#[derive(Clone, Debug)]
pub(super) struct TableColumn<F> {
    pub(super) name: String,
    /// Its type as SQL spells it.
    pub(super) sql_type: String,
    pub(super) generated: bool,
    /// What a key of it holds. None: it cannot be a key.
    pub(super) key_kind: Option<KeyKind>,
    pub(super) form: F,
}

/// A table as the catalogue describes it.
#[derive(Clone, Debug)]
pub struct TableCatalog<F> {
    /// Its name in SQL, quoted.
    pub(super) sql_name: String,
    pub(super) columns: Vec<TableColumn<F>>,
    pub(super) keys: Vec<UniqueKey>,
}

/// What is constant once the catalogue was read.
#[derive(Debug)]
pub struct TablePlan<F> {
    pub(super) source: Source,
    pub(super) sql_name: String,
    /// What is read, in the statement's order.
    pub(super) columns: Vec<TableColumn<F>>,
    /// What finds a row.
    pub(super) key: Vec<TableColumn<F>>,
    key_columns: Vec<KeyColumn>,
    /// The columns that a record may name, read or not.
    writable: Vec<Box<str>>,
    /// Finds rows.
    pub(super) select: Arc<str>,
}

/// Keys as a statement takes them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyTexts {
    /// Each key's partition.
    pub(super) partitions: Vec<i32>,
    /// For each key column the text of each key.
    pub(super) texts: Vec<Vec<String>>,
}

impl TableOptions {
    pub(super) fn table(name: String) -> Self {
        Self { table: name, columns: Vec::new(), key: Vec::new() }
    }

    /// Chooses what to read and what finds a row. The statement is yet to be written.
    pub(super) fn plan<F: Clone>(
        &self,
        catalog: TableCatalog<F>,
        source: &Source,
    ) -> Result<TablePlan<F>, LoadError> {
        let TableCatalog { sql_name, columns, keys } = catalog;
        let read = self.columns(&columns)?;
        let find = |name: &String| columns.iter().find(|column| column.name == *name).cloned();
        let key: Vec<_> = self.key(&keys)?.iter().filter_map(find).collect();
        let key_column = |column: &TableColumn<F>| {
            let (name, kind) = (column.name.clone(), column.key_kind.clone());
            let kind = kind.ok_or_else(|| self.no_key(&name, &column.sql_type))?;
            Ok(KeyColumn { name, kind })
        };
        let key_columns = key.iter().map(key_column).collect::<Result<_, LoadError>>()?;
        let writable = columns.iter().filter(|column| !column.generated);
        let writable = writable.map(|column| column.name.as_str().into()).collect();
        let (source, select) = (source.clone(), Arc::from(""));
        Ok(TablePlan { source, sql_name, columns: read, key, key_columns, writable, select })
    }

    /// The columns to read: those wished for, or all that a record may name.
    fn columns<F: Clone>(&self, all: &[TableColumn<F>]) -> Result<Vec<TableColumn<F>>, LoadError> {
        if self.columns.is_empty() {
            return Ok(all.iter().filter(|column| !column.generated).cloned().collect());
        }
        let find = |wanted: &String| {
            let found = all.iter().find(|column| column.name == *wanted).cloned();
            found.ok_or_else(|| {
                let table = &self.table;
                LoadError::new(format!("{table} has no column {wanted:?}, as `columns` wants"))
            })
        };
        self.columns.iter().map(find).collect()
    }

    /// The names of the columns that find a row.
    fn key(&self, keys: &[UniqueKey]) -> Result<Vec<String>, LoadError> {
        let table = &self.table;
        if self.key.is_empty() {
            let primary = keys.iter().find(|key| key.is_primary);
            let names = primary.map(|key| key.columns.clone());
            return names.ok_or_else(|| {
                LoadError::new(format!(
                    "{table} has no primary key: add one, or name a unique key by `key`"
                ))
            });
        }
        let is_wanted = |key: &&UniqueKey| {
            key.columns.len() == self.key.len()
                && self.key.iter().all(|name| key.columns.contains(name))
        };
        let found = keys.iter().find(is_wanted).map(|_| self.key.clone());
        found.ok_or_else(|| {
            let list = self.key.join(", ");
            LoadError::new(format!("{table} has no unique key of exactly ({list}): add one"))
        })
    }

    pub(super) fn no_such_table(&self) -> LoadError {
        let table = &self.table;
        LoadError::new(format!(
            "there is no table {table}: create it, or correct its name (it is taken exactly as it \
             is spelled, capital letters included)"
        ))
    }

    fn no_key(&self, column: &str, sql_type: &str) -> LoadError {
        let table = &self.table;
        LoadError::new(format!(
            "the column {column:?} of {table} can't be a key, for its type is {sql_type}; name \
             another unique key by `key`, of integers, texts, uuids, booleans or dates"
        ))
    }
}

impl<F> TablePlan<F> {
    pub(super) fn shape(&self) -> TableShape {
        TableShape::new(self.writable.iter().cloned(), self.key_columns.iter().cloned())
    }

    /// Keys as the statement takes them.
    pub(super) fn texts<K: Serialize>(&self, keys: &[K]) -> Result<KeyTexts, LoadError> {
        let mut found = KeyTexts {
            partitions: Vec::with_capacity(keys.len()),
            texts: vec![Vec::with_capacity(keys.len()); self.key.len()],
        };
        let mut writer = KeyWriter::default();
        for key in keys {
            let text = writer.write(key, &self.source.key_columns).map_err(LoadError::new)?;
            found.partitions.push(partition::partition_of(text, self.source.partitions).0);
            let texts = key::decode(text, &self.key_columns).map_err(|error| {
                LoadError::new(format!("the key does not fit the table's: {error}"))
            })?;
            for (column, text) in found.texts.iter_mut().zip(texts) {
                column.push(text);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
impl<F> TablePlan<F> {
    /// A plan whose statement is yet to be written.
    pub(super) fn reading(
        sql_name: &str,
        columns: Vec<TableColumn<F>>,
        key: Vec<TableColumn<F>>,
    ) -> Self {
        let (source, sql_name) = (Source::new("t", "g", "c", 1), sql_name.to_owned());
        let (key_columns, writable) = (Vec::new(), Vec::new());
        Self { source, sql_name, columns, key, key_columns, writable, select: Arc::from("") }
    }
}

/// The `write-id` among a dead letter's headers, which are objects with `name` and `value`, or
/// `base64` where the value is not text.
pub(super) fn write_id(headers: &str) -> Option<WriteId> {
    let headers: Vec<Value> = serde_json::from_str(headers).ok()?;
    let mut found = headers.iter().filter(|header| header["name"] == record::WRITE_ID);
    let (header, None) = (found.next()?, found.next()) else { return None };
    match (header["value"].as_str(), header["base64"].as_str()) {
        (Some(text), _) => WriteId::decode(text.as_bytes()),
        (None, Some(encoded)) => WriteId::decode(&STANDARD.decode(encoded).ok()?),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use write_behind_shared::key::KeyKind;

    use super::*;

    fn column(name: &str, key_kind: KeyKind) -> TableColumn<()> {
        let name = name.to_owned();
        let (sql_type, generated) = (String::new(), name == "generated");
        TableColumn { name, sql_type, generated, key_kind: Some(key_kind), form: () }
    }

    fn plan(options: &TableOptions, columns: Vec<TableColumn<()>>) -> TablePlan<()> {
        let names = columns.iter().map(|column| &*column.name).collect::<Vec<_>>();
        let keys = vec![unique(true, &names)];
        let catalog = TableCatalog { sql_name: "t".to_owned(), columns, keys };
        options.plan(catalog, &Source::new("t", "g", "c", 4)).unwrap()
    }

    fn unique(is_primary: bool, columns: &[&str]) -> UniqueKey {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        UniqueKey { is_primary, columns }
    }

    #[test]
    fn a_key_is_taken_apart_in_the_order_of_the_tables_columns() {
        #[derive(Serialize)]
        struct Key {
            tenant: &'static str,
            id: i64,
        }
        let columns = [("id", KeyKind::Integer(0..=9)), ("tenant", KeyKind::Text)];
        let columns = columns.map(|(name, kind)| column(name, kind)).into();
        let plan = plan(&TableOptions::table("t".to_owned()), columns);
        let asked = plan.texts(&[Key { tenant: "a'b", id: 7 }, Key { tenant: "c", id: 8 }]);
        let asked = asked.unwrap();
        assert_eq!(asked.texts, [["7", "8"], ["a'b", "c"]]);
        let partition = partition::partition_of(br#"{"id":7,"tenant":"a'b"}"#, 4).0;
        assert_eq!(asked.partitions[0], partition);
        let error = plan.texts(&[Key { tenant: "a", id: 10 }]).unwrap_err().to_string();
        assert!(error.contains("the key does not fit the table's"), "{error}");
    }

    #[test]
    fn the_key_is_the_primary_key_or_a_unique_one_that_is_named() {
        let keys = [unique(true, &["id"]), unique(false, &["b", "a"])];
        let mut wanted = TableOptions::table("t".to_owned());
        assert_eq!(wanted.key(&keys).unwrap(), ["id"]);
        assert!(wanted.key(&keys[1..]).unwrap_err().to_string().contains("no primary key"));
        wanted.key = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(wanted.key(&keys).unwrap(), ["a", "b"]);
        wanted.key = vec!["a".to_owned()];
        assert!(
            wanted.key(&keys).unwrap_err().to_string().contains("no unique key of exactly (a)")
        );
    }

    #[test]
    fn columns_are_those_wished_for_and_there() {
        let all = ["a", "generated"].map(|name| column(name, KeyKind::Text));
        let mut wanted = TableOptions::table("t".to_owned());
        let columns = |wanted: &TableOptions| wanted.columns(&all).map(|columns| columns.len());
        assert_eq!(columns(&wanted).unwrap(), 1);
        wanted.columns = vec!["generated".to_owned(), "a".to_owned()];
        assert_eq!(columns(&wanted).unwrap(), 2);
        wanted.columns = vec!["b".to_owned()];
        assert!(columns(&wanted).unwrap_err().to_string().contains(r#"no column "b""#));
    }

    #[test]
    fn a_write_id_is_found_however_its_bytes_were_kept() {
        let id = WriteId { writer: Uuid::from_bytes(*b"abcdefghijklmnop"), sequence: 7 };
        let encoded = STANDARD.encode(id.encode());
        let kept =
            format!(r#"[{{"name":"add","value":"n"}},{{"name":"write-id","base64":"{encoded}"}}]"#);
        assert_eq!(write_id(&kept), Some(id));
        let text = "abcdefghijklmnop12345678";
        let kept = format!(r#"[{{"name":"write-id","value":"{text}"}}]"#);
        assert_eq!(write_id(&kept), WriteId::decode(text.as_bytes()));
        for none in [
            "[]",
            "null",
            r#"[{"name":"write-id","value":null}]"#,
            r#"[{"name":"write-id","value":"x"}]"#,
        ] {
            assert_eq!(write_id(none), None, "{none}");
        }
        let twice = format!(
            r#"[{{"name":"write-id","value":"{text}"}},{{"name":"write-id","value":"{text}"}}]"#
        );
        assert_eq!(write_id(&twice), None, "a record that says two things says nothing");
    }
}
