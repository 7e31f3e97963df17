//! The client against the simulator, directly and through a gateway with faults.

mod faults;
mod gateway;
mod secrets;
mod simulated;

use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use super::{ApiKey, City, Client, Options, Retry};

/// As long as a real key, so that it is masked.
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

fn city(text: &str) -> City {
    text.parse().expect("a city")
}

/// Three attempts without pauses.
fn options(base_url: Url) -> Options {
    let ms = Duration::from_millis;
    Options {
        retry: Retry {
            tries_max: 3,
            pause: ms(1),
            pause_limited: ms(1),
            pause_max: ms(2_000),
        },
        calls_per_minute: None,
        ..Options::new(base_url, ApiKey::new(KEY))
    }
}

fn client(base_url: &Url) -> Client {
    Client::new(options(base_url.clone())).expect("a client")
}
