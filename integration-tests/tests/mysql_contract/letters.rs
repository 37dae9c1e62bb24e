//! Letters in tables whose character set lacks most characters.

use super::{bench, contract};
use contract::Lab as _;

#[tokio::test]
async fn letters_are_stored_in_tables_of_any_character_set() {
    for set in ["utf8mb3", "latin1", "ascii"] {
        let mut bench = bench("id integer PRIMARY KEY").await;
        let alter = "ALTER TABLE write_behind_dead_letters CONVERT TO CHARACTER SET";
        bench.lab.sql(&format!("{alter} {set}")).await;
        contract::letters::any_letter_is_stored(&mut bench).await;
    }
}
