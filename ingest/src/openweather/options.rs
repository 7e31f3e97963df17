//! What a [`Client`](super::Client) is told: where the API is, on whose account, and how patient to
//! be.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::Error;
use crate::jitter::jitter;

/// Everything a client needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// `https://api.openweathermap.org`, or where a simulator or a gateway listens.
    pub base_url: Url,
    /// Key of the account.
    pub api_key: ApiKey,
    /// Units of the values in the messages.
    pub units: Units,
    /// Of the forecast's descriptions and place name; the current weather stays English, because
    /// its texts are what the landed tables show.
    pub language: String,
    /// For one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// What the plan allows, over all cities and endpoints; `None` is unlimited.
    pub calls_per_minute: Option<NonZeroU32>,
    /// Pauses and number of attempts after transient failures.
    pub retry: Retry,
    /// How many cities [`observe_all`](super::Client::observe_all) works on side by side.
    pub cities_at_once: usize,
}

impl Options {
    /// The older producer's units and languages, the free plan's rate, and patience that fits an
    /// interval of ten minutes.
    pub fn new(base_url: Url, api_key: ApiKey) -> Self {
        Self {
            base_url,
            api_key,
            units: Units::Metric,
            language: "fr".to_owned(),
            timeout: Duration::from_secs(10),
            calls_per_minute: NonZeroU32::new(60),
            retry: Retry {
                tries_max: 4,
                pause: Duration::from_millis(500),
                pause_limited: Duration::from_secs(25),
                pause_max: Duration::from_secs(30),
            },
            cities_at_once: 8,
        }
    }
}

/// The account's secret. It has no `Display`, and its `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Removes the key from what a server sent, so that no echo of the request can carry it into a
    /// message or an error. Real keys have 32 digits; a short stand-in may occur in any text.
    pub(crate) fn mask(&self, text: String) -> String {
        if self.0.len() >= 16 && text.contains(&self.0) {
            text.replace(&self.0, "***")
        } else {
            text
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Units of the measured values; precipitation is in mm and pressure in hPa whatever they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Units {
    /// Kelvin, metres per second.
    Standard,
    /// Degrees Celsius, metres per second.
    Metric,
    /// Degrees Fahrenheit, miles per hour.
    Imperial,
}

/// A word that is no unit system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is none of standard, metric, imperial")]
pub struct UnknownUnits(pub String);

impl Units {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Metric => "metric",
            Self::Imperial => "imperial",
        }
    }
}

impl FromStr for Units {
    type Err = UnknownUnits;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Standard, Self::Metric, Self::Imperial]
            .into_iter()
            .find(|units| units.as_str() == text)
            .ok_or_else(|| UnknownUnits(text.to_owned()))
    }
}

/// How often and after what pause a failed call is made again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Tries in all, the first included.
    pub tries_max: u32,
    /// Before the second try; doubled before each later one.
    pub pause: Duration,
    /// Before each further try after a refusal for too many calls that does not say when to come
    /// back: plans count by the minute, so that seconds would only use up the tries.
    pub pause_limited: Duration,
    /// The longest pause, also of those a server asks for: a longer `Retry-After` ends the call.
    pub pause_max: Duration,
}

impl Retry {
    /// The pause before the next try, or `None` if `error` is final after `tries` tries.
    pub(crate) fn pause_after(&self, error: &Error, tries: u32) -> Option<Duration> {
        if tries >= self.tries_max || !error.is_transient() {
            return None;
        }
        match error.retry_after() {
            Some(asked) => (asked <= self.pause_max).then_some(asked),
            None if matches!(error, Error::RateLimited { .. }) => {
                Some(jittered(self.pause_limited))
            }
            None => {
                let doubled = self.pause.saturating_mul(1 << (tries - 1).min(20));
                Some(jittered(doubled.min(self.pause_max)))
            }
        }
    }
}

/// Between half of it and all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + 0.5 * jitter())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::StatusCode;

    use super::{ApiKey, Retry, Units};
    use crate::openweather::{Call, Endpoint, Error};

    fn call() -> Call {
        Call {
            endpoint: Endpoint::Weather,
            city: "Paris".parse().expect("a city"),
        }
    }

    fn limited(retry_after: Option<Duration>) -> Error {
        Error::RateLimited {
            call: call(),
            retry_after,
        }
    }

    fn broken() -> Error {
        Error::Server {
            call: call(),
            status: StatusCode::BAD_GATEWAY,
            retry_after: None,
        }
    }

    #[test]
    fn pauses_double_with_jitter_up_to_the_longest_and_then_end() {
        let ms = Duration::from_millis;
        let retry = Retry {
            tries_max: 4,
            pause: ms(100),
            pause_limited: ms(250),
            pause_max: ms(300),
        };
        let check = |error: Error, longest: [Option<u64>; 4]| {
            for (tries, longest) in (1..).zip(longest) {
                let found = retry.pause_after(&error, tries);
                match longest {
                    Some(longest) => {
                        let found = found.expect("a pause");
                        assert!(
                            ms(longest / 2) <= found && found <= ms(longest),
                            "{tries}: {found:?}"
                        );
                    }
                    None => assert_eq!(found, None),
                }
            }
        };
        check(broken(), [Some(100), Some(200), Some(300), None]);
        check(limited(None), [Some(250), Some(250), Some(250), None]);
    }

    #[test]
    fn a_pause_the_server_asks_for_is_kept_exactly_or_ends_the_call() {
        let ms = Duration::from_millis;
        let retry = Retry {
            tries_max: 2,
            pause: ms(1),
            pause_limited: ms(1),
            pause_max: ms(300),
        };
        for (asked, expected) in [(0, Some(0)), (299, Some(299)), (301, None)] {
            let found = retry.pause_after(&limited(Some(ms(asked))), 1);
            assert_eq!(found, expected.map(ms), "{asked}");
        }
    }

    #[test]
    fn a_key_is_masked_wherever_it_stands_unless_it_is_a_short_stand_in() {
        for (key, text, expected) in [
            (
                "0123456789abcdef0123456789abcdef",
                "x0123456789abcdef0123456789abcdefx",
                "x***x",
            ),
            ("demo", "Demopolis, a demo", "Demopolis, a demo"),
        ] {
            assert_eq!(ApiKey::new(key).mask(text.to_owned()), expected);
        }
    }

    #[test]
    fn units_are_read_by_name() {
        assert_eq!("metric".parse(), Ok(Units::Metric));
        let error = "celsius".parse::<Units>().expect_err("no unit system");
        assert_eq!(
            error.to_string(),
            "\"celsius\" is none of standard, metric, imperial"
        );
    }
}
