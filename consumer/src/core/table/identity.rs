//! A table's identity: what tells it from another table that has its name.
//!
//! Postgres knows a table by its oid, whatever its name, and tells by the number of its file that it
//! was emptied or rebuilt. MySQL and SQLite give a table that was rebuilt a new mark, as they do one
//! that was created again, so a changed mark only raises a doubt.

/// What tells a table from another one of its name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Identity {
    /// The bookkeeping beside which `mark` holds. In a database that was restored from a dump both
    /// are new, and the marks that the dump contains say nothing.
    pub beside: String,
    /// The database's mark for the table.
    pub mark: String,
    /// Whether another mark is certainly another table.
    pub is_certain: bool,
    /// What another mark does not tell: changes when the table is emptied at once (TRUNCATE), and
    /// when it is rebuilt with its rows. `partition:number`, by the first of the table's partitions,
    /// which another one beside it does not change. Empty where the mark changes then.
    pub file: String,
    /// What changes with each column, constraint, index and trigger of the table, as far as the mark
    /// does not. It is not noted: the transaction compares it, so that no row is written by an earlier
    /// reading.
    pub shape: String,
}

/// How a table's identity compares with one that was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The same table.
    Same,
    /// Nothing was noted, or it was noted elsewhere.
    Unknown,
    /// The table was rebuilt or emptied at once; or, where the mark is not certain, it is another one.
    Doubtful,
    /// Another table.
    Other,
}

impl Identity {
    /// The text that is noted. The file stands before the mark: an earlier consumer, which knows of
    /// none, then finds a text that was noted beside other bookkeeping, and trusts the table. Behind
    /// the mark, it would find the mark of another table, and refuse this one.
    #[must_use]
    pub fn text(&self) -> String {
        match &*self.file {
            "" => format!("{}/{}", self.beside, self.mark),
            file => format!("{}:{file}/{}", self.beside, self.mark),
        }
    }

    /// A pattern of LIKE for the texts of this table, whatever its file, and of some others; of none,
    /// where it takes more than the mark to know the table.
    #[must_use]
    pub fn pattern(&self) -> String {
        if self.is_certain { format!("{}%/{}%", self.beside, self.mark) } else { String::new() }
    }

    /// Compares with a noted text.
    #[must_use]
    pub fn compared(&self, noted: Option<&str>) -> Likeness {
        let Some((noted, rest)) = noted.and_then(|noted| noted.split_once('/')) else {
            return Likeness::Unknown;
        };
        // An earlier consumer noted no file, or for a short time behind the mark.
        let mark = rest.split_once('/').map_or(rest, |(mark, _)| mark);
        let (beside, file) = noted.split_once(':').unwrap_or((noted, ""));
        if beside != self.beside {
            Likeness::Unknown
        } else if mark == self.mark
            && (file == self.file || partition(file) != partition(&self.file))
        {
            Likeness::Same
        } else if mark == self.mark {
            Likeness::Doubtful
        } else if self.is_certain {
            Likeness::Other
        } else {
            Likeness::Doubtful
        }
    }
}

/// The partition whose number a file is.
fn partition(file: &str) -> Option<&str> {
    file.split_once(':').map(|(partition, _)| partition)
}
