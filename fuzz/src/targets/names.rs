//! F12, table names: what is read is quoted and read again as the same.

use write_behind_shared::table_name::{Name, quoted};

use crate::outcome::told;
use crate::targets::Target;

pub const TARGET: Target = Target {
    name: "names",
    what: "a name that is read is the same when it is quoted and read again, and any text can be quoted",
    run,
    words: &[".", "\"", "\"\"", "public", "a.b", "\"a.b\".c"],
    examples: &["scores", "public.scores", "public.\"odd.name\"", "\"a\"\"b\"", "a.b.c", ""],
};

fn run(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    if !text.is_empty() && !text.contains('\0') {
        let whole = Name { schema: None, table: text.to_owned() };
        assert_eq!(Name::parse(&quoted(text)), Ok(whole));
    }
    match Name::parse(text) {
        Err(_) => 1,
        Ok(name) => {
            let schema = name.schema.as_ref().map(|it| quoted(it) + ".").unwrap_or_default();
            let again = Name::parse(&(schema.clone() + &quoted(&name.table)));
            assert_eq!(again.as_ref(), Ok(&name));
            told("", &[schema.len(), name.table.len()])
        }
    }
}
