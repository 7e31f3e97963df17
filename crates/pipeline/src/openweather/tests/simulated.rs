//! The client against the simulator over HTTP.

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::{KEY, at, city, client, options};
use crate::openweather::simulator::{CITIES, SimulatedClock, Simulator};
use crate::openweather::{ApiKey, Client, Error, Options};

/// A server that stops when the test ends.
struct Served {
    url: Url,
    clock: SimulatedClock,
    _stop: DropGuard,
}

async fn serve(seed: u64, instant: &str) -> Served {
    let clock = SimulatedClock::new(at(instant));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = Url::parse(&format!(
        "http://{}",
        listener.local_addr().expect("an address")
    ));
    let (shown, shutdown) = (clock.clone(), CancellationToken::new());
    let simulator = Simulator::new(seed, ApiKey::new(KEY), move || shown.now());
    tokio::spawn(simulator.serve(listener, shutdown.clone()));
    Served {
        url: url.expect("a URL"),
        clock,
        _stop: shutdown.drop_guard(),
    }
}

async fn message(client: &Client, name: &str) -> Value {
    let observation = client.observe(&city(name)).await.expect(name);
    serde_json::from_str(&observation.message.to_json()).expect("JSON")
}

#[tokio::test]
async fn known_city_is_observed_by_name_id_and_coordinates() {
    let served = serve(1, "2026-04-15T12:00:00Z").await;
    let client = client(&served.url);
    for name in CITIES {
        let by_name = client.observe(&city(name)).await.expect(name);
        let weather: Value = serde_json::from_str(by_name.message.weather.as_str()).expect("JSON");
        let (lat, lon) = (&weather["coord"]["lat"], &weather["coord"]["lon"]);
        for other in [by_name.city_id.to_string(), format!("{lat},{lon}")] {
            let observation = client.observe(&city(&other)).await.expect(&other);
            let weather = observation.message.weather;
            assert_eq!(weather, by_name.message.weather, "{name} as {other}");
        }
    }
}

/// For the coordinates that the geocoder returns for Paris, the API returns Palais-Royal, with
/// another id.
#[tokio::test]
async fn named_city_keeps_name_and_id() {
    let served = serve(1, "2026-04-15T12:00:00Z").await;
    let client = client(&served.url);
    for (name, id, called) in [
        ("Paris", 2_988_507, "Paris"),
        ("London,CA", 6_058_560, "London"),
        ("2988507", 2_988_507, "Paris"),
        ("48.8589,2.32", 6_545_270, "Palais-Royal"),
    ] {
        let observation = client.observe(&city(name)).await.expect(name);
        let info = observation.message.precipitations_info;
        assert_eq!(
            (observation.city_id, info.city.as_deref()),
            (id, Some(called)),
            "{name}"
        );
    }
}

#[tokio::test]
async fn weather_is_english_and_metric_and_the_forecast_french() {
    let served = serve(1, "2026-07-15T12:00:00Z").await;
    let message = message(&client(&served.url), "London,GB").await;
    assert_eq!(message["weather"]["name"], "London");
    let steps = message["forecast"]["list"].as_array().expect("a list");
    let words = [
        "ciel",
        "nuageux",
        "couvert",
        "bruine",
        "pluie",
        "neige",
        "brume",
        "brouillard",
        "orage",
    ];
    let in_french = |step: &Value| {
        let description = step["weather"][0]["description"].to_string();
        words.iter().any(|word| description.contains(word))
    };
    assert_eq!((steps.len(), steps.iter().all(in_french)), (40, true));
    let temp = message["weather"]["main"]["temp"]
        .as_f64()
        .expect("a number");
    assert!((5.0..40.0).contains(&temp), "{temp} °C in London in July");
    assert!(
        (1..=5).contains(
            &message["air_pollution"]["list"][0]["main"]["aqi"]
                .as_i64()
                .expect("a number")
        )
    );
}

#[tokio::test]
async fn polar_night_has_no_sunrise() {
    let served = serve(1, "2026-12-20T12:00:00Z").await;
    let client = client(&served.url);
    for (name, is_dark) in [("Tromsø", true), ("Paris", false)] {
        let message = message(&client, name).await;
        assert_eq!(message["weather"]["sys"]["sunrise"] == 0, is_dark, "{name}");
        assert_eq!(
            message["sun_info"]["sunrise_local"].is_null(),
            is_dark,
            "{name}"
        );
    }
}

#[tokio::test]
async fn city_unknown_to_simulator_is_an_error() {
    let served = serve(1, "2026-04-15T12:00:00Z").await;
    let client = client(&served.url);
    for name in ["Atlantis", "Paris,US", "1"] {
        let error = client.observe(&city(name)).await.expect_err(name);
        assert!(matches!(error, Error::UnknownCity { .. }), "{error:?}");
        let named = format!("could not find city \"{name}\";");
        assert!(error.to_string().starts_with(&named), "{error}");
    }
    let at_sea = client.observe(&city("0,-30")).await.expect("open sea");
    assert_eq!(at_sea.city_id, 0);
}

#[tokio::test]
async fn another_key_is_refused() {
    let served = serve(1, "2026-04-15T12:00:00Z").await;
    let options = Options {
        api_key: ApiKey::new("other"),
        ..options(served.url.clone())
    };
    let client = Client::new(options).expect("a client");
    let error = client
        .observe(&city("Paris"))
        .await
        .expect_err("no observation");
    assert!(matches!(error, Error::InvalidKey { .. }), "{error:?}");
}

#[tokio::test]
async fn messages_follow_the_clock_and_the_seed_alone() {
    let (first, second, other) = (
        serve(1, "2026-04-15T12:00:00Z").await,
        serve(1, "2026-04-15T12:00:00Z").await,
        serve(2, "2026-04-15T12:00:00Z").await,
    );
    let (one, two, three) = (client(&first.url), client(&second.url), client(&other.url));
    assert_eq!(message(&one, "Paris").await, message(&two, "Paris").await);
    assert_ne!(message(&one, "Paris").await, message(&three, "Paris").await);
    let noon = message(&one, "Paris").await;
    first.clock.set(at("2026-04-15T12:10:00Z"));
    assert_ne!(message(&one, "Paris").await, noon);
    first.clock.set(at("2026-04-15T12:00:00Z"));
    assert_eq!(message(&one, "Paris").await, noon);
}
