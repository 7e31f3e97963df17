//! `/data/2.5/weather`: the current weather.

use serde::Serialize;

use super::{ApiNumber, BodyFormat, Clouds, LonLat, Wind, ground_level, slot, whole};
use crate::openweather::simulator::conditions::{Condition, conditions};
use crate::openweather::simulator::model::{Air, Model};
use crate::openweather::simulator::noise::Channel;
use crate::openweather::simulator::places::Place;
use crate::openweather::simulator::sun::rise_and_set;

#[derive(Serialize)]
pub(crate) struct WeatherBody {
    coord: LonLat,
    weather: Vec<Condition>,
    base: &'static str,
    main: WeatherMain,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<i64>,
    wind: Wind,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<In1h>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<In1h>,
    clouds: Clouds,
    dt: i64,
    sys: Sys,
    timezone: i64,
    id: u64,
    name: &'static str,
    /// A number, unlike in the forecast, where it is a string.
    cod: u16,
}

#[derive(Serialize)]
struct WeatherMain {
    temp: ApiNumber,
    feels_like: ApiNumber,
    temp_min: ApiNumber,
    temp_max: ApiNumber,
    pressure: i64,
    humidity: i64,
    sea_level: i64,
    grnd_level: i64,
}

#[derive(Serialize)]
struct In1h {
    #[serde(rename = "1h")]
    mm: ApiNumber,
}

#[derive(Serialize)]
struct Sys {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'static str>,
    /// 0 in polar day and night.
    sunrise: i64,
    sunset: i64,
}

pub(crate) fn weather(model: &Model, seconds: i64, format: BodyFormat) -> WeatherBody {
    let (slot, dt) = slot(model, seconds);
    let place = &model.place;
    let air = model.air(dt);
    let in_1h = |mm: f64| {
        (mm > 0.0).then(|| In1h {
            mm: ApiNumber::new(mm),
        })
    };
    let is_seen = model.noise.draw(Channel::Visibility, slot) >= 0.02;
    WeatherBody {
        coord: LonLat::of(place),
        weather: conditions(&air, format.language),
        base: "stations",
        main: main(model, &air, slot, format),
        visibility: is_seen.then(|| whole(air.visibility)),
        wind: format.wind(&air),
        rain: in_1h(air.rain),
        snow: in_1h(air.snow),
        clouds: Clouds {
            all: whole(air.clouds),
        },
        dt,
        sys: sys(place, dt),
        timezone: place.utc_offset_s(dt),
        id: place.id,
        name: format.name(place),
        cod: 200,
    }
}

/// Minimum and maximum are the present ones across the city, and not those of the day.
fn main(model: &Model, air: &Air, slot: i64, format: BodyFormat) -> WeatherMain {
    let spread = model.noise.draw(Channel::Spread, slot);
    WeatherMain {
        temp: format.temp(air.temp),
        feels_like: format.temp(air.feels_like),
        temp_min: format.temp(air.temp - 1.5 * spread),
        temp_max: format.temp(air.temp + 1.2 * spread),
        pressure: whole(air.pressure),
        humidity: whole(air.humidity),
        sea_level: whole(air.pressure),
        grnd_level: ground_level(&model.place, air.pressure),
    }
}

fn sys(place: &Place, seconds: i64) -> Sys {
    let (sunrise, sunset) = rise_and_set(place, seconds).unwrap_or((0, 0));
    Sys {
        kind: place
            .station
            .map(|station| if station > 100_000 { 2 } else { 1 }),
        id: place.station,
        country: (!place.country.is_empty()).then_some(place.country),
        sunrise,
        sunset,
    }
}
