//! The tables in the documentation of what may stand around a table, each line run.

use super::*;

const DOCUMENT: &str = include_str!("../../../docs/tables.md");

/// A line: what it is about, its SQL, and the cell that says what is done.
struct Line<'a> {
    what: &'a str,
    sql: &'a str,
    done: &'a str,
}

fn lines(scheme: &str) -> Vec<Line<'static>> {
    let mut sections = DOCUMENT.split("\n## ").skip(1);
    let found = sections.find(|section| section.to_lowercase().starts_with(scheme));
    let rows = found.expect("a section").lines().filter(|line| line.starts_with('|')).skip(2);
    let line = |row: &'static str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, sql, done] = cells[..] else { panic!("three cells: {row}") };
        Line { what, sql: sql.trim_matches('`'), done }
    };
    rows.map(line).collect()
}

pub async fn every_line_of_the_documented_tables_is_so<L: Lab>(lab: L) {
    let database = format!("{:?}", lab.database());
    let scheme = database.split_once(':').map_or("", |(scheme, _)| scheme);
    let lines = lines(scheme);
    assert!(lines.len() > 10, "the section of {scheme}");
    for Line { what, sql, done } in lines {
        let mut bench = Bench::with(L::new().await, "id integer PRIMARY KEY").await;
        bench.lab.sql(sql).await;
        let described = bench.store.describe("scores", &[]).await;
        let says = done.split('`').nth(1).unwrap_or_default();
        match described {
            Ok(table) if done.starts_with("written") => {
                assert!(table.warnings.is_empty(), "{what}: {:?}", table.warnings);
                bench.table = table;
            }
            Ok(table) if done.starts_with("warned of") => {
                assert!(table.warnings.join("\n").contains(says), "{what}: {:?}", table.warnings);
                bench.table = table;
            }
            Err(StoreError::Stop(why)) if done.starts_with("refused") => {
                assert!(why.contains(says), "{what}: {why}");
                continue;
            }
            other => panic!("{what}: {done}, not {other:?}"),
        }
        bench.write(&[("1", Change::new().set("n", &2).unwrap())]).await;
        bench.write(&[("1", Change::new().add("n", 3))]).await;
        let found = bench.lab.rows("SELECT CAST(n AS text) FROM scores").await;
        assert_eq!(found, [[Some("5".to_owned())]], "{what}");
        bench.write(&[("1", Change::delete())]).await;
        assert!(bench.lab.rows("SELECT CAST(n AS text) FROM scores").await.is_empty(), "{what}");
    }
}
