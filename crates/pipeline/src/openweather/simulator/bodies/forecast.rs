//! `/data/2.5/forecast`: five days in steps of three hours.

use chrono::DateTime;
use serde::Serialize;

use super::{ApiNumber, BodyFormat, Clouds, Wind, ground_level, whole};
use crate::openweather::simulator::conditions::{Condition, conditions};
use crate::openweather::simulator::model::{Air, Model};
use crate::openweather::simulator::noise::Channel;
use crate::openweather::simulator::places::Place;
use crate::openweather::simulator::sun::rise_and_set;

pub(crate) const ENTRIES_MAX: usize = 40;
const STEP_S: i64 = 10_800;

#[derive(Serialize)]
pub(crate) struct ForecastBody {
    /// A string, unlike in the current weather, where it is a number.
    cod: &'static str,
    message: u8,
    cnt: usize,
    list: Vec<ForecastEntry>,
    city: ForecastCity,
}

#[derive(Serialize)]
struct ForecastEntry {
    dt: i64,
    main: ForecastMain,
    weather: Vec<Condition>,
    clouds: Clouds,
    wind: Wind,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<i64>,
    pop: ApiNumber,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<In3h>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<In3h>,
    sys: PartOfDay,
    dt_txt: String,
}

#[derive(Serialize)]
struct ForecastMain {
    temp: ApiNumber,
    feels_like: ApiNumber,
    temp_min: ApiNumber,
    temp_max: ApiNumber,
    pressure: i64,
    sea_level: i64,
    grnd_level: i64,
    humidity: i64,
    temp_kf: ApiNumber,
}

#[derive(Serialize)]
struct In3h {
    #[serde(rename = "3h")]
    mm: ApiNumber,
}

#[derive(Serialize)]
struct PartOfDay {
    pod: char,
}

#[derive(Serialize)]
struct ForecastCity {
    id: u64,
    name: &'static str,
    coord: LatLon,
    country: &'static str,
    population: u32,
    timezone: i64,
    sunrise: i64,
    sunset: i64,
}

/// Coordinates in the opposite order of all other bodies.
#[derive(Serialize)]
struct LatLon {
    lat: ApiNumber,
    lon: ApiNumber,
}

/// The time of issue of the forecast that is current at an instant. Forecasts are issued every
/// three hours.
pub(crate) fn issue(seconds: i64) -> i64 {
    seconds.div_euclid(STEP_S) * STEP_S
}

pub(crate) fn forecast(
    model: &Model,
    issued: i64,
    entries: usize,
    format: BodyFormat,
) -> ForecastBody {
    let targets = (1..).map(|step| issued + step * STEP_S);
    let list: Vec<ForecastEntry> = targets
        .take(entries)
        .map(|target| entry(model, issued, target, format))
        .collect();
    ForecastBody {
        cod: "200",
        message: 0,
        cnt: list.len(),
        list,
        city: city(&model.place, issued, format),
    }
}

fn entry(model: &Model, issued: i64, target: i64, format: BodyFormat) -> ForecastEntry {
    let mut air = model.air(target);
    let drift = model.drift(issued, target);
    air.temp += drift;
    air.feels_like += drift;
    let (rain, snow) = fallen(model, &air, target);
    let in_3h = |mm: f64| {
        (mm >= 0.1).then(|| In3h {
            mm: ApiNumber::new(mm),
        })
    };
    let is_seen = model.noise.draw(Channel::Visibility, target) >= 0.01;
    ForecastEntry {
        dt: target,
        main: main(model, &air, issued, target, format),
        weather: conditions(&air, format.language),
        clouds: Clouds {
            all: whole(air.clouds),
        },
        wind: format.wind(&air),
        visibility: is_seen.then(|| whole(air.visibility)),
        pop: ApiNumber::new(probability(&air, rain + snow)),
        rain: in_3h(rain),
        snow: in_3h(snow),
        sys: PartOfDay {
            pod: if air.sun.is_up { 'd' } else { 'n' },
        },
        dt_txt: DateTime::from_timestamp(target, 0)
            .map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string())
            .unwrap_or_default(),
    }
}

/// In the first hours, minimum and maximum of the API differ from the temperature by its internal
/// correction.
fn main(model: &Model, air: &Air, issued: i64, target: i64, format: BodyFormat) -> ForecastMain {
    let is_soon = target - issued <= 3 * STEP_S;
    let correction = if is_soon {
        2.0 * model.noise.draw(Channel::Spread, target) - 1.0
    } else {
        0.0
    };
    ForecastMain {
        temp: format.temp(air.temp),
        feels_like: format.temp(air.feels_like),
        temp_min: format.temp(air.temp - correction.max(0.0)),
        temp_max: format.temp(air.temp - correction.min(0.0)),
        pressure: whole(air.pressure),
        sea_level: whole(air.pressure),
        grnd_level: ground_level(&model.place, air.pressure),
        humidity: whole(air.humidity),
        temp_kf: ApiNumber::new(correction),
    }
}

/// Rain and snow of the three hours before `target`, mm: one sample for each hour, of which `last`
/// is the last.
fn fallen(model: &Model, last: &Air, target: i64) -> (f64, f64) {
    let earlier = [target - 3_600, target - 7_200].map(|at| model.air(at));
    earlier
        .iter()
        .fold((last.rain, last.snow), |(rain, snow), air| {
            (rain + air.rain, snow + air.snow)
        })
}

/// Probability of precipitation: 1 from two millimetres on, and above 0 for a cloudy sky.
fn probability(air: &Air, mm: f64) -> f64 {
    let expected = if mm > 0.0 {
        0.3 + 0.35 * mm
    } else {
        (air.clouds - 80.0) / 100.0
    };
    expected.clamp(0.0, 1.0)
}

fn city(place: &Place, seconds: i64, format: BodyFormat) -> ForecastCity {
    let (sunrise, sunset) = rise_and_set(place, seconds).unwrap_or((0, 0));
    ForecastCity {
        id: place.id,
        name: format.name(place),
        coord: LatLon {
            lat: ApiNumber::degrees(place.lat),
            lon: ApiNumber::degrees(place.lon),
        },
        country: place.country,
        population: place.population,
        timezone: place.utc_offset_s(seconds),
        sunrise,
        sunset,
    }
}
