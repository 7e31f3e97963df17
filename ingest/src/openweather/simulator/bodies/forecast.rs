//! `/data/2.5/forecast`: five days in steps of three hours.

use chrono::DateTime;
use serde::Serialize;

use super::{Clouds, Manner, Number, Wind, ground_level, whole};
use crate::openweather::simulator::conditions::{Condition, conditions};
use crate::openweather::simulator::model::{Air, Model};
use crate::openweather::simulator::noise::Channel;
use crate::openweather::simulator::places::Place;
use crate::openweather::simulator::sun::rise_and_set;

pub(crate) const ENTRIES_MAX: usize = 40;
const STEP_S: i64 = 10_800;

#[derive(Serialize)]
pub(crate) struct Body {
    /// A string here, a number in the current weather.
    cod: &'static str,
    message: u8,
    cnt: usize,
    list: Vec<Entry>,
    city: City,
}

#[derive(Serialize)]
struct Entry {
    dt: i64,
    main: Main,
    weather: Vec<Condition>,
    clouds: Clouds,
    wind: Wind,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<i64>,
    pop: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<In3h>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<In3h>,
    sys: PartOfDay,
    dt_txt: String,
}

#[derive(Serialize)]
struct Main {
    temp: Number,
    feels_like: Number,
    temp_min: Number,
    temp_max: Number,
    pressure: i64,
    sea_level: i64,
    grnd_level: i64,
    humidity: i64,
    temp_kf: Number,
}

#[derive(Serialize)]
struct In3h {
    #[serde(rename = "3h")]
    mm: Number,
}

#[derive(Serialize)]
struct PartOfDay {
    pod: char,
}

#[derive(Serialize)]
struct City {
    id: u64,
    name: &'static str,
    coord: LatLon,
    country: &'static str,
    population: u32,
    timezone: i64,
    sunrise: i64,
    sunset: i64,
}

/// The other way round than everywhere else.
#[derive(Serialize)]
struct LatLon {
    lat: Number,
    lon: Number,
}

/// When the forecast that is current at an instant was made: every three hours there is a new one.
pub(crate) fn issue(seconds: i64) -> i64 {
    seconds.div_euclid(STEP_S) * STEP_S
}

pub(crate) fn forecast(model: &Model, issued: i64, entries: usize, manner: Manner) -> Body {
    let targets = (1..).map(|step| issued + step * STEP_S);
    let list: Vec<Entry> = targets
        .take(entries)
        .map(|target| entry(model, issued, target, manner))
        .collect();
    Body {
        cod: "200",
        message: 0,
        cnt: list.len(),
        list,
        city: city(&model.place, issued, manner),
    }
}

fn entry(model: &Model, issued: i64, target: i64, manner: Manner) -> Entry {
    let mut air = model.air(target);
    let drift = model.drift(issued, target);
    air.temp += drift;
    air.feels_like += drift;
    let (rain, snow) = fallen(model, &air, target);
    let in_3h = |mm: f64| {
        (mm >= 0.1).then(|| In3h {
            mm: Number::new(mm),
        })
    };
    let is_seen = model.noise.draw(Channel::Visibility, target) >= 0.01;
    Entry {
        dt: target,
        main: main(model, &air, issued, target, manner),
        weather: conditions(&air, manner.language),
        clouds: Clouds {
            all: whole(air.clouds),
        },
        wind: manner.wind(&air),
        visibility: is_seen.then(|| whole(air.visibility)),
        pop: Number::new(probability(&air, rain + snow)),
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

/// The internal correction of the first hours is known to widen minimum and maximum.
fn main(model: &Model, air: &Air, issued: i64, target: i64, manner: Manner) -> Main {
    let is_soon = target - issued <= 3 * STEP_S;
    let correction = if is_soon {
        2.0 * model.noise.draw(Channel::Spread, target) - 1.0
    } else {
        0.0
    };
    Main {
        temp: manner.temp(air.temp),
        feels_like: manner.temp(air.feels_like),
        temp_min: manner.temp(air.temp - correction.max(0.0)),
        temp_max: manner.temp(air.temp - correction.min(0.0)),
        pressure: whole(air.pressure),
        sea_level: whole(air.pressure),
        grnd_level: ground_level(&model.place, air.pressure),
        humidity: whole(air.humidity),
        temp_kf: Number::new(correction),
    }
}

/// Rain and snow of the three hours before `target`, mm: one sample an hour, the last one at hand.
fn fallen(model: &Model, last: &Air, target: i64) -> (f64, f64) {
    let earlier = [target - 3_600, target - 7_200].map(|at| model.air(at));
    earlier
        .iter()
        .fold((last.rain, last.snow), |(rain, snow), air| {
            (rain + air.rain, snow + air.snow)
        })
}

/// Certain from two millimetres on; a grey sky alone leaves some doubt.
fn probability(air: &Air, mm: f64) -> f64 {
    let expected = if mm > 0.0 {
        0.3 + 0.35 * mm
    } else {
        (air.clouds - 80.0) / 100.0
    };
    expected.clamp(0.0, 1.0)
}

fn city(place: &Place, seconds: i64, manner: Manner) -> City {
    let (sunrise, sunset) = rise_and_set(place, seconds).unwrap_or((0, 0));
    City {
        id: place.id,
        name: manner.name(place),
        coord: LatLon {
            lat: Number::degrees(place.lat),
            lon: Number::degrees(place.lon),
        },
        country: place.country,
        population: place.population,
        timezone: place.utc_offset_s(seconds),
        sunrise,
        sunset,
    }
}
