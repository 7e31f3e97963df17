//! The security of Kafka.

use settings::SaslMechanism;

use super::{Place, check_shown};

const KAFKA_USER: &str =
    "sasl_mechanism = \"plain\"\nsasl_username = \"u\"\nsasl_password = \"hunter2\"\n";

/// Section [kafka], and files that it can name.
fn kafka(text: &str) -> Place {
    Place::new()
        .file("isobar.toml", &format!("[kafka]\n{text}"))
        .file("ca.pem", "it is:\n-----BEGIN CERTIFICATE-----\n")
        .file("key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
        .file("store.jks", "\u{fe}\u{ed}")
}

#[test]
fn the_security_of_kafka_is_what_its_protocol_says() {
    let security = |place: Place| place.load().config.kafka.security;
    let plain = security(kafka(""));
    assert!(plain.tls.is_none() && plain.user.is_none());
    let place = kafka(&format!(
        "security_protocol = \"sasl_ssl\"\nroot_certificate = \"ca.pem\"\n{KAFKA_USER}"
    ));
    let root = place.directory.path().join("ca.pem");
    check_shown(&place, "kafka.sasl_password", "\"***\"", "isobar.toml:6");
    let both = security(place);
    let (tls, user_of_both) = (both.tls.unwrap(), both.user.unwrap());
    assert_eq!(tls.root_certificate, Some(root));
    assert!(tls.client.is_none());
    assert_eq!(user_of_both.mechanism, SaslMechanism::Plain);
    assert_eq!(user_of_both.password.expose(), "hunter2");
    let own =
        "client_certificate = \"ca.pem\"\nclient_key = \"key.pem\"\nclient_key_password = \"p\"\n";
    let mutual = security(kafka(&format!("security_protocol = \"ssl\"\n{own}")));
    let own = mutual.tls.unwrap().client.unwrap();
    assert!(own.key_password.is_some() && mutual.user.is_none());

    let check =
        |text: &str, expected: &[&str]| assert_eq!(kafka(text).refused(), expected.join("\n"));
    let missing = |key: &str, variable: &str| {
        format!(
            "isobar.toml:2: kafka.security_protocol = \"sasl_plaintext\" needs kafka.{key}; set it (ISOBAR__KAFKA__{variable})"
        )
    };
    check(
        "security_protocol = \"sasl_plaintext\"",
        &[
            &missing("sasl_mechanism", "SASL_MECHANISM"),
            &missing("sasl_username", "SASL_USERNAME"),
            &missing(
                "sasl_password",
                "SASL_PASSWORD or ISOBAR__KAFKA__SASL_PASSWORD_FILE",
            ),
        ],
    );
    check(
        "sasl_password = \"hunter2\"",
        &[
            "isobar.toml:2: kafka.sasl_password is set, but not used with kafka.security_protocol = \"plaintext\" (default); \
             set kafka.security_protocol (ISOBAR__KAFKA__SECURITY_PROTOCOL) to \"sasl_ssl\" or \"sasl_plaintext\", or take \
             kafka.sasl_password away",
        ],
    );
    check(
        &format!("security_protocol = \"sasl_plaintext\"\n{KAFKA_USER}client_key = \"key.pem\""),
        &[
            "isobar.toml:6: kafka.client_key is set, but not used with kafka.security_protocol = \"sasl_plaintext\" \
             (isobar.toml:2); set kafka.security_protocol (ISOBAR__KAFKA__SECURITY_PROTOCOL) to \"sasl_ssl\" or \"ssl\", or \
             take kafka.client_key away",
        ],
    );
    check(
        "security_protocol = \"ssl\"\nclient_certificate = \"ca.pem\"\nclient_key_password = \"p\"",
        &[
            "isobar.toml:3: kafka.client_certificate = \"ca.pem\" needs kafka.client_key; set it (ISOBAR__KAFKA__CLIENT_KEY)",
            "isobar.toml:4: kafka.client_key_password = \"***\" needs kafka.client_key; set it (ISOBAR__KAFKA__CLIENT_KEY)",
        ],
    );
    check(
        "security_protocol = \"ssl\"\nroot_certificate = \"store.jks\"\nclient_certificate = \"none.pem\"\nclient_key = \"key.pem\"",
        &[
            "isobar.toml:3: the file \"store.jks\" that kafka.root_certificate names holds no certificate in PEM, which is text \
             with a line `-----BEGIN …-----`; other formats are converted by `openssl`",
            "isobar.toml:4: could not read the file \"none.pem\" that kafka.client_certificate names: No such file or directory \
             (os error 2)",
        ],
    );
}
