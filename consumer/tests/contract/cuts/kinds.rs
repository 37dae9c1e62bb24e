//! The tables that logs are cut for.

/// A table to cut logs for.
#[derive(Debug)]
pub struct Kind {
    pub columns: &'static str,
    /// Its columns, and their values in a row that names none.
    pub defaults: &'static [(&'static str, Option<&'static str>)],
    /// Whether a new row must name `req`.
    pub requires: bool,
    /// The column of rows' versions.
    pub version: Option<&'static str>,
    /// The columns of its unique keys beside the primary key.
    pub unique: &'static [&'static [&'static str]],
}

/// Rows are proposed as inserts.
pub const PLAIN: Kind = Kind {
    columns: "id integer PRIMARY KEY, hits integer NOT NULL DEFAULT 0, price numeric(6, 2), \
              small smallint, ratio double precision, name varchar(5), total bigint, \
              five integer DEFAULT 5",
    defaults: &[
        ("hits", Some("0")),
        ("price", None),
        ("small", None),
        ("ratio", None),
        ("name", None),
        ("total", None),
        ("five", Some("5")),
    ],
    requires: false,
    version: None,
    unique: &[],
};

/// Rows that exist are updated first.
pub const CHECKED: Kind = Kind {
    columns: "id integer PRIMARY KEY, hits integer NOT NULL DEFAULT 0 CHECK (hits >= 0), \
              price numeric(6, 2), small smallint, ratio double precision, \
              name varchar(5) CHECK (name <> 'bad'), total bigint, five integer DEFAULT 5, \
              req varchar(9) NOT NULL",
    defaults: &[
        ("hits", Some("0")),
        ("price", None),
        ("small", None),
        ("ratio", None),
        ("name", None),
        ("total", None),
        ("five", Some("5")),
        ("req", None),
    ],
    requires: true,
    version: None,
    unique: &[],
};

/// An older version never overwrites a newer one.
pub const VERSIONED: Kind = Kind {
    columns: "id integer PRIMARY KEY, v bigint, hits integer NOT NULL DEFAULT 0, \
              price numeric(6, 2), small smallint, ratio double precision, name varchar(5), \
              total bigint, five integer DEFAULT 5",
    defaults: &[
        ("v", None),
        ("hits", Some("0")),
        ("price", None),
        ("small", None),
        ("ratio", None),
        ("name", None),
        ("total", None),
        ("five", Some("5")),
    ],
    requires: false,
    version: Some("v"),
    unique: &[],
};

const UNIQUE_KEYS: &[&[&str]] = &[&["name"], &["small", "five"]];

/// Rows are in each other's way, and are proposed as inserts.
pub const UNIQUE: Kind = Kind {
    columns: "id integer PRIMARY KEY, hits integer NOT NULL DEFAULT 0, price numeric(6, 2), \
              small smallint, ratio double precision, name varchar(5) UNIQUE, total bigint, \
              five integer DEFAULT 5, UNIQUE (small, five)",
    defaults: PLAIN.defaults,
    requires: false,
    version: None,
    unique: UNIQUE_KEYS,
};

/// Rows are in each other's way, and an older version never overwrites a newer one.
pub const UNIQUE_VERSIONED: Kind = Kind {
    columns: "id integer PRIMARY KEY, v bigint, hits integer NOT NULL DEFAULT 0, \
              price numeric(6, 2), small smallint, ratio double precision, name varchar(5) UNIQUE, \
              total bigint, five integer DEFAULT 5, UNIQUE (small, five)",
    defaults: VERSIONED.defaults,
    requires: false,
    version: Some("v"),
    unique: UNIQUE_KEYS,
};

/// Rows are in each other's way, and those that exist are updated first.
pub const UNIQUE_CHECKED: Kind = Kind {
    columns: "id integer PRIMARY KEY, hits integer NOT NULL DEFAULT 0 CHECK (hits >= 0), \
              price numeric(6, 2), small smallint, ratio double precision, \
              name varchar(5) UNIQUE CHECK (name <> 'bad'), total bigint, \
              five integer DEFAULT 5, UNIQUE (small, five)",
    defaults: PLAIN.defaults,
    requires: false,
    version: None,
    unique: UNIQUE_KEYS,
};
