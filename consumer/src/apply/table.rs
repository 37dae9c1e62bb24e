//! A target table as the database's catalogue describes it: its columns, their types, its key.
//!
//! Identifiers in SQL come from here, never from a record.

use write_behind_shared::key::KeyColumn;

/// A table that a route writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name as SQL must spell it: quoted, with its schema.
    pub sql_name: String,
    /// The columns a record may name, in the catalogue's order; without generated ones.
    pub columns: Vec<Column>,
    /// The key columns, in the key's order. Each is also one of `columns`.
    pub key: Vec<KeyColumn>,
    /// An insert may be refused although the update it would become is fine: the table has CHECK
    /// constraints, or a required column outside of `columns`.
    pub guarded: bool,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// What JSON fits it.
    pub kind: ColumnKind,
    /// Its type as SQL must spell it in a cast.
    pub sql_type: String,
    /// A row can't be inserted without naming it: NOT NULL and without a default.
    pub required: bool,
    /// What it holds in a row inserted without naming it is NULL or 0. Otherwise an increment is
    /// refused: its sum would depend on whether the row was inserted in the same batch.
    pub counts_from_nothing: bool,
}

/// What JSON fits a column, and in which text form the database takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// An integer in this range; a JSON integer or its text as a string.
    Integer(std::ops::RangeInclusive<i64>),
    /// An exact decimal: a JSON number or its text as a string. The scale is how many digits after
    /// the point the column keeps, if it limits them.
    Numeric(Option<u32>),
    /// A float: a JSON number.
    Float,
    /// true or false.
    Boolean,
    /// A string without NUL.
    Text,
    /// A string in the database's own notation of a type we do not parse: date, time, uuid, enum.
    Notation,
    /// An instant, as a string in RFC 3339.
    Instant,
    /// Any JSON; null is SQL's NULL.
    Json,
    /// A base64 string.
    Bytes,
    /// A JSON array of elements of this kind.
    Array(Box<ColumnKind>),
}

impl Table {
    /// The place of the column `name` in `columns`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// This table with the columns in `names` and its key only.
    ///
    /// # Errors
    /// The first name that is no column.
    pub fn only(mut self, names: &[String]) -> Result<Self, String> {
        if let Some(unknown) = names.iter().find(|name| self.column(name).is_none()) {
            return Err(unknown.clone());
        }
        let key = self.key.clone();
        let stays = |column: &Column| {
            names.contains(&column.name) || key.iter().any(|key| key.name == column.name)
        };
        self.guarded |= self.columns.iter().any(|column| column.required && !stays(column));
        self.columns.retain(stays);
        Ok(self)
    }

    /// Whether the column `name` belongs to the key.
    #[must_use]
    pub fn is_key(&self, name: &str) -> bool {
        self.key.iter().any(|column| column.name == name)
    }
}

/// A table's name as a configuration spells it: `scores`, `public.scores`, `public."odd.name"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The schema, if one is named.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
}

/// Neither `table` nor `schema.table`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no table name: write `table` or `schema.table`, an odd part in double quotes")]
pub struct NotAName(String);

impl Name {
    /// Takes a name apart. Letters keep their case, quoted or not.
    ///
    /// # Errors
    /// [`NotAName`].
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

/// The first part of a dotted name, and what follows it.
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
    fn a_name_is_taken_apart_as_it_is_spelled() {
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
