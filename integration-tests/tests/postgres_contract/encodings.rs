//! Databases in other encodings than UTF-8: what they count as a character, and what they hold of a text.

use serde_json::json;

use super::{Postgres, set};
use crate::contract::{self, Bench};

#[tokio::test]
async fn letters_are_stored_in_databases_of_any_encoding() {
    for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1251"] {
        let mut bench = bench(encoding, "id integer PRIMARY KEY").await;
        contract::letters::any_letter_is_stored(&mut bench).await;
    }
}

#[tokio::test]
async fn a_text_is_as_long_as_its_database_counts_and_is_read_back_equal_or_is_bad() {
    // Five characters, and seven bytes in UTF-8: a column of five bytes would cut two spaces off.
    let spaces = "\u{e9}\u{e9}   ";
    for (encoding, text, fits) in [
        ("UTF8", spaces, true),
        ("LATIN1", spaces, true),
        ("SQL_ASCII", spaces, false),
        ("SQL_ASCII", "\u{e9}\u{e9} ", true),
        ("LATIN1", "\u{1f600}", false),
        ("WIN1251", "\u{436}\u{436}   ", true),
    ] {
        let mut bench = bench(encoding, "id integer PRIMARY KEY, v varchar(5)").await;
        let is_bad = bench.is_bad("1", set(&json!({ "v": text }))).await;
        assert_eq!(is_bad, !fits, "{text:?} in {encoding}");
        if fits {
            assert_eq!(bench.table(&["v"]).await, [text], "{encoding}");
        }
    }
}

async fn bench(encoding: &str, columns: &str) -> Bench<Postgres> {
    let options = format!("TEMPLATE template0 ENCODING {encoding} LOCALE 'C'");
    Bench::with(Postgres::with(&options).await, columns).await
}
