//! What both halves must agree on about the types of MySQL and MariaDB.

/// Types whose values are no texts to a statement: geometry and vectors.
const WITHOUT_TEXTS: [&str; 10] = [
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
    "vector",
];

/// Whether values of the type with this name in the catalogue can be in records.
#[must_use]
pub fn has_texts(name: &str) -> bool {
    !WITHOUT_TEXTS.contains(&name)
}
