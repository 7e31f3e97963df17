//! Assembles one message from three bodies of the API, in the form of the legacy producer.
//!
//! The bodies are copied unchanged, so that new fields of the API are kept. Two sections are
//! derived from the current weather. One fault of the legacy form is fixed: local sunrise and
//! sunset have the city's offset from UTC, where the legacy producer wrote `+00:00`.

use chrono::{DateTime, FixedOffset, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::{self, BodyError, Section};

/// The three bodies of the API for one city.
#[derive(Debug, Clone)]
pub struct Bodies {
    /// Body of the current weather.
    pub weather: Section,
    /// Body of the forecast.
    pub forecast: Section,
    /// Body of the air pollution.
    pub air_pollution: Section,
}

/// A message, with the fields that its record in Kafka needs.
#[derive(Debug, Clone)]
pub struct Observation {
    /// OpenWeather's id of the city, the key of the record: names are not unique.
    pub city_id: i64,
    /// The time of the weather, some minutes before the request.
    pub observed_at: DateTime<Utc>,
    /// The assembled message.
    pub message: Message,
}

/// The message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Sunrise and sunset.
    pub sun_info: SunInfo,
    /// Amounts of rain and snow.
    pub precipitations_info: PrecipitationsInfo,
    /// Body of the air pollution.
    pub air_pollution: Section,
    /// Body of the forecast.
    pub forecast: Section,
    /// Body of the current weather.
    pub weather: Section,
}

impl Message {
    /// The message on one line, its keys in the order of the legacy producer. The sections are JSON
    /// already, and are copied.
    pub fn to_json(&self) -> String {
        format!(
            r#"{{"sun_info":{},"precipitations_info":{},"air_pollution":{},"forecast":{},"weather":{}}}"#,
            json(&self.sun_info),
            json(&self.precipitations_info),
            self.air_pollution.as_str(),
            self.forecast.as_str(),
            self.weather.as_str(),
        )
    }
}

fn json(part: &impl Serialize) -> String {
    serde_json::to_string(part).expect("texts and finite numbers can be written")
}

/// Sunrise and sunset. In polar day and night all but the first two fields are null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SunInfo {
    /// Name of the city, if the API has one.
    pub city: Option<String>,
    /// Offset of local time from UTC.
    pub timezone_offset_seconds: i64,
    /// Sunrise in RFC 3339, UTC.
    pub sunrise_utc: Option<String>,
    /// Sunset in RFC 3339, UTC.
    pub sunset_utc: Option<String>,
    /// Sunrise in RFC 3339, local time with its offset.
    pub sunrise_local: Option<String>,
    /// Sunset in RFC 3339, local time with its offset.
    pub sunset_local: Option<String>,
    /// Time from sunrise to sunset.
    pub day_length_seconds: Option<i64>,
}

/// Precipitation of the last one and three hours, mm: 0 if the API omits an amount, none if its
/// value is not an amount.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrecipitationsInfo {
    /// Name of the city, if the API has one.
    pub city: Option<String>,
    /// Rain of the last hour.
    pub rain_1h: Option<f64>,
    /// Rain of the last three hours.
    pub rain_3h: Option<f64>,
    /// Snow of the last hour.
    pub snow_1h: Option<f64>,
    /// Snow of the last three hours.
    pub snow_3h: Option<f64>,
    /// Always `mm`.
    pub units: &'static str,
    /// Time of the weather in RFC 3339, UTC.
    pub timestamp_utc: String,
}

/// The fields of the current weather that the derived sections need.
#[derive(Deserialize)]
struct Weather {
    id: i64,
    name: Option<String>,
    dt: i64,
    timezone: Option<i64>,
    sys: Option<SunTimes>,
    /// Any JSON, so that an unexpected type does not cost the message.
    rain: Option<Value>,
    snow: Option<Value>,
}

#[derive(Default, Deserialize)]
struct SunTimes {
    sunrise: Option<i64>,
    sunset: Option<i64>,
}

/// Assembles the message.
///
/// # Errors
/// When the current weather lacks its id or time, or a time is out of range.
pub fn assemble(bodies: Bodies) -> Result<Observation, BodyError> {
    let weather: Weather = body::parse(bodies.weather.as_str())?;
    let observed_at = instant("dt", weather.dt)?;
    let sun_info = sun_info(&weather)?;
    let message = Message {
        sun_info,
        precipitations_info: precipitations_info(&weather, observed_at),
        air_pollution: bodies.air_pollution,
        forecast: bodies.forecast,
        weather: bodies.weather,
    };
    Ok(Observation {
        city_id: weather.id,
        observed_at,
        message,
    })
}

fn sun_info(weather: &Weather) -> Result<SunInfo, BodyError> {
    let offset_s = weather.timezone.unwrap_or(0);
    let offset = i32::try_from(offset_s)
        .ok()
        .and_then(FixedOffset::east_opt)
        .ok_or(BodyError::Range {
            field: "timezone",
            value: offset_s,
        })?;
    // The API writes 0 where the sun does not rise or set.
    let known = |field, at: Option<i64>| {
        at.filter(|at| *at != 0)
            .map(|at| instant(field, at))
            .transpose()
    };
    let sys = weather.sys.as_ref();
    let sunrise = known("sunrise", sys.and_then(|sun| sun.sunrise))?;
    let sunset = known("sunset", sys.and_then(|sun| sun.sunset))?;
    let local = |at: DateTime<Utc>| text(&at.with_timezone(&offset));
    Ok(SunInfo {
        city: weather.name.clone(),
        timezone_offset_seconds: offset_s,
        sunrise_utc: sunrise.as_ref().map(text),
        sunset_utc: sunset.as_ref().map(text),
        sunrise_local: sunrise.map(local),
        sunset_local: sunset.map(local),
        day_length_seconds: sunrise
            .zip(sunset)
            .map(|(rise, set)| (set - rise).num_seconds()),
    })
}

fn precipitations_info(weather: &Weather, observed_at: DateTime<Utc>) -> PrecipitationsInfo {
    PrecipitationsInfo {
        city: weather.name.clone(),
        rain_1h: amount(weather.rain.as_ref(), "1h"),
        rain_3h: amount(weather.rain.as_ref(), "3h"),
        snow_1h: amount(weather.snow.as_ref(), "1h"),
        snow_3h: amount(weather.snow.as_ref(), "3h"),
        units: "mm",
        timestamp_utc: text(&observed_at),
    }
}

/// One of the amounts: 0 if it is absent, as in dry weather; none if the value is not an amount.
fn amount(amounts: Option<&Value>, hours: &str) -> Option<f64> {
    match amounts {
        None | Some(Value::Null) => Some(0.0),
        Some(Value::Object(amounts)) => match amounts.get(hours) {
            None | Some(Value::Null) => Some(0.0),
            Some(amount) => amount.as_f64(),
        },
        Some(_) => None,
    }
}

fn instant(field: &'static str, seconds: i64) -> Result<DateTime<Utc>, BodyError> {
    DateTime::from_timestamp(seconds, 0).ok_or(BodyError::Range {
        field,
        value: seconds,
    })
}

fn text<Zone: TimeZone<Offset: std::fmt::Display>>(at: &DateTime<Zone>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, false)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Bodies, BodyError, Observation, Section, assemble};

    fn section(text: &str) -> Section {
        Section::object(text.to_owned()).expect("a section")
    }

    fn observe(weather: &Value) -> Result<Observation, BodyError> {
        let weather = section(&weather.to_string());
        assemble(Bodies {
            weather,
            forecast: section(r#"{"list":[]}"#),
            air_pollution: section("{}"),
        })
    }

    /// A full body with the `changes` of a case; null removes a field.
    fn weather(changes: Value) -> Value {
        let mut body = json!({
            "weather": [{"id": 500}],
            "rain": {"1h": 0.42},
            "dt": 1_775_040_000,
            "sys": {"type": 2, "country": "FR", "sunrise": 1_775_020_200, "sunset": 1_775_066_460},
            "timezone": 7200,
            "id": 2_988_507,
            "name": "Paris",
            "cod": 200,
        });
        for (key, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => drop(body.as_object_mut().expect("an object").remove(key)),
                value => body[key] = value.clone(),
            }
        }
        body
    }

    #[test]
    fn message_has_form_and_key_order_of_legacy_producer() {
        let text = r#"{"coord":{"lon":2.35,"lat":48.85},"new":{"x":1.50},"dt":1775040000,"sys":{"sunrise":1775020200,"sunset":1775066460},"timezone":7200,"id":2988507,"name":"Saint-Étienne","cod":200}"#;
        let bodies = Bodies {
            weather: section(text),
            forecast: section(r#"{"cod":"200","list":[1]}"#),
            air_pollution: section(r#"{"coord":[50.0,50.0],"list":[]}"#),
        };
        let observation = assemble(bodies).expect("a message");
        assert_eq!(
            (observation.city_id, observation.observed_at.timestamp()),
            (2_988_507, 1_775_040_000)
        );
        let expected = [
            r#"{"sun_info":{"city":"Saint-Étienne","timezone_offset_seconds":7200,"#,
            r#""sunrise_utc":"2026-04-01T05:10:00+00:00","sunset_utc":"2026-04-01T18:01:00+00:00","#,
            r#""sunrise_local":"2026-04-01T07:10:00+02:00","sunset_local":"2026-04-01T20:01:00+02:00","#,
            r#""day_length_seconds":46260},"precipitations_info":{"city":"Saint-Étienne","#,
            r#""rain_1h":0.0,"rain_3h":0.0,"snow_1h":0.0,"snow_3h":0.0,"units":"mm","#,
            r#""timestamp_utc":"2026-04-01T10:40:00+00:00"},"#,
            r#""air_pollution":{"coord":[50.0,50.0],"list":[]},"forecast":{"cod":"200","list":[1]},"#,
            r#""weather":"#,
            text,
            "}",
        ];
        assert_eq!(observation.message.to_json(), expected.concat());
    }

    #[test]
    fn local_times_have_the_offset_of_the_city() {
        for (timezone, sunrise_local) in [
            (json!(7200), "2026-04-01T07:10:00+02:00"),
            (json!(0), "2026-04-01T05:10:00+00:00"),
            (json!(20700), "2026-04-01T10:55:00+05:45"),
            (json!(-12600), "2026-04-01T01:40:00-03:30"),
            (json!(-36000), "2026-03-31T19:10:00-10:00"),
            (Value::Null, "2026-04-01T05:10:00+00:00"),
        ] {
            let sun = observe(&weather(json!({"timezone": timezone})))
                .expect("a message")
                .message
                .sun_info;
            assert_eq!(
                sun.sunrise_local.as_deref(),
                Some(sunrise_local),
                "{timezone}"
            );
            assert_eq!(
                sun.sunrise_utc.as_deref(),
                Some("2026-04-01T05:10:00+00:00"),
                "{timezone}"
            );
            assert_eq!(sun.day_length_seconds, Some(46_260), "{timezone}");
        }
    }

    #[test]
    fn polar_day_and_night_have_null_sun_times() {
        for sys in [
            json!({"sunrise": 0, "sunset": 0}),
            json!({"country": "NO"}),
            Value::Null,
        ] {
            let observation = observe(&weather(json!({"sys": sys}))).expect("a message");
            let sun = serde_json::to_value(observation.message.sun_info).expect("JSON");
            let expected = json!({
                "city": "Paris", "timezone_offset_seconds": 7200,
                "sunrise_utc": null, "sunset_utc": null, "sunrise_local": null, "sunset_local": null,
                "day_length_seconds": null,
            });
            assert_eq!(sun, expected, "{sys}");
        }
    }

    #[test]
    fn absent_amount_is_zero_and_amount_of_another_type_is_none() {
        let dry = json!([0.0, 0.0, 0.0, 0.0]);
        for (rain, snow, expected) in [
            (
                json!({"1h": 0.42}),
                Value::Null,
                json!([0.42, 0.0, 0.0, 0.0]),
            ),
            (Value::Null, Value::Null, dry.clone()),
            (
                json!({"1h": 2, "3h": 4.5}),
                json!({"1h": 0.1}),
                json!([2.0, 4.5, 0.1, 0.0]),
            ),
            (json!({}), json!({"3h": 0}), dry),
            (
                json!({"1h": null}),
                json!({"3h": 7}),
                json!([0.0, 0.0, 0.0, 7.0]),
            ),
            (json!(0.3), json!("much"), json!([null, null, null, null])),
            (json!([0.3]), json!(true), json!([null, null, null, null])),
            (
                json!({"1h": "0.3", "3h": 1}),
                json!({"1h": {}}),
                json!([null, 1.0, null, 0.0]),
            ),
        ] {
            let body = weather(json!({"rain": rain, "snow": snow}));
            let info = observe(&body)
                .expect("a message")
                .message
                .precipitations_info;
            let found = json!([info.rain_1h, info.rain_3h, info.snow_1h, info.snow_3h]);
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn weather_without_id_or_time_is_refused() {
        for (changes, part) in [
            (json!({"id": null}), "missing field `id`"),
            (json!({"dt": null}), "missing field `dt`"),
            (json!({"dt": "soon"}), "invalid type"),
            (json!({"dt": i64::MAX}), "\"dt\" is out of range"),
            (
                json!({"timezone": 90_000}),
                "\"timezone\" is out of range: 90000",
            ),
            (
                json!({"sys": {"sunrise": i64::MIN}}),
                "\"sunrise\" is out of range",
            ),
        ] {
            let error = observe(&weather(changes)).expect_err("no message");
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let chain = format!("{error}: {}", source.unwrap_or_default());
            assert!(chain.contains(part), "{chain}");
        }
    }
}
