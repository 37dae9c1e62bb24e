//! Writes that the table can't hold, if the loader knows the table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use write_behind_producer::{
    BuildError, Change, KeyColumn, KeyKind, LoadError, Loaded, Loader, Refusal, TableShape,
    WriteBehind, WriteError,
};

use crate::embedded::{Kafka, Score, score};

/// A table with these columns, and integers up to 9 as keys.
struct Table(&'static [&'static str]);

impl Loader<i64> for Table {
    async fn load(&self, _: &i64) -> Result<Loaded, LoadError> {
        Ok(Loaded::missing())
    }

    fn table(&self) -> Option<TableShape> {
        let key = KeyColumn { name: "id".to_owned(), kind: KeyKind::Integer(0..=9) };
        Some(TableShape::new(self.0.iter().copied(), [key]))
    }
}

#[tokio::test]
async fn a_write_that_the_table_cannot_hold_is_refused_at_the_call() {
    let kafka = Kafka::start(1);
    let table = Table(&["id", "name", "score"]);
    let scores: WriteBehind<i64, Score> = kafka.builder(&[]).loader(table).build().await.unwrap();
    scores.put(&1, &score("a", 1)).await.unwrap();
    let refused = |result: Result<_, WriteError>| match result.unwrap_err() {
        WriteError::Refused(refusal) => refusal,
        error => panic!("{error}"),
    };
    let misspelt = Refusal::NoSuchColumn("scroe".to_owned());
    assert_eq!(refused(scores.add(&1, "scroe", 1).await), misspelt);
    assert_eq!(refused(scores.try_change(&1, Change::new().add("scroe", 1))), misspelt);
    let fields = serde_json::json!({"scroe": 1});
    assert_eq!(refused(scores.update(&1, &fields).await), misspelt);
    assert!(matches!(refused(scores.put(&10, &score("a", 1)).await), Refusal::Key(_)));
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("a", 1)), "nothing has changed");
}

#[tokio::test]
async fn a_row_type_that_the_table_cannot_hold_fails_the_build_unless_nobody_looks() {
    let kafka = Kafka::start(1);
    let table = || Table(&["id", "name", "points"]);
    let built = kafka.builder::<i64, Score>(&[]).loader(table()).build().await;
    let error = built.unwrap_err();
    assert!(
        matches!(&error, BuildError::NoSuchColumn { field, columns }
            if field == "score" && columns == "id, name, points"),
        "{error}"
    );
    let builder = kafka.builder::<i64, Score>(&[]).check_columns(false);
    let scores = builder.loader(table()).build().await.unwrap();
    scores.put(&10, &score("a", 1)).await.unwrap();
}

#[tokio::test]
async fn a_row_whose_flattened_parts_name_one_column_twice_is_refused() {
    /// A row that has columns of its own beside named ones.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Open {
        name: String,
        #[serde(flatten)]
        others: BTreeMap<String, i64>,
    }
    let kafka = Kafka::start(1);
    let rows: WriteBehind<i64, Open> = kafka.builder(&[]).build().await.unwrap();
    let row = |other: &str| Open {
        name: "ada".to_owned(),
        others: BTreeMap::from([(other.to_owned(), 1)]),
    };
    rows.put(&1, &row("score")).await.unwrap();
    let refused = rows.put(&1, &row("name")).await.unwrap_err();
    assert!(refused.to_string().contains("\"name\""), "{refused}");
    assert_eq!(rows.get(&1).await.unwrap(), Some(row("score")), "nothing has changed");
}
