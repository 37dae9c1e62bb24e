//! The flights of 2013 and what they add up to, counted here without any of the pipeline's code.
//!
//! A flight without a tail number belongs to no aircraft and is left out; one without air time
//! (cancelled or diverted) counts with its miles and adds no minutes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One line of the file.
#[derive(Clone, Debug, Deserialize)]
pub struct Flight {
    /// The scheduled hour of departure, RFC 3339.
    pub time_hour: String,
    /// The aircraft, or `NA`.
    pub tailnum: String,
    /// Where it flew to.
    pub dest: String,
    /// Minutes in the air, or `NA`.
    pub air_time: String,
    /// Miles.
    pub distance: i64,
}

/// What one aircraft's flights add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aircraft {
    /// How many there were.
    pub flights: i64,
    /// Their miles.
    pub miles: i64,
    /// Their known minutes; `None` when none is known.
    pub minutes: Option<i64>,
    /// Where the last one went.
    pub last_airport: String,
    /// When the last one left.
    pub last_departure: String,
}

impl Flight {
    /// The minutes in the air, if known.
    pub fn minutes(&self) -> Option<i64> {
        self.air_time.parse().ok()
    }
}

/// Every flight of a known aircraft, in the file's order, and how many there were of unknown ones.
pub fn read() -> Result<(Vec<Flight>, usize)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/flights-2013.csv.gz");
    let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let all: Vec<Flight> = reader.deserialize().collect::<Result<_, _>>()?;
    let lines = all.len();
    let known: Vec<Flight> = all.into_iter().filter(|flight| flight.tailnum != "NA").collect();
    let unknown = lines - known.len();
    Ok((known, unknown))
}

/// What the flights add up to, by aircraft.
pub fn totals(flights: &[Flight]) -> BTreeMap<String, Aircraft> {
    let mut totals: BTreeMap<String, Aircraft> = BTreeMap::new();
    for flight in flights {
        let aircraft = totals.entry(flight.tailnum.clone()).or_default();
        aircraft.flights += 1;
        aircraft.miles += flight.distance;
        if let Some(minutes) = flight.minutes() {
            aircraft.minutes = Some(aircraft.minutes.unwrap_or(0) + minutes);
        }
        aircraft.last_airport.clone_from(&flight.dest);
        aircraft.last_departure.clone_from(&flight.time_hour);
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_year_that_its_readme_describes() {
        let (flights, unknown) = read().unwrap();
        assert_eq!((flights.len(), unknown), (336_776 - 2_512, 2_512));
        let totals = totals(&flights);
        assert_eq!(totals.values().map(|aircraft| aircraft.flights).sum::<i64>(), 334_264);
        assert_eq!(totals.len(), 4_043);
    }
}
