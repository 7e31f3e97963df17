//! Decodes messages on one thread, and compares the rate with arrow-json, which reads the same
//! messages into the same type.
//!
//! The decoder is stricter than arrow-json: it validates every string, number and key, also of
//! fields that no table reads.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use arrow::array::Array;
use arrow::datatypes::{DataType, Schema};
use arrow::json::ReaderBuilder;
use ingest::message::{Decoder, Shape};

/// Messages of one batch.
const BATCH_ROWS: usize = 4096;

/// Rounds over the same messages; the fastest one counts, because everything else on the machine
/// only slows one down.
const ROUNDS: usize = 15;

/// The shape of a weather topic: the union of its declarations.
const SHAPE: &str = r#"
weather.dt = "bigint not null"
weather.id = "bigint not null"
weather.name = "text not null"
weather.timezone = "bigint"
weather.visibility = "double"
weather.coord = { lat = "double", lon = "double" }
weather.sys = { country = "text", sunrise = "bigint", sunset = "bigint" }
weather.clouds.all = "double"
weather.wind = { speed = "double", deg = "double", gust = "double" }
weather.weather = [{ id = "bigint", main = "text", description = "text" }]
sun_info.day_length_seconds = "bigint"

[weather.main]
temp = "double not null"
feels_like = "double"
temp_min = "double"
temp_max = "double"
pressure = "double"
sea_level = "double"
grnd_level = "double"
humidity = "double"

["precipitations_info!"]
rain_1h = "double"
rain_3h = "double"
snow_1h = "double"
snow_3h = "double"

[["air_pollution"."list!"]]
main.aqi = "bigint not null"
components = { co = "double", no = "double", no2 = "double", o3 = "double", so2 = "double", pm2_5 = "double", pm10 = "double", nh3 = "double" }

[["forecast"."list!"]]
dt = "bigint not null"
main = { temp = "double", feels_like = "double", temp_min = "double", temp_max = "double", pressure = "double", humidity = "double" }
clouds.all = "double"
wind = { speed = "double", deg = "double", gust = "double" }
visibility = "double"
pop = "double"
rain.3h = "double"
snow.3h = "double"
weather = [{ id = "bigint", main = "text" }]
"#;

fn main() {
    let shape = Shape::parse(&SHAPE.parse().expect("the shape is TOML")).expect("the shape is one");
    for (name, rows, forecasts) in [
        ("without a forecast", 20_000, 0),
        ("with a forecast", 2_000, 40),
    ] {
        let messages: Vec<String> = (0..rows).map(|row| message(row, forecasts)).collect();
        let bytes: usize = messages.iter().map(String::len).sum();
        println!(
            "{rows} messages {name}, {} bytes each",
            bytes / rows as usize
        );
        report("isobar", bytes, messages.len(), || {
            decode(&shape, &messages)
        });
        report("arrow-json", bytes, messages.len(), || {
            decode_peer(&shape, &messages)
        });
    }
}

fn report(name: &str, bytes: usize, rows: usize, decode: impl Fn() -> usize) {
    let round = || {
        let start = Instant::now();
        assert_eq!(decode(), rows, "every message is decoded");
        start.elapsed()
    };
    let fastest = (0..ROUNDS)
        .map(|_| round())
        .min()
        .unwrap_or(Duration::MAX)
        .as_secs_f64();
    println!(
        "  {name:<10}  {:>6.0} MB/s  {:>9.0} messages/s",
        bytes as f64 / 1e6 / fastest,
        rows as f64 / fastest
    );
}

fn decode(shape: &Shape, messages: &[String]) -> usize {
    let mut decoder = Decoder::new(shape);
    let mut rows = 0;
    for batch in messages.chunks(BATCH_ROWS) {
        for message in batch {
            decoder
                .push(message.as_bytes())
                .expect("the messages are well formed");
        }
        rows += black_box(decoder.finish()).len();
    }
    rows
}

fn decode_peer(shape: &Shape, messages: &[String]) -> usize {
    let DataType::Struct(fields) = shape.data_type() else {
        unreachable!("a shape is a struct");
    };
    let mut decoder = ReaderBuilder::new(Schema::new(fields).into())
        .with_batch_size(BATCH_ROWS)
        .build_decoder()
        .expect("the peer reads every type of a shape");
    let mut rows = 0;
    for batch in messages.chunks(BATCH_ROWS) {
        for message in batch {
            decoder
                .decode(message.as_bytes())
                .expect("the messages are well formed");
        }
        let batch = decoder
            .flush()
            .expect("the messages have the declared types");
        rows += black_box(batch).map_or(0, |batch| batch.num_rows());
    }
    rows
}

/// A message of the weather topic. Its numbers depend on the row.
fn message(row: u32, forecasts: u32) -> String {
    let tenth = |from: u32, span: u32| f64::from(from + row * 7 % span) / 10.0;
    let (temp, wind, time) = (tenth(10, 300), tenth(0, 200), 1_768_431_100 + row * 600);
    let forecasts: Vec<String> = (0..forecasts)
        .map(|step| forecast(row + step, time))
        .collect();
    let mut text = String::with_capacity(2048);
    write!(
        text,
        r#"{{"sun_info": {{"city": "Reykjav\u00edk", "timezone_offset_seconds": 0, "sunrise_utc": "2026-01-14T11:01:56+00:00", "sunset_utc": "2026-01-14T16:10:21+00:00", "sunrise_local": "2026-01-14T11:01:56+00:00", "sunset_local": "2026-01-14T16:10:21+00:00", "day_length_seconds": 18505}}, "precipitations_info": {{"city": "Reykjav\u00edk", "rain_1h": 0.0, "rain_3h": 0.0, "snow_1h": {wind}, "snow_3h": 0.0, "units": "mm", "timestamp_utc": "2026-01-14T22:57:36+00:00"}}, "air_pollution": {{"coord": {{"lon": -21.9034, "lat": 64.1307}}, "list": [{{"main": {{"aqi": {aqi}}}, "components": {{"co": 242.72, "no": 0, "no2": 3.17, "o3": 60.54, "so2": 0.94, "pm2_5": 4.03, "pm10": {wind}, "nh3": 0.38}}, "dt": {time}}}]}}, "forecast": {{"cod": "200", "message": 0, "cnt": 40, "list": [{forecasts}], "city": {{"id": 3413829, "name": "Reykjavik", "coord": {{"lat": 64.1307, "lon": -21.9034}}, "country": "IS", "population": 118918, "timezone": 0, "sunrise": 1768388516, "sunset": 1768407021}}}}, "weather": {{"coord": {{"lon": -21.8954, "lat": 64.1355}}, "weather": [{{"id": 804, "main": "Clouds", "description": "overcast clouds", "icon": "04n"}}], "base": "stations", "main": {{"temp": {temp}, "feels_like": {wind}, "temp_min": -2.08, "temp_max": {temp}, "pressure": 1009, "humidity": 80, "sea_level": 1009, "grnd_level": 1005}}, "visibility": 10000, "wind": {{"speed": {wind}, "deg": 144}}, "clouds": {{"all": 88}}, "dt": {time}, "sys": {{"type": 1, "id": 83, "country": "IS", "sunrise": 1768388516, "sunset": 1768407021}}, "timezone": 0, "id": 3413829, "name": "Reykjav\u00edk", "cod": 200}}}}"#,
        aqi = 1 + row % 5,
        forecasts = forecasts.join(", "),
    )
    .expect("writing to a string never fails");
    text
}

fn forecast(step: u32, time: u32) -> String {
    let temp = f64::from(step * 13 % 400) / 10.0 - 10.0;
    let snow = if step.is_multiple_of(3) {
        r#""snow": {"3h": 0.25}, "#
    } else {
        ""
    };
    format!(
        r#"{{"dt": {}, "main": {{"temp": {temp}, "feels_like": -5.71, "temp_min": {temp}, "temp_max": -1.45, "pressure": 1009, "sea_level": 1009, "grnd_level": 1005, "humidity": 80, "temp_kf": 0.63}}, "weather": [{{"id": 802, "main": "Clouds", "description": "partiellement nuageux", "icon": "03n"}}], "clouds": {{"all": 38}}, "wind": {{"speed": 3.52, "deg": 144, "gust": 5.52}}, "visibility": 10000, "pop": 0.29, {snow}"sys": {{"pod": "n"}}, "dt_txt": "2026-01-15 00:00:00"}}"#,
        time + step * 10_800
    )
}
