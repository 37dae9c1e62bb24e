//! The flights of 2013 as the file has them, and an independent fold of them to check against.
//!
//! The file names `NA` what is not known. A flight without a tail number belongs to no aircraft:
//! it is left out and counted. A flight without air time (cancelled or diverted) flew its route in
//! the schedule: it counts as a flight with its miles, and adds no minutes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One line of the file.
#[derive(Debug, Deserialize)]
pub(crate) struct Flight {
    /// The scheduled hour of departure, RFC 3339.
    pub(crate) time_hour: String,
    /// The aircraft; `NA` when not known.
    pub(crate) tailnum: String,
    /// Where it flew to.
    pub(crate) dest: String,
    /// Minutes in the air; `NA` when not known.
    pub(crate) air_time: String,
    /// Miles flown.
    pub(crate) distance: i64,
}

/// The row of one aircraft.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aircraft {
    /// How many flights it had.
    pub(crate) flights: i64,
    /// How many miles they were.
    pub(crate) miles: i64,
    /// Minutes in the air, as far as known; `None` when for no flight.
    pub(crate) minutes: Option<i64>,
    /// Where it was last seen.
    pub(crate) last_airport: String,
    /// When it last left.
    pub(crate) last_departure: String,
}

/// What was handled on purpose rather than replayed as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Flights without a tail number: not replayed.
    pub(crate) no_tail_number: u64,
    /// Flights without air time: replayed without minutes.
    pub(crate) no_air_time: u64,
}

impl Flight {
    /// The aircraft, if the file knows it.
    pub(crate) fn aircraft(&self) -> Option<&str> {
        known(&self.tailnum)
    }

    /// The minutes in the air, if the file knows them.
    pub(crate) fn minutes(&self) -> Result<Option<i64>> {
        let minutes = known(&self.air_time).map(str::parse);
        minutes.transpose().with_context(|| format!("air_time {:?} is no number", self.air_time))
    }
}

/// Reads every flight, in the file's order.
pub(crate) fn read(path: &Path) -> Result<Vec<Flight>> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    let reader = std::io::BufReader::new(flate2::read::GzDecoder::new(file));
    csv::Reader::from_reader(reader)
        .deserialize()
        .collect::<Result<Vec<Flight>, _>>()
        .with_context(|| format!("{} is not the flights' CSV", path.display()))
}

/// Folds the flights over the rows that are there already, in one plain loop that shares nothing
/// with the pipeline.
pub(crate) fn fold(
    mut rows: BTreeMap<String, Aircraft>,
    flights: &[Flight],
) -> Result<(BTreeMap<String, Aircraft>, LeftOut)> {
    let mut left_out = LeftOut::default();
    for flight in flights {
        let Some(tailnum) = flight.aircraft() else {
            left_out.no_tail_number += 1;
            continue;
        };
        left_out.no_air_time += u64::from(flight.minutes()?.is_none());
        rows.entry(tailnum.to_owned()).or_default().fly(flight)?;
    }
    Ok((rows, left_out))
}

impl Aircraft {
    /// Counts one more flight.
    pub(crate) fn fly(&mut self, flight: &Flight) -> Result<()> {
        self.flights += 1;
        self.miles += flight.distance;
        if let Some(minutes) = flight.minutes()? {
            self.minutes = Some(self.minutes.unwrap_or(0) + minutes);
        }
        self.last_airport.clone_from(&flight.dest);
        self.last_departure.clone_from(&flight.time_hour);
        Ok(())
    }
}

fn known(field: &str) -> Option<&str> {
    (field != "NA" && !field.is_empty()).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Vec<Flight> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/flights-2013.csv.gz");
        read(&file).unwrap()
    }

    #[test]
    fn the_shipped_file_is_the_year_we_say_it_is() {
        let flights = shipped();
        assert_eq!(flights.len(), 336_776);
        let (rows, left_out) = fold(BTreeMap::new(), &flights).unwrap();
        assert_eq!(rows.len(), 4_043);
        assert_eq!(left_out.no_tail_number, 2_512);
        let counted: i64 = rows.values().map(|row| row.flights).sum();
        assert_eq!(counted, 336_776 - 2_512);
    }

    #[test]
    fn what_is_not_known_is_neither_nought_nor_an_aircraft() {
        let flight = |tailnum: &str, air_time: &str| Flight {
            time_hour: "2013-01-01T10:00:00Z".to_owned(),
            tailnum: tailnum.to_owned(),
            dest: "IAH".to_owned(),
            air_time: air_time.to_owned(),
            distance: 10,
        };
        let flights = [flight("NA", "5"), flight("N1", "NA"), flight("N2", "7")];
        let (rows, left_out) = fold(BTreeMap::new(), &flights).unwrap();
        assert_eq!(left_out, LeftOut { no_tail_number: 1, no_air_time: 1 });
        assert_eq!(rows["N1"].minutes, None);
        assert_eq!(rows["N2"].minutes, Some(7));
        assert_eq!(rows.len(), 2);
    }
}
