//! Kafka: where the brokers are and how to connect to them. Its security keys only make sense
//! together, so they are checked together; the result cannot contradict itself.

use std::fs;
use std::path::{Path, PathBuf};

use settings::{KafkaClient, KafkaSecurity, KafkaTls, KafkaUser, SecurityProtocol};

use super::error::Problem;
use super::keys::Key;
use super::value::Value;
use super::values::{Entry, Values};

const PROTOCOL: &str = "kafka.security_protocol";
const ROOT: &str = "kafka.root_certificate";
const CERTIFICATE: &str = "kafka.client_certificate";
const KEY: &str = "kafka.client_key";
const KEY_PASSWORD: &str = "kafka.client_key_password";
const MECHANISM: &str = "kafka.sasl_mechanism";
const USERNAME: &str = "kafka.sasl_username";
const PASSWORD: &str = "kafka.sasl_password";

/// The files, and what each must hold at least.
const FILES: [(&str, &str, &str); 3] = [
    (ROOT, "certificate", "-----BEGIN CERTIFICATE-----"),
    (CERTIFICATE, "certificate", "-----BEGIN CERTIFICATE-----"),
    (KEY, "private key", "PRIVATE KEY-----"),
];

#[derive(Debug, Clone)]
pub struct Kafka {
    /// At least one, each `host:port`.
    pub bootstrap_servers: Vec<String>,
    pub topic: String,
    pub group_id: String,
    pub security: KafkaSecurity,
}

impl Kafka {
    pub(crate) fn new(values: &mut Values, directory: &Path) -> Self {
        Self {
            bootstrap_servers: values.take("kafka.bootstrap_servers"),
            topic: values.take("kafka.topic"),
            group_id: values.take("kafka.group_id"),
            security: security(values, directory),
        }
    }
}

/// From values that passed [`check`].
fn security(values: &mut Values, directory: &Path) -> KafkaSecurity {
    let protocol: SecurityProtocol = values.take(PROTOCOL);
    let mut file = |name| {
        let path: Option<String> = values.optional(name);
        path.map(|path| directory.join(path))
    };
    let (root_certificate, certificate, key) = (file(ROOT), file(CERTIFICATE), file(KEY));
    let key_password = values.optional(KEY_PASSWORD);
    let client = certificate.zip(key).map(|(certificate, key)| KafkaClient {
        certificate,
        key,
        key_password,
    });
    let tls = KafkaTls {
        root_certificate,
        client,
    };
    let (mechanism, name) = (values.optional(MECHANISM), values.optional(USERNAME));
    let user = mechanism.zip(name).zip(values.optional(PASSWORD));
    KafkaSecurity {
        tls: protocol.has_tls().then_some(tls),
        user: user.map(|((mechanism, name), password)| KafkaUser {
            mechanism,
            name,
            password,
        }),
    }
}

/// What contradicts itself, is missing, or cannot be read.
pub(crate) fn check(values: &Values, directory: &Path) -> Vec<Problem> {
    let protocol = values.entry(PROTOCOL);
    let Some(Ok(spoken)) = protocol.value.clone().map(SecurityProtocol::try_from) else {
        unreachable!("{PROTOCOL} has a default and is checked before")
    };
    let mut problems = Vec::new();
    if !spoken.has_tls() {
        let keys = [ROOT, CERTIFICATE, KEY, KEY_PASSWORD];
        problems.extend(unused(values, &keys, "\"sasl_ssl\" or \"ssl\""));
    } else {
        let pairs = [(CERTIFICATE, KEY), (KEY, CERTIFICATE), (KEY_PASSWORD, KEY)];
        problems.extend(
            pairs
                .iter()
                .filter_map(|(key, other)| missing(values, key, other)),
        );
        problems.extend(
            FILES
                .iter()
                .filter_map(|file| unreadable(values, directory, file)),
        );
    }
    let keys = [MECHANISM, USERNAME, PASSWORD];
    if spoken.has_user() {
        problems.extend(keys.iter().filter_map(|key| missing(values, PROTOCOL, key)));
    } else {
        problems.extend(unused(values, &keys, "\"sasl_ssl\" or \"sasl_plaintext\""));
    }
    problems
}

/// Those of `keys` that are set, though only other protocols use them.
fn unused<'a>(
    values: &'a Values,
    keys: &'a [&'static str],
    protocols: &'static str,
) -> impl Iterator<Item = Problem> {
    let protocol = values.entry(PROTOCOL);
    let set = keys.iter().filter(|key| values.entry(key).value.is_some());
    set.map(move |key| Problem::Unused {
        origin: values.entry(key).origin.clone(),
        key,
        decides: PROTOCOL,
        value: shown(protocol),
        value_origin: protocol.origin.clone(),
        values: protocols,
        variable: variable(PROTOCOL),
    })
}

/// That `key` is set and `needs` is not, though it belongs to it.
fn missing(values: &Values, key: &'static str, needs: &'static str) -> Option<Problem> {
    let (entry, needed) = (values.entry(key), values.entry(needs));
    (entry.value.is_some() && needed.value.is_none()).then(|| Problem::Missing {
        origin: entry.origin.clone(),
        key,
        value: shown(entry),
        needs,
        variable: variable(needs),
    })
}

fn unreadable(
    values: &Values,
    directory: &Path,
    (key, what, mark): &(&'static str, &'static str, &'static str),
) -> Option<Problem> {
    let entry = values.entry(key);
    let Some(Value::Text(path)) = &entry.value else {
        return None;
    };
    let (origin, path) = (entry.origin.clone(), PathBuf::from(path));
    match fs::read(directory.join(&path)) {
        Ok(bytes) if holds(&bytes, mark.as_bytes()) => None,
        Ok(_) => Some(Problem::NotPem {
            origin,
            key,
            path,
            what,
        }),
        Err(source) => Some(Problem::ReadPem {
            origin,
            key,
            path,
            source,
        }),
    }
}

fn holds(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|part| part == mark)
}

fn shown(entry: &Entry) -> String {
    let value = entry.value.as_ref();
    value.map(Value::to_string).unwrap_or_default()
}

/// The variable that sets a key.
fn variable(name: &str) -> String {
    let key = Key::named(name).expect("every name that the code uses is in the table of keys");
    let variable = key.variable();
    if key.is_secret() {
        format!("{variable} or {variable}_FILE")
    } else {
        variable
    }
}
