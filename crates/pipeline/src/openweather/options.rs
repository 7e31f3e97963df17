//! Options of a [`Client`](super::Client): address and account, units, limits and retries.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::Error;
use crate::jitter::jitter;

/// Options of a client.
#[derive(Debug, Clone)]
pub struct Options {
    /// `https://api.openweathermap.org`, or the address of a simulator or a gateway.
    pub base_url: Url,
    /// Key of the account.
    pub api_key: ApiKey,
    /// Units of the values in the messages.
    pub units: Units,
    /// Language of the descriptions and the place name in the forecast. The current weather is
    /// always English, since tables hold its texts.
    pub language: String,
    /// Time limit of one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// Calls that the plan allows, for all cities and endpoints together; `None` is unlimited.
    pub calls_per_minute: Option<NonZeroU32>,
    /// Pauses and number of attempts after transient failures.
    pub retry: Retry,
    /// Number of cities that [`observe_all`](super::Client::observe_all) observes in parallel.
    pub cities_at_once: usize,
}

impl Options {
    /// Units and languages of the legacy producer, the rate of the free plan, and retries that fit
    /// into an interval of ten minutes.
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

/// The secret of the account. It has no `Display`, and its `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Masks the key in a response, so that an echo of the request does not put it into a message
    /// or an error. Real keys have 32 digits. A short one, as for a simulator, may occur in any
    /// text, and is not masked.
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

/// Units of the measured values. Precipitation is always in mm, and pressure in hPa.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Units {
    /// Kelvin, metres per second.
    Standard,
    /// Degrees Celsius, metres per second.
    Metric,
    /// Degrees Fahrenheit, miles per hour.
    Imperial,
}

/// A text that names no unit system.
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

/// Number of retries of a failed call, and the pauses before them.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Limit of the attempts, including the first.
    pub tries_max: u32,
    /// Pause before the second attempt. It doubles before each later one.
    pub pause: Duration,
    /// Pause after a refusal for too many calls, if the server requests none: plans count calls by
    /// the minute, so that attempts after a few seconds would fail as well.
    pub pause_limited: Duration,
    /// Limit of a pause. A longer `Retry-After` of the server ends the call.
    pub pause_max: Duration,
}

impl Retry {
    /// The pause before the next attempt; none if `error` is final after `tries` attempts.
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

/// A random pause between half of `pause` and all of it.
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
    fn pauses_double_with_jitter_up_to_their_limit() {
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
    fn requested_pause_is_exact_or_ends_the_call() {
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
    fn key_is_masked_unless_it_is_short() {
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
