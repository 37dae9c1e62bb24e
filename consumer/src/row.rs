//! A folded change judged by its table: every value checked against its column's type and turned
//! into the text the database takes, or refused with a reason.
