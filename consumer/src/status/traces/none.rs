//! In the place of the spans in a build without the feature `otlp`: there are none.

use std::time::SystemTime;

use write_behind_shared::{Offset, Partition};

use crate::apply::Stats;
use crate::config::Config;
use crate::core::batch::{Batch, RoutePartition};
use crate::core::record::Incoming;

/// Nobody can make one.
#[derive(Debug)]
pub(in crate::status) enum NoSpans {}

impl NoSpans {
    pub(in crate::status) fn start(_: &Config) -> Result<Option<Self>, String> {
        Ok(None)
    }

    pub(in crate::status) fn read(&self, _: usize, _: &Incoming<'_>) {
        match *self {}
    }

    pub(in crate::status) fn set_aside(&self, _: usize, _: &[(Partition, Offset)]) {
        match *self {}
    }

    pub(in crate::status) fn written(&self, _: &Batch, _: &Stats, _: SystemTime) {
        match *self {}
    }

    pub(in crate::status) fn forget(&self, _: &[RoutePartition]) {
        match *self {}
    }

    pub(in crate::status) fn end(&self) {
        match *self {}
    }
}
