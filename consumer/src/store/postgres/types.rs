//! The types of Postgres, taken apart: a domain is what its base type is, an array what its elements
//! are, a range or a composite value what its parts are.

use std::collections::BTreeMap;

use sqlx::postgres::types::Oid;
use sqlx::{PgConnection, Row as _};

use crate::core::table::calendar::{Calendar, Eras};
use crate::core::table::notation::is_judged;
use crate::core::table::{ColumnKind, Float, Length};

/// The types of a table's columns and all that these consist of. Older servers have no multiranges,
/// and no column that would name one.
const TYPES: &str = "WITH RECURSIVE reached(oid) AS (
        SELECT atttypid FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
        UNION
        SELECT part.oid FROM reached JOIN pg_type t ON t.oid = reached.oid, LATERAL (
            SELECT t.typbasetype UNION ALL SELECT t.typelem
            UNION ALL SELECT r.rngsubtype FROM pg_range r
                WHERE t.oid::text IN (r.rngtypid::oid::text, to_jsonb(r) ->> 'rngmultitypid')
            UNION ALL SELECT a.atttypid FROM pg_attribute a
                WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS part(oid) WHERE part.oid <> 0)
    SELECT t.oid, t.typname::text AS name, t.typtype::text AS sort,
        t.typnamespace = 'pg_catalog'::regnamespace AS built_in,
        current_setting('server_encoding') = 'SQL_ASCII' AS counts_bytes,
        t.typbasetype AS base, t.typtypmod AS modifier, t.typdelim::text AS delimiter,
        coalesce(e.oid, 0) AS element, coalesce(r.rngsubtype, 0) AS bound,
        array(SELECT a.atttypid FROM pg_attribute a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY a.attnum) AS fields,
        array(SELECT a.atttypmod FROM pg_attribute a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY a.attnum) AS field_modifiers
    FROM reached JOIN pg_type t ON t.oid = reached.oid
    LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
    LEFT JOIN pg_range r
        ON t.oid::text IN (r.rngtypid::oid::text, to_jsonb(r) ->> 'rngmultitypid')";

/// What the catalogue says of a type.
struct CatalogType {
    name: String,
    /// Postgres' own letter: a base type, a domain, a composite type, a range, a multirange.
    sort: String,
    built_in: bool,
    /// Whether the database takes each byte of a text for a character.
    counts_bytes: bool,
    base: Oid,
    modifier: i32,
    /// An array's elements, and what separates them.
    element: Oid,
    delimiter: char,
    /// A range's bounds.
    bound: Oid,
    /// A composite value's fields, each with its modifier.
    fields: Vec<(Oid, i32)>,
}

/// The types of one table.
pub(super) struct Types(BTreeMap<u32, CatalogType>);

impl Types {
    /// Those of the table `oid`.
    pub(super) async fn of(connection: &mut PgConnection, table: Oid) -> sqlx::Result<Self> {
        let mut types = BTreeMap::new();
        for row in sqlx::query(TYPES).bind(table).fetch_all(connection).await? {
            let fields: Vec<Oid> = row.try_get("fields")?;
            let modifiers: Vec<i32> = row.try_get("field_modifiers")?;
            let delimiter: String = row.try_get("delimiter")?;
            let oid: Oid = row.try_get("oid")?;
            types.insert(
                oid.0,
                CatalogType {
                    name: row.try_get("name")?,
                    sort: row.try_get("sort")?,
                    built_in: row.try_get("built_in")?,
                    counts_bytes: row.try_get("counts_bytes")?,
                    base: row.try_get("base")?,
                    modifier: row.try_get("modifier")?,
                    element: row.try_get("element")?,
                    delimiter: delimiter.chars().next().unwrap_or(','),
                    bound: row.try_get("bound")?,
                    fields: fields.into_iter().zip(modifiers).collect(),
                },
            );
        }
        Ok(Self(types))
    }

    /// The JSON that fits a column of this type, with this modifier; `None`: none does.
    pub(super) fn kind(&self, oid: Oid, modifier: i32) -> Option<ColumnKind> {
        let Some(of) = self.0.get(&oid.0) else { return Some(ColumnKind::Notation) };
        let part = |oid| self.kind(oid, -1).map(Box::new);
        let kind = match &*of.sort {
            "d" if of.modifier >= 0 => return self.kind(of.base, of.modifier),
            "d" => return self.kind(of.base, modifier),
            "r" => ColumnKind::Range(part(of.bound)?),
            "m" => ColumnKind::Multirange(part(of.bound)?),
            "c" => {
                let fields = of.fields.iter().map(|(oid, modifier)| self.kind(*oid, *modifier));
                ColumnKind::Composite(fields.collect::<Option<_>>()?)
            }
            _ if of.element.0 != 0 => {
                let element = Box::new(self.kind(of.element, modifier)?);
                return Some(ColumnKind::Array(element, of.delimiter));
            }
            "b" if of.built_in => return built_in(of, modifier),
            "b" if of.name == "citext" => ColumnKind::Text,
            "b" if of.name == "geometry" => ColumnKind::Geometry { on_globe: false },
            "b" if of.name == "geography" => ColumnKind::Geometry { on_globe: true },
            _ => ColumnKind::Notation,
        };
        let is_parsed = matches!(kind, ColumnKind::Text) || is_judged(&kind);
        Some(if is_parsed { kind } else { ColumnKind::Notation })
    }
}

/// The kind of a type that Postgres has itself. `money` means something else in each locale, and an
/// object's name something else as soon as another object has it: nothing fits these.
fn built_in(of: &CatalogType, modifier: i32) -> Option<ColumnKind> {
    let given = modifier >= 0;
    let digits = if given { modifier.unsigned_abs() } else { 6 };
    Some(match &*of.name {
        "int2" => ColumnKind::Integer(i16::MIN.into()..=i16::MAX.into()),
        "int4" => ColumnKind::Integer(i32::MIN.into()..=i32::MAX.into()),
        "int8" => ColumnKind::Integer(i64::MIN..=i64::MAX),
        "oid" | "xid" | "cid" => ColumnKind::Ordinal(0..=u32::MAX.into()),
        // The scale has 11 bits, one of them its sign, beside the precision.
        "numeric" => {
            ColumnKind::Numeric((modifier >= 4).then(|| (((modifier - 4) & 0x7ff) ^ 0x400) - 0x400))
        }
        "float4" => ColumnKind::Float(Float { single: true, scale: None }),
        "float8" => ColumnKind::Float(Float::DOUBLE),
        "bool" => ColumnKind::Boolean,
        "varchar" if modifier >= 4 => {
            let most = (modifier - 4).unsigned_abs() as usize;
            let characters = Length::Characters(most);
            ColumnKind::Short(if of.counts_bytes { Length::Bytes(most) } else { characters })
        }
        "text" | "varchar" | "bpchar" => ColumnKind::Text,
        "name" => ColumnKind::Short(Length::Bytes(63)),
        "char" => ColumnKind::Short(Length::Bytes(1)),
        "timestamptz" => ColumnKind::Instant(digits),
        "date" => ColumnKind::Calendar(Calendar::Date(Eras::All)),
        "time" => ColumnKind::Calendar(Calendar::Time),
        "timetz" => ColumnKind::Calendar(Calendar::ZonedTime),
        "timestamp" => ColumnKind::Calendar(Calendar::Timestamp(Eras::All)),
        "json" | "jsonb" => ColumnKind::Json,
        "bytea" => ColumnKind::Bytes(None),
        "tsvector" => ColumnKind::Lexemes,
        "money" | "aclitem" => return None,
        name if name.starts_with("reg") => return None,
        _ => ColumnKind::Notation,
    })
}
