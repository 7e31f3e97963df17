//! Every URL contains the API key, so these tests look for it in all output of the client.

use std::error::Error as StdError;
use std::fmt::{self, Write};
use std::iter::repeat;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};
use url::Url;

use super::gateway::{Fault, Gateway};
use super::{KEY, at, city, client, options};
use crate::openweather::simulator::Simulator;
use crate::openweather::{ApiKey, Error};

/// Debug and Display of an error and of all its causes.
fn all_of(error: &Error) -> String {
    let mut text = format!("{error:?} {error:#?}");
    let mut next: Option<&dyn StdError> = Some(error);
    while let Some(cause) = next {
        write!(text, " {cause} {cause:?}").expect("a String takes all");
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn errors_do_not_show_the_key() {
    let echo = format!("GET /geo/1.0/direct?q=Paris&appid={KEY} is wrong");
    for fault in [
        Fault::html("502 Bad Gateway"),
        Fault::json("401 Unauthorized", &echo),
        Fault::json(
            "400 Bad Request",
            &format!(r#"{{"cod":"400","message":"{echo}"}}"#),
        ),
        Fault::json(
            "404 Not Found",
            &format!(r#"{{"cod":"404","message":"{echo}"}}"#),
        ),
        Fault::json("200 OK", &echo),
        Fault::json("200 OK", &format!(r#""{echo}""#)),
        Fault::json("200 OK", &format!(r#"[{{"lat":"{KEY}"}}]"#)),
        Fault::Truncate,
        Fault::Reset,
    ] {
        let gateway = Gateway::start(repeat(fault.clone())).await;
        let error = client(&gateway.url)
            .observe(&city("Paris"))
            .await
            .expect_err("no observation");
        assert!(
            !all_of(&error).contains(KEY),
            "{fault:?}: {}",
            all_of(&error).replace(KEY, "KEY")
        );
        // The test can fail: the server did get the key.
        assert!(gateway.requests()[0].contains(KEY));
    }
}

#[tokio::test]
async fn error_about_address_does_not_show_the_key() {
    for base in ["http://127.0.0.1:1", "http://nowhere.invalid"] {
        let url = Url::parse(base).expect("a URL");
        let error = client(&url)
            .observe(&city("Paris"))
            .await
            .expect_err("no server");
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(!all_of(&error).contains(KEY), "{base}");
    }
    let url = Url::parse(&format!("http://user:{KEY}@h/?appid={KEY}")).expect("a URL");
    let error = crate::openweather::Client::new(options(url)).expect_err("no client");
    assert!(!all_of(&error).contains(KEY));
}

#[tokio::test]
async fn echoed_key_is_masked_in_message() {
    let body = format!(r#"{{"id":7,"dt":1,"name":"{KEY}","list":[],"note":"{KEY}"}}"#);
    let gateway = Gateway::start(repeat(Fault::json("200 OK", &body))).await;
    let observation = client(&gateway.url)
        .observe(&city("48.85,2.35"))
        .await
        .expect("an observation");
    let message = observation.message.to_json();
    assert!(
        !message.contains(KEY) && message.contains("\"note\":\"***\""),
        "{message}"
    );
}

#[test]
fn debug_output_does_not_show_the_key() {
    let url = Url::parse("http://127.0.0.1:1").expect("a URL");
    let simulator = Simulator::new(1, ApiKey::new(KEY), || at("2026-01-15T12:00:00Z"));
    let options = options(url.clone());
    for text in [
        format!("{:?}", ApiKey::new(KEY)),
        format!("{options:#?}"),
        format!("{:#?}", client(&url)),
        format!("{simulator:#?}"),
    ] {
        assert!(
            !text.contains(KEY) && text.contains("***"),
            "{}",
            text.replace(KEY, "KEY")
        );
    }
}

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0.lock().unwrap(), "{field}={value:?} ").expect("a String takes all");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut self.clone());
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn logs_do_not_show_the_key() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let faults = [
        Fault::html("502 Bad Gateway"),
        Fault::Truncate,
        Fault::Reset,
    ];
    let gateway = Gateway::start(faults.into_iter().cycle().take(2)).await;
    client(&gateway.url)
        .observe(&city("Paris"))
        .await
        .expect("an observation");
    let text = log.0.lock().unwrap().clone();
    assert!(
        text.contains("trying again") && !text.contains(KEY),
        "{}",
        text.replace(KEY, "KEY")
    );
}
