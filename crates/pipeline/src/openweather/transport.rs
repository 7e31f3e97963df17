//! Makes one call of the API: within the rate of the plan, with retries after transient failures,
//! with limits of time and size, and without showing the key in logs and errors.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode, redirect};
use service::metrics::Counter;
use tokio::time::sleep;
use tracing::{debug, warn};
use url::{Host, Url};

use super::body::{self, BodyError};
use super::error::{Call, Endpoint, Error};
use super::limiter::RateLimiter;
use super::options::Options;

/// Limit of a body. A forecast, the largest one, has about 17 kB.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Limit of a pause that the server requests for all calls.
const HOLD_MAX: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
pub(crate) struct Transport {
    http: reqwest::Client,
    options: Options,
    limiter: RateLimiter,
    counters: CallCounters,
}

/// Metrics of the calls. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct CallCounters {
    /// Calls of the API, including retries.
    pub calls: Counter,
    /// Calls that repeat a failed one.
    pub retries: Counter,
    /// Calls that the server refused because the calls of the plan are used up.
    pub limited: Counter,
}

impl Transport {
    pub(crate) fn new(options: Options) -> Result<Self, Error> {
        check_base(&options.base_url)?;
        if options.base_url.scheme() == "http" && !is_loopback(&options.base_url) {
            let host = authority(&options.base_url);
            warn!(
                host,
                "the API key travels unencrypted; write https in openweather.base_url"
            );
        }
        let http = http_client(&options).map_err(|source| Error::HttpClient {
            source: source.without_url(),
        })?;
        Ok(Self {
            http,
            limiter: RateLimiter::new(options.calls_per_minute),
            options,
            counters: CallCounters::default(),
        })
    }

    pub(crate) fn counters(&self) -> &CallCounters {
        &self.counters
    }

    /// Repeats the call until `read` accepts the body, or the failure is final.
    pub(crate) async fn call<T>(
        &self,
        call: &Call,
        query: &[(&str, String)],
        read: fn(String) -> Result<T, BodyError>,
    ) -> Result<T, Error> {
        let url = self.url(call.endpoint, query);
        let mut tries = 1;
        loop {
            self.limiter
                .acquire(self.options.retry.pause_max)
                .await
                .map_err(|held| Error::RateLimited {
                    call: call.clone(),
                    retry_after: Some(held.left),
                })?;
            self.counters.calls.inc();
            let error = match self.attempt(call, url.clone(), read).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = self.options.retry.pause_after(&error, tries);
            let is_limited = matches!(error, Error::RateLimited { .. });
            if is_limited {
                self.counters.limited.inc();
                // Also if this call gives up: the server would refuse every other one as well.
                let hold = pause.or(error.retry_after()).unwrap_or_default();
                self.limiter.hold(hold.min(HOLD_MAX));
            }
            let Some(pause) = pause else {
                return Err(error);
            };
            debug!(%call, tries, ?pause, %error, "trying again");
            if !is_limited {
                sleep(pause).await;
            }
            self.counters.retries.inc();
            tries += 1;
        }
    }

    async fn attempt<T>(
        &self,
        call: &Call,
        url: Url,
        read: fn(String) -> Result<T, BodyError>,
    ) -> Result<T, Error> {
        let response = self
            .http
            .get(url)
            .send()
            .await
            .map_err(|source| self.broken(call, source))?;
        let status = response.status();
        let retry_after = retry_after(response.headers(), Utc::now());
        let call = || call.clone();
        match status {
            StatusCode::OK => {
                let text = self.text(&call(), response).await?;
                read(text).map_err(|source| Error::UnexpectedBody {
                    call: call(),
                    source,
                })
            }
            StatusCode::UNAUTHORIZED => Err(Error::InvalidKey { call: call() }),
            StatusCode::TOO_MANY_REQUESTS => Err(Error::RateLimited {
                call: call(),
                retry_after,
            }),
            _ if status.is_server_error() => Err(Error::Server {
                call: call(),
                status,
                retry_after,
            }),
            _ => Err(self.refused(call(), response).await),
        }
    }

    /// Distinguishes an unknown city from an unknown path by the body, which the page of a gateway
    /// does not have.
    async fn refused(&self, call: Call, response: Response) -> Error {
        let status = response.status();
        let text = self.text(&call, response).await.unwrap_or_default();
        let message = body::error_message(&text);
        if status == StatusCode::NOT_FOUND && message.contains("not found") {
            return Error::UnknownCity { city: call.city };
        }
        Error::Rejected {
            call,
            status,
            message,
        }
    }

    async fn text(&self, call: &Call, mut response: Response) -> Result<String, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|source| self.broken(call, source))?
        {
            if bytes.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(Error::TooLarge {
                    call: call.clone(),
                    limit_bytes: BODY_BYTES_MAX,
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(bytes).map_err(|source| Error::UnexpectedBody {
            call: call.clone(),
            source: BodyError::NotUtf8 {
                source: source.utf8_error(),
            },
        })?;
        Ok(self.options.api_key.mask(text))
    }

    /// Removes the URL from an error of reqwest first, since the URL contains the key.
    fn broken(&self, call: &Call, source: reqwest::Error) -> Error {
        let (call, source) = (call.clone(), source.without_url());
        if source.is_timeout() {
            Error::Timeout {
                call,
                limit: self.options.timeout,
            }
        } else if source.is_connect() {
            Error::Unreachable {
                call,
                host: authority(&self.options.base_url),
                source,
            }
        } else {
            Error::Interrupted { call, source }
        }
    }

    fn url(&self, endpoint: Endpoint, query: &[(&str, String)]) -> Url {
        let mut url = self.options.base_url.clone();
        let path = format!("{}/{}", url.path().trim_end_matches('/'), endpoint.path());
        url.set_path(&path);
        url.query_pairs_mut()
            .extend_pairs(query)
            .append_pair("appid", self.options.api_key.reveal());
        url
    }
}

fn check_base(url: &Url) -> Result<(), Error> {
    let plain = url.query().is_none() && url.username().is_empty() && url.password().is_none();
    if matches!(url.scheme(), "http" | "https") && plain {
        return Ok(());
    }
    Err(Error::BaseUrl {
        scheme: url.scheme().to_owned(),
        host: authority(url),
    })
}

fn http_client(options: &Options) -> reqwest::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("isobar/", env!("CARGO_PKG_VERSION")))
        .timeout(options.timeout)
        // The API never redirects. A followed redirect would send the key on in `Referer`.
        .redirect(redirect::Policy::none());
    if options.base_url.scheme() == "http" {
        // The default would fail on a machine without root certificates.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(&options.base_url) {
        builder = builder.no_proxy();
    }
    builder.build()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Host and port, for errors.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The value of `Retry-After`, seconds or a date. Any other value counts as absent.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    Some(
        (until.with_timezone(&Utc) - now)
            .to_std()
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use chrono::{TimeZone, Utc};
    use reqwest::header::{HeaderMap, RETRY_AFTER};
    use url::Url;

    use super::{Transport, retry_after};
    use crate::openweather::{ApiKey, Endpoint, Error, Options};

    fn transport(base: &str) -> Result<Transport, Error> {
        let base = Url::parse(base).expect("a URL");
        Transport::new(Options {
            calls_per_minute: NonZeroU32::MIN.into(),
            ..Options::new(base, ApiKey::new("k"))
        })
    }

    #[test]
    fn base_url_may_have_path_but_neither_query_nor_password() {
        for (base, expected) in [
            (
                "https://api.openweathermap.org",
                Ok("https://api.openweathermap.org/data/2.5/weather?q=S%C3%A3o&appid=k"),
            ),
            (
                "http://[::1]:8/a/b/",
                Ok("http://[::1]:8/a/b/data/2.5/weather?q=S%C3%A3o&appid=k"),
            ),
            ("http://h?appid=secret", Err("\"http://h:80\" is no base")),
            ("http://me:secret@h", Err("\"http://h:80\" is no base")),
            ("ftp://h", Err("\"ftp://h:21\" is no base")),
        ] {
            let found =
                transport(base).map(|t| t.url(Endpoint::Weather, &[("q", "São".to_owned())]));
            match (found, expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.as_str(), expected),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, expected) => panic!("{base}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap();
        for (text, seconds) in [
            ("7", Some(7)),
            ("Sun, 01 Mar 2026 12:01:30 GMT", Some(90)),
            ("Sun, 01 Mar 2026 11:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(
                retry_after(&headers, now),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
