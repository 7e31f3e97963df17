//! Errors between the name of a city and its message. No variant holds the API key, nor a URL that
//! contains it.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;

use super::City;
use super::body::BodyError;

/// A call of the API: the object of every error here.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The called endpoint.
    pub endpoint: Endpoint,
    /// The city that the call is for.
    pub city: City,
}

/// The endpoints that the client calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Geocoding,
    Weather,
    Forecast,
    AirPollution,
}

impl Endpoint {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Geocoding => "geo/1.0/direct",
            Self::Weather => "data/2.5/weather",
            Self::Forecast => "data/2.5/forecast",
            Self::AirPollution => "data/2.5/air_pollution",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Geocoding => "the coordinates",
            Self::Weather => "the current weather",
            Self::Forecast => "the forecast",
            Self::AirPollution => "the air pollution",
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of \"{}\"", self.endpoint, self.city)
    }
}

/// Why a client could not be made, or a city could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "\"{scheme}://{host}\" is no base for API addresses: use http or https and no query or password"
    )]
    BaseUrl { scheme: String, host: String },
    #[error("could not set up the HTTP client")]
    HttpClient {
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "could not get {call}: the API key was refused; check openweather.api_key (OPENWEATHER_API_KEY). A new key may need two hours"
    )]
    InvalidKey { call: Call },
    #[error(
        "could not find city \"{city}\"; check it in openweather.cities (CITY), or write its id (2988507) or its latitude and longitude (48.85,2.35)"
    )]
    UnknownCity { city: City },
    #[error("could not get {call}: the API key's calls are used up")]
    RateLimited {
        call: Call,
        retry_after: Option<Duration>,
    },
    #[error("could not get {call}: the server refused the request with {status} \"{message}\"")]
    Rejected {
        call: Call,
        status: StatusCode,
        message: String,
    },
    #[error("could not get {call}: the server answered {status}")]
    Server {
        call: Call,
        status: StatusCode,
        retry_after: Option<Duration>,
    },
    #[error("could not get {call}: no complete answer within {limit:?}")]
    Timeout { call: Call, limit: Duration },
    #[error("could not get {call}: {host} is unreachable")]
    Unreachable {
        call: Call,
        host: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("could not get {call}: the connection broke off")]
    Interrupted {
        call: Call,
        #[source]
        source: reqwest::Error,
    },
    #[error("could not get {call}: the answer has more than {limit_bytes} bytes")]
    TooLarge { call: Call, limit_bytes: usize },
    #[error("could not read {call}")]
    UnexpectedBody {
        call: Call,
        #[source]
        source: BodyError,
    },
}

impl Error {
    /// Whether the same call may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Server { .. }
            | Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::Interrupted { .. }
            // During outages the API has returned 200 with the page of a gateway, or without a
            // body.
            | Self::UnexpectedBody { .. } => true,
            Self::BaseUrl { .. }
            | Self::HttpClient { .. }
            | Self::InvalidKey { .. }
            | Self::UnknownCity { .. }
            | Self::Rejected { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// The pause that the server requests.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Server { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }
}
