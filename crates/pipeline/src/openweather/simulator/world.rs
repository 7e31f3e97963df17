//! The API without HTTP: path, parameters and instant in, status and body out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::bodies::{self, BodyFormat, Language};
use super::model::Model;
use super::places::Place;
use crate::openweather::{ApiKey, Units};

/// Limit of the cached forecasts: those of eight places for a month.
const FORECASTS_MAX: usize = 2_048;

/// Query parameters.
pub(crate) type Params = HashMap<String, String>;

/// The data of the simulated API, and its routes.
#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    api_key: ApiKey,
    models: Vec<Model>,
    /// A cache, since a forecast is the most expensive body, and is requested eighteen times before
    /// the next one is issued.
    forecasts: Mutex<HashMap<ForecastKey, Bytes>>,
}

/// Place, issue, number of entries, manner.
type ForecastKey = (u64, i64, usize, BodyFormat);

/// A response of the API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// JSON.
    pub(crate) body: Bytes,
}

/// Errors of the API. The type of `cod` differs between them, as in the real API.
#[derive(Debug, Clone, Copy)]
enum ApiError {
    InvalidKey,
    NothingToGeocode,
    WrongLatitude,
    WrongLongitude,
    CityNotFound,
    UnknownPath,
}

impl World {
    pub(crate) fn new(seed: u64, api_key: ApiKey) -> Self {
        let models = Place::all()
            .iter()
            .flat_map(|place| {
                [
                    Model::new(seed, place.clone()),
                    Model::of_district(seed, place),
                ]
            })
            .collect();
        Self {
            seed,
            api_key,
            models,
            forecasts: Mutex::default(),
        }
    }

    pub(crate) fn answer(&self, path: &str, params: &Params, now: DateTime<Utc>) -> Answer {
        self.accepted(path, params, now.timestamp())
            .unwrap_or_else(ApiError::answer)
    }

    fn accepted(&self, path: &str, params: &Params, now: i64) -> Result<Answer, ApiError> {
        let respond = match path {
            "/geo/1.0/direct" => Self::geocoding,
            "/data/2.5/weather" => Self::weather,
            "/data/2.5/forecast" => Self::forecast,
            "/data/2.5/air_pollution" => Self::air_pollution,
            _ => return Err(ApiError::UnknownPath),
        };
        if params
            .get("appid")
            .is_none_or(|key| key != self.api_key.reveal())
        {
            return Err(ApiError::InvalidKey);
        }
        respond(self, params, now).map(|body| Answer { status: 200, body })
    }

    fn geocoding(&self, params: &Params, _now: i64) -> Result<Bytes, ApiError> {
        let query = params
            .get("q")
            .filter(|q| !q.is_empty())
            .ok_or(ApiError::NothingToGeocode)?;
        let limit = params
            .get("limit")
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(1);
        let found = Place::search(query);
        Ok(json(&bodies::geocoding(&found[..found.len().min(limit)])))
    }

    fn weather(&self, params: &Params, now: i64) -> Result<Bytes, ApiError> {
        self.with_model(params, |model| {
            json(&bodies::weather(model, now, body_format(params)))
        })
    }

    fn air_pollution(&self, params: &Params, now: i64) -> Result<Bytes, ApiError> {
        self.with_model(params, |model| json(&bodies::air_pollution(model, now)))
    }

    fn forecast(&self, params: &Params, now: i64) -> Result<Bytes, ApiError> {
        let asked = params.get("cnt").and_then(|cnt| cnt.parse().ok());
        let entries = asked
            .unwrap_or(bodies::ENTRIES_MAX)
            .clamp(1, bodies::ENTRIES_MAX);
        let (issued, format) = (bodies::issue(now), body_format(params));
        self.with_model(params, |model| {
            let make = || json(&bodies::forecast(model, issued, entries, format));
            match model.place.id {
                0 => make(), // all points at sea share this id
                id => self.cached((id, issued, entries, format), make),
            }
        })
    }

    fn cached(&self, key: ForecastKey, make: impl FnOnce() -> Bytes) -> Bytes {
        let forecasts = || {
            self.forecasts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(body) = forecasts().get(&key) {
            return body.clone();
        }
        let body = make();
        let mut forecasts = forecasts();
        if forecasts.len() >= FORECASTS_MAX {
            forecasts.clear();
        }
        forecasts.insert(key, body.clone());
        body
    }

    /// By `q`, `id`, or `lat` and `lon`, which may be those of a district.
    fn with_model<T>(
        &self,
        params: &Params,
        work: impl FnOnce(&Model) -> T,
    ) -> Result<T, ApiError> {
        let id = if let Some(name) = params.get("q") {
            Place::search(name).first().map(|place| place.id)
        } else if let Some(id) = params.get("id") {
            id.parse().ok()
        } else {
            let (lat, lon) = coordinates(params)?;
            let Some(place) = Place::near(lat, lon) else {
                return Ok(work(&Model::new(self.seed, Place::at_sea(lat, lon))));
            };
            Some(match place.has_its_centre_at(lat, lon) {
                true => place.id,
                false => place.district.id,
            })
        };
        let id = id.ok_or(ApiError::CityNotFound)?;
        self.models
            .iter()
            .find(|model| model.place.id == id)
            .map(work)
            .ok_or(ApiError::CityNotFound)
    }
}

impl ApiError {
    fn answer(self) -> Answer {
        let (status, body) = match self {
            Self::InvalidKey => (
                401,
                r#"{"cod":401, "message": "Invalid API key. Please see https://openweathermap.org/faq#error401 for more info."}"#,
            ),
            Self::NothingToGeocode => (400, r#"{"cod":"400","message":"Nothing to geocode"}"#),
            Self::WrongLatitude => (400, r#"{"cod":"400","message":"wrong latitude"}"#),
            Self::WrongLongitude => (400, r#"{"cod":"400","message":"wrong longitude"}"#),
            Self::CityNotFound => (404, r#"{"cod":"404","message":"city not found"}"#),
            Self::UnknownPath => (404, r#"{"cod":"404","message":"Internal error"}"#),
        };
        Answer {
            status,
            body: Bytes::from_static(body.as_bytes()),
        }
    }
}

fn coordinates(params: &Params) -> Result<(f64, f64), ApiError> {
    let (lat, lon) = (params.get("lat"), params.get("lon"));
    if lat.is_none() && lon.is_none() {
        return Err(ApiError::NothingToGeocode);
    }
    let degrees = |text: Option<&String>, limit: f64| {
        text.and_then(|text| text.parse().ok())
            .filter(|value: &f64| value.abs() <= limit)
    };
    let lat = degrees(lat, 90.0).ok_or(ApiError::WrongLatitude)?;
    let lon = degrees(lon, 180.0).ok_or(ApiError::WrongLongitude)?;
    Ok((lat, lon))
}

/// Unknown values count as absent, as in the real API.
fn body_format(params: &Params) -> BodyFormat {
    let units = params.get("units").and_then(|units| units.parse().ok());
    let language = match params.get("lang").map(String::as_str) {
        Some("fr") => Language::French,
        _ => Language::English,
    };
    BodyFormat {
        units: units.unwrap_or(Units::Standard),
        language,
    }
}

fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body)
        .expect("texts and finite numbers can be written")
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chrono::{DateTime, TimeDelta, Utc};
    use serde_json::Value;
    use url::form_urlencoded;

    use super::{Answer, World};
    use crate::openweather::ApiKey;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    fn ask(world: &World, path_and_query: &str, now: DateTime<Utc>) -> Answer {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let params = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        world.answer(path, &params, now)
    }

    fn world(seed: u64) -> World {
        World::new(seed, ApiKey::new("k"))
    }

    fn json(answer: &Answer) -> Value {
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    #[test]
    fn error_has_status_and_code_type_of_the_api() {
        for (asked, status, cod) in [
            ("/data/2.5/weather?lat=48.85&lon=2.35", 401, "401"),
            ("/data/2.5/weather?lat=48.85&lon=2.35&appid=K", 401, "401"),
            ("/geo/1.0/direct?appid=k", 400, "\"400\""),
            ("/data/2.5/weather?appid=k", 400, "\"400\""),
            ("/data/2.5/forecast?lat=91&lon=2&appid=k", 400, "\"400\""),
            ("/data/2.5/air_pollution?lat=48&appid=k", 400, "\"400\""),
            ("/data/2.5/weather?lat=nan&lon=2&appid=k", 400, "\"400\""),
            ("/data/2.5/weather?q=Atlantis&appid=k", 404, "\"404\""),
            ("/data/2.5/weather?id=0&appid=k", 404, "\"404\""),
            ("/data/9.9/weather?appid=k", 404, "\"404\""),
            ("/", 404, "\"404\""),
            ("/data/2.5/weather?q=Paris&appid=k", 200, "200"),
            ("/data/2.5/forecast?q=Paris&appid=k", 200, "\"200\""),
        ] {
            let answer = ask(&world(1), asked, at("2026-01-15T12:00:00Z"));
            let found = json(&answer)["cod"].to_string();
            assert_eq!((answer.status, found.as_str()), (status, cod), "{asked}");
        }
    }

    #[test]
    fn coordinates_of_the_geocoder_belong_to_a_district() {
        let (world, now) = (world(1), at("2026-01-15T12:00:00Z"));
        let found = json(&ask(&world, "/geo/1.0/direct?q=Paris&appid=k", now));
        let (lat, lon) = (&found[0]["lat"], &found[0]["lon"]);
        for (asked, id, name) in [
            ("q=Paris".to_owned(), 2_988_507, "Paris"),
            ("lat=48.8534&lon=2.3488".to_owned(), 2_988_507, "Paris"),
            (format!("lat={lat}&lon={lon}"), 6_545_270, "Palais-Royal"),
            ("id=6545270".to_owned(), 6_545_270, "Palais-Royal"),
        ] {
            let asked = format!("/data/2.5/weather?{asked}&appid=k");
            let weather = json(&ask(&world, &asked, now));
            assert_eq!(
                (&weather["id"], &weather["name"]),
                (&id.into(), &name.into()),
                "{asked}"
            );
        }
    }

    #[test]
    fn geocoder_returns_empty_list_for_unknown_name() {
        for (query, count) in [("q=Atlantis", 0), ("q=London", 1), ("q=London&limit=5", 2)] {
            let asked = format!("/geo/1.0/direct?{query}&appid=k");
            let answer = ask(&world(1), &asked, at("2026-01-15T12:00:00Z"));
            assert_eq!(answer.status, 200);
            assert_eq!(
                json(&answer).as_array().map(Vec::len),
                Some(count),
                "{query}"
            );
        }
    }

    #[test]
    fn bodies_are_a_function_of_seed_place_and_instant() {
        let now = at("2026-01-15T12:00:00Z");
        for endpoint in ["weather", "forecast", "air_pollution"] {
            let of = |seed, lat, now| {
                ask(
                    &world(seed),
                    &format!("/data/2.5/{endpoint}?lat={lat}&lon=2.35&appid=k"),
                    now,
                )
            };
            assert_eq!(of(1, 48.85, now), of(1, 48.85, now), "{endpoint}");
            assert_ne!(
                of(1, 48.85, now),
                of(2, 48.85, now),
                "{endpoint}, other seed"
            );
            assert_ne!(
                of(1, 48.85, now),
                of(1, 40.0, now),
                "{endpoint}, other place"
            );
            assert_ne!(
                of(1, 48.85, now),
                of(1, 48.85, now + TimeDelta::hours(3)),
                "{endpoint}, later"
            );
        }
    }

    #[test]
    fn cached_forecast_equals_new_one_of_same_key() {
        let (old, now) = (world(1), at("2026-01-15T12:00:00Z"));
        for query in ["", "&units=metric", "&units=metric&lang=fr", "&cnt=3", ""] {
            let asked = format!("/data/2.5/forecast?id=2988507{query}&appid=k");
            assert_eq!(
                ask(&old, &asked, now),
                ask(&world(1), &asked, now),
                "{query}"
            );
        }
    }

    #[test]
    fn data_are_new_every_ten_minutes_and_at_most_twelve_minutes_old() {
        let (world, start) = (world(1), at("2026-01-15T00:00:00Z"));
        let mut seen = HashSet::new();
        for minute in 0..600 {
            let now = start + TimeDelta::minutes(minute);
            let answer = json(&ask(&world, "/data/2.5/weather?q=Paris&appid=k", now));
            let dt = answer["dt"].as_i64().expect("a number");
            assert!((0..=720).contains(&(now.timestamp() - dt)), "{now} {dt}");
            seen.insert(dt);
        }
        assert_eq!(seen.len(), 60);
    }

    #[test]
    fn optional_fields_are_there_at_times() {
        let (world, start) = (world(1), at("2026-01-01T00:00:00Z"));
        for (query, pointer, shares) in [
            ("id=2988507", "/visibility", 0.9..0.999),
            ("id=2988507", "/wind/gust", 0.2..0.95),
            ("id=2988507", "/rain/1h", 0.02..0.3),
            ("id=3133895", "/snow/1h", 0.02..0.4),
            ("id=2988507", "/sys/type", 1.0..1.1),
            ("id=1283240", "/sys/type", -0.1..0.001),
            ("id=2988507", "/snow/3h", -0.1..0.001),
        ] {
            let asked = format!("/data/2.5/weather?{query}&appid=k");
            let found = (0..2_000)
                .map(|hour| json(&ask(&world, &asked, start + TimeDelta::hours(hour))))
                .filter(|body| body.pointer(pointer).is_some())
                .count();
            let share = f64::from(u16::try_from(found).expect("at most 2000")) / 2_000.0;
            assert!(shares.contains(&share), "{query} {pointer}: {share}");
        }
    }

    #[test]
    fn forecast_has_forty_steps_near_the_later_weather() {
        let (world, now) = (world(1), at("2026-04-15T12:34:00Z"));
        let forecast = json(&ask(
            &world,
            "/data/2.5/forecast?q=Paris&units=metric&appid=k",
            now,
        ));
        let list = forecast["list"].as_array().expect("a list");
        let first = at("2026-04-15T15:00:00Z");
        assert_eq!((list.len(), forecast["cnt"].as_u64()), (40, Some(40)));
        for (step, entry) in (0..).zip(list) {
            let valid_at = first + TimeDelta::hours(3 * step);
            assert_eq!(entry["dt"], valid_at.timestamp());
            assert_eq!(
                entry["dt_txt"],
                valid_at.format("%Y-%m-%d %H:%M:%S").to_string()
            );
            let then = ask(
                &world,
                "/data/2.5/weather?q=Paris&units=metric&appid=k",
                valid_at,
            );
            let off = json(&then)["main"]["temp"].as_f64().expect("a number")
                - entry["main"]["temp"].as_f64().expect("a number");
            assert!(off.abs() < 5.0, "step {step}: {off}");
        }
    }

    #[test]
    fn units_and_language_change_values_and_texts() {
        let of = |endpoint: &str, query: &str| {
            let asked = format!("/data/2.5/{endpoint}?id=2643743&{query}&appid=k");
            json(&ask(&world(1), &asked, at("2026-04-15T12:34:00Z")))
        };
        let temp = |query| {
            of("weather", query)["main"]["temp"]
                .as_f64()
                .expect("a number")
        };
        let (kelvin, celsius, fahrenheit) =
            (temp(""), temp("units=metric"), temp("units=imperial"));
        assert!(
            (kelvin - celsius - 273.15).abs() < 0.011,
            "{kelvin} {celsius}"
        );
        assert!(
            (fahrenheit - celsius * 1.8 - 32.0).abs() < 0.021,
            "{fahrenheit} {celsius}"
        );
        assert_eq!(of("weather", "")["name"], "London");
        assert_eq!(of("forecast", "lang=fr")["city"]["name"], "Londres");
        assert_ne!(
            of("forecast", "lang=fr")["list"][0]["weather"][0]["description"],
            of("forecast", "lang=en")["list"][0]["weather"][0]["description"],
        );
    }
}
