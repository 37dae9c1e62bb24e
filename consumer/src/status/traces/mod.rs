//! The spans of traced records, from their reading to their commit. A build without the feature `otlp`
//! has none.

#[cfg(feature = "otlp")]
mod spans;
#[cfg(feature = "otlp")]
mod collector;
#[cfg(not(feature = "otlp"))]
mod none;

#[cfg(not(feature = "otlp"))]
pub(super) use crate::status::traces::none::NoSpans as Spans;
#[cfg(feature = "otlp")]
pub(super) use crate::status::traces::spans::Spans;
