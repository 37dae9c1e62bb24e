//! A target table as the database's catalogue describes it: its columns, their types, and its key.
//!
//! Identifiers in SQL come from here, never from a record.

pub mod column;
pub mod calendar;
mod digits;
mod globe;
pub mod identity;
mod increment;
mod length;
mod lexemes;
pub(crate) mod notation;
pub mod row;
pub(crate) mod sample;
pub mod surroundings;
pub mod version;

use write_behind_shared::key::KeyColumn;
pub use write_behind_shared::table_name::Name;

use crate::core::table::calendar::Calendar;
use crate::core::table::identity::Identity;
pub use crate::core::table::length::Length;

/// A table that a route writes to.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name in SQL: quoted, with its schema.
    pub sql_name: String,
    /// The columns that a record may name, in the catalogue's order, without generated ones.
    pub columns: Vec<Column>,
    /// The key columns, in the key's order. Each is also one of `columns`.
    pub key: Vec<KeyColumn>,
    /// The unquoted name of the key's index, if statements need it, as in MySQL.
    pub key_index: Option<String>,
    /// Whether rows must be updated before missing ones are inserted, because something on the
    /// table sees or changes a row that is proposed as an insert, although the row exists: a CHECK
    /// constraint, a trigger, a generated column, a required column outside `columns`. Or, in
    /// MySQL, because an insert may change a row with another key: the table has another unique
    /// key.
    pub update_before_insert: bool,
    /// Whether a trigger sees the INSERT statement itself, even one that inserts no row.
    pub sees_empty_inserts: bool,
    /// Whether a transaction may lock the table before it writes to it: who has rights on columns
    /// alone may not, and elsewhere than in Postgres there is no need.
    pub may_be_locked: bool,
    /// The foreign keys from the table to itself.
    pub own_references: Vec<OwnReference>,
    /// Whether a delete may delete or change other rows of the table: by a referential action, or by
    /// a trigger.
    pub deletes_reach_others: bool,
    /// The columns by which two rows can be in each other's way; `None`: any row may be.
    pub contested: Option<Vec<String>>,
    /// What records call the columns that the route renames, if any.
    pub renamed: Option<Renamed>,
    /// The index of the version column, if the route has one: a write is left out where the row has
    /// a newer version.
    pub version: Option<usize>,
    /// What tells it from another table of its name.
    pub identity: Identity,
    /// What a person should know before rows are written to it.
    pub warnings: Vec<String>,
}

/// A foreign key from a table to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnReference {
    /// The columns that refer to another row.
    pub columns: Vec<String>,
    /// The columns of that row, in the same order.
    pub referenced: Vec<String>,
}

/// Columns that records call by other names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// The name in records, and the index of the column.
    members: Vec<(String, usize)>,
    /// The table's key, by its names in records.
    key: Vec<KeyColumn>,
}

/// Why a rename does not fit the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRename {
    /// The table does not have the column, or the route leaves it out.
    #[error("there is no column {0:?}")]
    NoColumn(String),
    /// Two names in records would refer to one column.
    #[error("records would have two names for the column {0:?}")]
    Twice(String),
    /// A name in records would refer to two columns.
    #[error("{0:?} is a column itself; rename that one too")]
    Taken(String),
}

/// Why a column can't hold the version of a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVersion {
    /// The table does not have the column, or the route leaves it out.
    #[error("there is no column {0:?}")]
    NoColumn(String),
    /// The column belongs to the key.
    #[error("{0:?} is a column of the key")]
    Key(String),
    /// The column's order is not that of numbers or instants.
    #[error("{0:?} is neither an integer, nor numeric, nor an instant")]
    Type(String),
}

/// A column of a table.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// The JSON that fits it.
    pub kind: ColumnKind,
    /// Its type, as SQL spells it in a cast.
    pub sql_type: String,
    /// Whether an insert must name it: it is NOT NULL and has no default.
    pub required: bool,
    /// Whether NULL is NULL to it, or an error. To MySQL, NULL may mean the current time, or the
    /// next number.
    pub takes_null: bool,
    /// Whether an insert that does not name it does more than give it a value: its default takes a
    /// number of a sequence, or is not known to do nothing else and never to fail.
    pub default_acts: bool,
    /// Whether it holds NULL or 0 in a row inserted without naming it. If not, an increment is
    /// refused: the sum would depend on whether the row was inserted in the same batch.
    pub counts_from_nothing: bool,
    /// How many digits before the point a numeric column holds, if it limits them: its values are
    /// below ten to this power.
    pub whole_digits: Option<i64>,
}

/// The JSON that fits a column, and the text form in which the database takes it.
///
/// A value that its column would silently change does not fit, except for what the column's type
/// says of itself: a float is the nearest one, and a time keeps the digits of a second that its type
/// has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// An integer in this range: a JSON integer, or a string of one.
    Integer(std::ops::RangeInclusive<i64>),
    /// The same, in a column that nothing is added to: a year, an object's number.
    Ordinal(std::ops::RangeInclusive<i64>),
    /// An exact decimal: a JSON number, or a string of one. The scale is the number of digits after
    /// the point that the column keeps, if it limits them; one below zero is the number of zeros
    /// that the column puts before the point.
    Numeric(Option<i32>),
    /// A decimal of at most this many significant digits, or an integer of 64 bits. A column that
    /// holds a float where it can't hold an integer keeps no more.
    Significant(u32),
    /// A float: a JSON number.
    Float(Float),
    /// `true` or `false`.
    Boolean,
    /// A string without NUL.
    Text,
    /// The same in a column that would cut a longer one off.
    Short(Length),
    /// A string in the database's own notation for a type that is not parsed here: uuid, enum,
    /// network.
    Notation,
    /// A date or a time, as a string in ISO 8601. Words such as `now` do not fit: their meaning
    /// changes from one attempt to the next.
    Calendar(Calendar),
    /// An instant, as a string in RFC 3339. The column keeps this many digits of a second.
    Instant(u32),
    /// Any JSON; `null` becomes SQL's NULL.
    Json,
    /// A string that is one of these labels, or several of them separated by commas.
    Labels {
        /// The column's labels.
        labels: Vec<String>,
        /// Whether a value may be several labels.
        several: bool,
    },
    /// A base64 string, of exactly this many bytes if there is a number.
    Bytes(Option<usize>),
    /// A value of this kind, in a column that converts numeric-looking text to a number.
    Affine(Box<ColumnKind>),
    /// A JSON array of elements of this kind, and what separates them in Postgres' notation.
    Array(Box<ColumnKind>, char),
    /// A string in Postgres' notation of a range, whose bounds are of this kind.
    Range(Box<ColumnKind>),
    /// A string in Postgres' notation of several ranges, whose bounds are of this kind.
    Multirange(Box<ColumnKind>),
    /// A string in Postgres' notation of a composite value, whose fields are of these kinds.
    Composite(Vec<ColumnKind>),
    /// A string in Postgres' notation of the words of a text, with their places.
    Lexemes,
    /// A string in one of `PostGIS`' notations.
    Geometry {
        /// Whether its places lie on the globe, so that there are none beyond 180 degrees.
        on_globe: bool,
    },
}

/// A column of floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Float {
    /// Whether it keeps 32 bits, not 64.
    pub single: bool,
    /// How many digits after the point it keeps, if it limits them.
    pub scale: Option<i32>,
}

impl Float {
    /// One of 64 bits.
    pub const DOUBLE: Self = Self { single: false, scale: None };
}

impl Table {
    /// The index of the column `name` in `columns`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The index of the column that records call `member`.
    #[must_use]
    pub fn member(&self, member: &str) -> Option<usize> {
        let Some(renamed) = &self.renamed else { return self.column(member) };
        let named = renamed.members.iter().find(|(name, _)| name == member);
        named.map(|(_, place)| *place).or_else(|| {
            // A renamed column has only its new name.
            let place = self.column(member)?;
            let elsewhere = renamed.members.iter().any(|(_, other)| *other == place);
            (!elsewhere).then_some(place)
        })
    }

    /// The name in records of the version column, if the route has one.
    #[must_use]
    pub fn version_member(&self) -> Option<&str> {
        let version = self.version?;
        let renamed = self.renamed.iter().flat_map(|renamed| &renamed.members);
        let member = renamed.clone().find(|(_, place)| *place == version);
        Some(member.map_or(&*self.columns[version].name, |(member, _)| member))
    }

    /// The key's columns, by their names in records.
    #[must_use]
    pub fn record_key(&self) -> &[KeyColumn] {
        self.renamed.as_ref().map_or(&self.key, |renamed| &renamed.key)
    }

    /// This table with renamed columns: pairs of the name in records and the column.
    ///
    /// # Errors
    /// [`BadRename`], if a record's name for a column would be ambiguous or the column is missing.
    pub fn renamed(mut self, renames: &[(String, String)]) -> Result<Self, BadRename> {
        let mut members: Vec<(String, usize)> = Vec::with_capacity(renames.len());
        for (member, column) in renames {
            let place = self.column(column).ok_or_else(|| BadRename::NoColumn(column.clone()))?;
            if members.iter().any(|(_, other)| *other == place) {
                return Err(BadRename::Twice(column.clone()));
            }
            members.push((member.clone(), place));
        }
        let is_renamed = |place| members.iter().any(|(_, other)| *other == place);
        for (member, _) in renames {
            if self.column(member).is_some_and(|place| !is_renamed(place)) {
                return Err(BadRename::Taken(member.clone()));
            }
        }
        let mut key = self.key.clone();
        for column in &mut key {
            let renamed = renames.iter().find(|(_, name)| *name == column.name);
            if let Some((member, _)) = renamed {
                column.name.clone_from(member);
            }
        }
        self.renamed = (!members.is_empty()).then_some(Renamed { members, key });
        Ok(self)
    }

    /// This table with `name` as its version column.
    ///
    /// # Errors
    /// [`BadVersion`], if the column can't hold a version.
    pub fn with_version(mut self, name: &str) -> Result<Self, BadVersion> {
        let place = self.column(name).ok_or_else(|| BadVersion::NoColumn(name.to_owned()))?;
        if self.is_key(name) {
            return Err(BadVersion::Key(name.to_owned()));
        }
        match self.columns[place].kind {
            ColumnKind::Integer(_)
            | ColumnKind::Numeric(_)
            | ColumnKind::Significant(_)
            | ColumnKind::Instant(_) => self.version = Some(place),
            _ => return Err(BadVersion::Type(name.to_owned())),
        }
        Ok(self)
    }

    /// This table with only the key and the columns in `names`.
    ///
    /// # Errors
    /// The first name that is not a column.
    pub fn only(mut self, names: &[String]) -> Result<Self, String> {
        if let Some(unknown) = names.iter().find(|name| self.column(name).is_none()) {
            return Err(unknown.clone());
        }
        let key = self.key.clone();
        let stays = |column: &Column| {
            names.contains(&column.name) || key.iter().any(|key| key.name == column.name)
        };
        self.update_before_insert |=
            self.columns.iter().any(|column| column.must_be_named() && !stays(column));
        self.columns.retain(stays);
        Ok(self)
    }

    /// Whether the column `name` belongs to the key.
    #[must_use]
    pub fn is_key(&self, name: &str) -> bool {
        self.key.iter().any(|column| column.name == name)
    }
}

impl Column {
    /// Whether a proposed row that does not name it may be refused, or leave a trace.
    pub(crate) fn must_be_named(&self) -> bool {
        self.required || self.default_acts
    }
}

#[cfg(test)]
impl Column {
    /// An optional column that starts from NULL or 0.
    pub(crate) fn plain(name: &str, kind: ColumnKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            sql_type: String::new(),
            required: false,
            takes_null: true,
            default_acts: false,
            counts_from_nothing: true,
            whole_digits: None,
        }
    }
}

#[cfg(any(test, feature = "internals"))]
impl Table {
    /// A table with these columns and the key `id`, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn plain(
        sql_name: &str,
        id: write_behind_shared::key::KeyKind,
        columns: Vec<Column>,
    ) -> Self {
        Self {
            sql_name: sql_name.to_owned(),
            columns,
            key: vec![KeyColumn { name: "id".to_owned(), kind: id }],
            key_index: None,
            update_before_insert: false,
            sees_empty_inserts: false,
            may_be_locked: false,
            own_references: Vec::new(),
            deletes_reach_others: false,
            contested: None,
            renamed: None,
            version: None,
            identity: Identity::default(),
            warnings: Vec::new(),
        }
    }
}
