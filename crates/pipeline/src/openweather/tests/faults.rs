//! Failures of the API: the client retries transient ones, and names the cause of permanent ones.

use std::iter::{empty, once, repeat};
use std::time::Duration;

use futures::StreamExt;
use tokio::net::TcpListener;
use url::Url;

use super::gateway::{Fault, Gateway};
use super::{city, client, options};
use crate::openweather::{City, Client, Error, Options};

const TOO_MANY: &str = "429 Too Many Requests";

fn limited(headers: &'static str) -> Fault {
    Fault::Answer(
        TOO_MANY,
        headers,
        r#"{"cod":429,"message":"blocked"}"#.to_owned(),
    )
}

#[tokio::test]
async fn transient_failure_costs_one_more_call() {
    for fault in [
        Fault::json(
            "500 Internal Server Error",
            r#"{"cod":"500","message":"Internal error: 500001"}"#,
        ),
        Fault::html("502 Bad Gateway"),
        Fault::Answer(
            "503 Service Unavailable",
            "Retry-After: 0\r\n",
            String::new(),
        ),
        Fault::html("200 OK"),
        Fault::json("200 OK", ""),
        Fault::json("200 OK", r#"{"cod":429,"message":"in disguise"}"#),
        Fault::Truncate,
        Fault::Reset,
        limited(""),
        limited("Retry-After: 0\r\n"),
        limited("Retry-After: 1\r\n"),
    ] {
        let gateway = Gateway::start(once(fault.clone())).await;
        let observation = client(&gateway.url).observe(&city("48.85,2.35")).await;
        assert_eq!(
            observation.expect("an observation").city_id,
            2_988_507,
            "{fault:?}"
        );
        assert_eq!(gateway.requests().len(), 3 + 1, "{fault:?}");
    }
}

/// Every request gets `fault`. Paris must be geocoded first, so all attempts are for one call.
async fn check(fault: Fault, requests: usize, expected: &str, is_expected: fn(&Error) -> bool) {
    let gateway = Gateway::start(repeat(fault.clone())).await;
    let options = Options {
        timeout: Duration::from_millis(300),
        ..options(gateway.url.clone())
    };
    let client = Client::new(options).expect("a client");
    let error = client
        .observe(&city("Paris"))
        .await
        .expect_err("no observation");
    assert!(is_expected(&error), "{fault:?}: {error:?}");
    assert_eq!(error.to_string(), expected, "{fault:?}");
    assert_eq!(gateway.requests().len(), requests, "{fault:?}");
}

#[tokio::test]
async fn lasting_failure_is_reported_after_last_attempt() {
    let of = "could not get the coordinates of \"Paris\"";
    check(
        Fault::html("502 Bad Gateway"),
        3,
        &format!("{of}: the server answered 502 Bad Gateway"),
        |e| matches!(e, Error::Server { status, .. } if status.as_u16() == 502),
    )
    .await;
    check(
        Fault::Hang,
        3,
        &format!("{of}: no complete answer within 300ms"),
        |e| matches!(e, Error::Timeout { .. }),
    )
    .await;
    let interrupted = format!("{of}: the connection broke off");
    check(Fault::Truncate, 3, &interrupted, |e| {
        matches!(e, Error::Interrupted { .. })
    })
    .await;
    check(Fault::Reset, 3, &interrupted, |e| {
        matches!(e, Error::Interrupted { .. })
    })
    .await;
    check(
        Fault::html("200 OK"),
        3,
        "could not read the coordinates of \"Paris\"",
        |e| matches!(e, Error::UnexpectedBody { .. }),
    )
    .await;
    check(
        limited(""),
        3,
        &format!("{of}: the API key's calls are used up"),
        |e| {
            matches!(
                e,
                Error::RateLimited {
                    retry_after: None,
                    ..
                }
            )
        },
    )
    .await;
}

#[tokio::test]
async fn permanent_failure_is_not_retried() {
    let of = "could not get the coordinates of \"Paris\"";
    let refused = format!(
        "{of}: the API key was refused; check openweather.api_key (OPENWEATHER_API_KEY). A new key may need two hours"
    );
    check(
        Fault::json("401 Unauthorized", r#"{"cod":401}"#),
        1,
        &refused,
        |e| matches!(e, Error::InvalidKey { .. }),
    )
    .await;
    let not_found = Fault::json(
        "404 Not Found",
        r#"{"cod":"404","message":"city not found"}"#,
    );
    let unknown = "could not find city \"Paris\"; check it in openweather.cities (CITY), or write its id (2988507) or its latitude and longitude (48.85,2.35)";
    for fault in [not_found, Fault::json("200 OK", "[]")] {
        check(fault, 1, unknown, |e| {
            matches!(e, Error::UnknownCity { .. })
        })
        .await;
    }
    let wrong_path = Fault::json(
        "404 Not Found",
        r#"{"cod":"404","message":"Internal error"}"#,
    );
    let message =
        format!("{of}: the server refused the request with 404 Not Found \"Internal error\"");
    check(wrong_path, 1, &message, |e| {
        matches!(e, Error::Rejected { .. })
    })
    .await;
    let moved = Fault::Answer(
        "302 Found",
        "Location: http://127.0.0.1:9/\r\n",
        String::new(),
    );
    let message = format!("{of}: the server refused the request with 302 Found \"\"");
    check(moved, 1, &message, |e| matches!(e, Error::Rejected { .. })).await;
    let later = format!("{of}: the API key's calls are used up");
    check(limited("Retry-After: 3600\r\n"), 1, &later, |e| {
        matches!(e, Error::RateLimited { retry_after: Some(asked), .. } if asked.as_secs() == 3600)
    })
    .await;
    let endless = Fault::json("200 OK", &format!("[{}]", " ".repeat(1 << 20)));
    let message = format!("{of}: the answer has more than 1048576 bytes");
    check(endless, 1, &message, |e| {
        matches!(e, Error::TooLarge { .. })
    })
    .await;
}

#[tokio::test]
async fn server_that_requests_long_pause_gets_no_call_meanwhile() {
    let gateway = Gateway::start(once(limited("Retry-After: 3600\r\n"))).await;
    let client = client(&gateway.url);
    for name in ["Paris", "Sydney", "48.85,2.35"] {
        let error = client
            .observe(&city(name))
            .await
            .expect_err("no observation");
        assert!(matches!(error, Error::RateLimited { .. }), "{error:?}");
    }
    assert_eq!(gateway.requests().len(), 1);
    let counters = client.counters();
    assert_eq!((counters.calls.get(), counters.limited.get()), (1, 1));
}

#[tokio::test]
async fn unreachable_server_is_named_with_its_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let url = Url::parse(&format!("http://{address}")).expect("a URL");
    let error = client(&url)
        .observe(&city("London,GB"))
        .await
        .expect_err("no server");
    assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
    let expected =
        format!("could not get the coordinates of \"London,GB\": {address} is unreachable");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn city_is_located_once() {
    for (name, path, calls) in [
        ("Paris", "/geo/1.0/direct?q=Paris&limit=1&", [4, 3, 3]),
        ("2988507", "/data/2.5/weather?id=2988507&", [4, 3, 3]),
        ("48.85,2.35", "/data/2.5/", [3, 3, 3]),
    ] {
        let gateway = Gateway::start(empty()).await;
        let (client, city, mut before) = (client(&gateway.url), city(name), 0);
        for calls in calls {
            client.observe(&city).await.expect("an observation");
            let requests = gateway.requests();
            assert_eq!(requests.len() - before, calls, "{requests:?}");
            before = requests.len();
        }
        assert!(
            gateway.requests()[0].starts_with(path),
            "{:?}",
            gateway.requests()
        );
    }
}

#[tokio::test]
async fn weather_is_requested_as_the_user_named_the_city() {
    for (name, parameter) in [
        ("2988507", "id=2988507"),
        ("London,CA", "q=London%2CCA"),
        ("48.85,2.35", "lat=48.85"),
    ] {
        let gateway = Gateway::start(empty()).await;
        let observed = client(&gateway.url).observe(&city(name)).await;
        observed.expect("an observation");
        for request in gateway.requests() {
            if let Some(query) = request.strip_prefix("/data/2.5/weather?") {
                assert!(query.starts_with(parameter), "{name}: {request}");
            }
        }
    }
}

#[tokio::test]
async fn name_known_to_geocoder_only_is_requested_by_coordinates() {
    // After the geocoder responds, one of the three calls is for the weather by name, which the API
    // may not know.
    let not_found = || {
        Fault::json(
            "404 Not Found",
            r#"{"cod":"404","message":"city not found"}"#,
        )
    };
    let gateway = Gateway::start_for("/data/2.5/weather?q=", once(not_found())).await;
    let observed = client(&gateway.url).observe(&city("Tromsø")).await;
    assert_eq!(observed.expect("an observation").city_id, 3_133_880);
    assert_eq!(gateway.requests().len(), 1 + 3 + 1);
}

#[tokio::test]
async fn failure_of_one_city_does_not_stop_others() {
    let gateway = Gateway::start(empty()).await;
    let client = client(&gateway.url);
    let cities: Vec<City> = ["Atlantis", "Paris", "1", "London,CA", "Tromsø"]
        .map(city)
        .into();
    let mut found: Vec<(String, Option<i64>)> = client
        .observe_all(&cities)
        .map(|(city, result)| {
            (
                city.to_string(),
                result.ok().map(|observation| observation.city_id),
            )
        })
        .collect()
        .await;
    found.sort();
    let expected = [
        ("1", None),
        ("Atlantis", None),
        ("London,CA", Some(6_058_560)),
        ("Paris", Some(2_988_507)),
        ("Tromsø", Some(3_133_895)),
    ];
    assert_eq!(found, expected.map(|(name, id)| (name.to_owned(), id)));
}
