//! A table's name: parsed as a configuration spells it, and quoted as SQL needs it.

/// A table's name, in a configuration `scores`, `public.scores` or `public."odd.name"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The schema, if the name has one.
    pub schema: Option<String>,
    /// The table's name in its schema.
    pub table: String,
}

/// Neither `table` nor `schema.table`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no table name: write `table` or `schema.table`, an odd part in double quotes")]
pub struct NotAName(String);

impl Name {
    /// Parses a name. Letters keep their case, quoted or not.
    ///
    /// # Errors
    /// [`NotAName`]: neither `table` nor `schema.table`.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let not_a_name = || NotAName(text.to_owned());
        let (first, rest) = name_part(text).ok_or_else(not_a_name)?;
        let Some(rest) = rest.strip_prefix('.') else {
            return if rest.is_empty() {
                Ok(Self { schema: None, table: first })
            } else {
                Err(not_a_name())
            };
        };
        match name_part(rest) {
            Some((table, "")) => Ok(Self { schema: Some(first), table }),
            _ => Err(not_a_name()),
        }
    }
}

/// `name` as a quoted identifier of SQL.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The first part of a dotted name, and the rest.
fn name_part(text: &str) -> Option<(String, &str)> {
    let (part, rest) = match text.strip_prefix('"') {
        None => {
            let (part, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
            (part.to_owned(), rest)
        }
        Some(quoted) => {
            let mut end = 0;
            loop {
                end += quoted[end..].find('"')?;
                if !quoted[end + 1..].starts_with('"') {
                    break;
                }
                end += 2;
            }
            (quoted[..end].replace("\"\"", "\""), &quoted[end + 1..])
        }
    };
    let plain = !part.is_empty() && !part.contains('\0');
    plain.then_some((part, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_parsed_as_it_is_spelled() {
        let name = |text: &str| {
            let name = Name::parse(text).unwrap();
            (name.schema, name.table)
        };
        let of = |schema: Option<&str>, table: &str| (schema.map(str::to_owned), table.to_owned());
        assert_eq!(name("Scores"), of(None, "Scores"));
        assert_eq!(name("public.scores"), of(Some("public"), "scores"));
        assert_eq!(name(r#"public."odd.""name""#), of(Some("public"), "odd.\"name"));
        for text in ["", ".", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "\"\""] {
            assert!(Name::parse(text).is_err(), "{text:?}");
        }
    }
}
