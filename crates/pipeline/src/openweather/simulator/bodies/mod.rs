//! Bodies of the API, from the values of the model: the same fields in the same order, with the
//! same inconsistencies.

mod air_pollution;
mod forecast;
mod geocoding;
mod weather;

use serde::{Serialize, Serializer};

pub(super) use air_pollution::air_pollution;
pub(super) use forecast::{ENTRIES_MAX, forecast, issue};
pub(super) use geocoding::geocoding;
pub(super) use weather::weather;

use super::model::{Air, Model};
use super::noise::Channel;
use super::places::Place;
use crate::openweather::Units;

/// Interval of new data of the API, seconds.
const SLOT_S: i64 = 600;
/// Limit of the age of new data, seconds.
const DELAY_S_MAX: f64 = 120.0;
const MPH: f64 = 2.236_936;

/// The languages that the simulator speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    English,
    French,
}

/// Units and language of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BodyFormat {
    /// Units of the values.
    pub(crate) units: Units,
    /// Language of the texts.
    pub(crate) language: Language,
}

impl BodyFormat {
    fn temp(self, celsius: f64) -> ApiNumber {
        ApiNumber::new(match self.units {
            Units::Standard => celsius + 273.15,
            Units::Metric => celsius,
            Units::Imperial => celsius * 1.8 + 32.0,
        })
    }

    fn wind(self, air: &Air) -> Wind {
        let factor = if self.units == Units::Imperial {
            MPH
        } else {
            1.0
        };
        let speed = |metres_per_s: f64| ApiNumber::new(metres_per_s * factor);
        Wind {
            speed: speed(air.wind),
            deg: whole(air.wind_deg),
            gust: air.gust.map(speed),
        }
    }

    fn name(self, place: &Place) -> &'static str {
        match self.language {
            Language::English => place.name,
            Language::French => place.name_fr,
        }
    }
}

/// A number as the API writes it: at most two decimals, and none for an integer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ApiNumber(f64);

impl ApiNumber {
    pub(crate) fn new(value: f64) -> Self {
        Self((value * 100.0).round() / 100.0)
    }

    /// Coordinates have four decimals.
    fn degrees(value: f64) -> Self {
        Self((value * 10_000.0).round() / 10_000.0)
    }

    pub(crate) fn value(self) -> f64 {
        self.0
    }
}

impl Serialize for ApiNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 {
            serializer.serialize_i64(whole(self.0))
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the model's values are small"
)]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

#[derive(Serialize)]
struct LonLat {
    lon: ApiNumber,
    lat: ApiNumber,
}

impl LonLat {
    fn of(place: &Place) -> Self {
        Self {
            lon: ApiNumber::degrees(place.lon),
            lat: ApiNumber::degrees(place.lat),
        }
    }
}

#[derive(Serialize)]
struct Wind {
    speed: ApiNumber,
    deg: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gust: Option<ApiNumber>,
}

#[derive(Serialize)]
struct Clouds {
    all: i64,
}

/// The ten-minute interval of an instant, and the time of its data.
fn slot(model: &Model, seconds: i64) -> (i64, i64) {
    let slot = seconds.div_euclid(SLOT_S);
    (
        slot,
        slot * SLOT_S - whole(model.noise.draw(Channel::Delay, slot) * DELAY_S_MAX),
    )
}

/// hPa at the height of the place.
fn ground_level(place: &Place, pressure: f64) -> i64 {
    whole(pressure * (-place.elevation_m / 8_300.0).exp())
}

#[cfg(test)]
mod tests {
    use super::ApiNumber;

    #[test]
    fn whole_numbers_have_no_decimals() {
        for (value, expected) in [
            (12.0, "12"),
            (12.3, "12.3"),
            (0.1 + 0.2, "0.3"),
            (-0.001, "0"),
            (-7.996, "-8"),
            (1.005e3, "1005"),
        ] {
            let text = serde_json::to_string(&ApiNumber::new(value)).expect("a number");
            assert_eq!(text, expected);
        }
        let degrees = serde_json::to_string(&ApiNumber::degrees(2.348_81)).expect("a number");
        assert_eq!(degrees, "2.3488");
    }
}
