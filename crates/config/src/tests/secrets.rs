//! Secrets: where they may stand, and that no output shows them.

use super::super::*;
use super::{Place, check_shown};

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let file = |name: &str, value: &str| {
        Place::new()
            .file("secret", "hunter2\r\n")
            .variable(name, value)
    };
    let password = |place: &Place| {
        place
            .load()
            .config
            .postgres
            .password
            .unwrap()
            .expose()
            .to_owned()
    };
    for name in ["POSTGRES_PASSWORD_FILE", "ISOBAR__POSTGRES__PASSWORD_FILE"] {
        let place = file(name, "secret");
        assert_eq!(password(&place), "hunter2");
        check_shown(
            &place,
            "postgres.password",
            "\"***\"",
            &format!("variable {name}"),
        );
    }
    let place =
        file("POSTGRES_PASSWORD_FILE", "secret").variable("ISOBAR__POSTGRES__PASSWORD", " own ");
    assert_eq!(password(&place), " own ");
    let place = Place::new()
        .file("secret", "hunter2")
        .file(".env", "POSTGRES_PASSWORD_FILE=secret");
    assert_eq!(password(&place), "hunter2");
    let place = Place::new().file("isobar.toml", "[openweather]\napi_key = \"hunter2\"");
    assert_eq!(
        place.load().config.openweather.api_key.unwrap().expose(),
        "hunter2"
    );
}

#[test]
fn a_secret_file_that_gives_no_secret_is_an_error() {
    let place = Place::new().variable("OPENWEATHER_API_KEY_FILE", "/run/secrets/missing");
    assert_eq!(
        place.refused(),
        "variable OPENWEATHER_API_KEY_FILE: could not read the file \"/run/secrets/missing\" that holds \
         openweather.api_key: No such file or directory (os error 2)"
    );
    let place = Place::new()
        .file("blank", "\n")
        .variable("POSTGRES_PASSWORD_FILE", "blank");
    assert_eq!(
        place.refused(),
        "variable POSTGRES_PASSWORD_FILE: the file \"blank\" that should hold postgres.password is blank"
    );
    let place = Place::new()
        .variable("POSTGRES_PASSWORD", "hunter2")
        .variable("POSTGRES_PASSWORD_FILE", "blank");
    assert_eq!(
        place.refused(),
        "variable POSTGRES_PASSWORD and variable POSTGRES_PASSWORD_FILE both set postgres.password; keep one of them"
    );
}

#[test]
fn no_output_shows_a_secret() {
    let place = Place::new()
        .file("isobar.toml", "[openweather]\napi_key = \"hunter2\"")
        .variable("POSTGRES_PASSWORD", "hunter2");
    let loaded = place.load();
    assert!(!format!("{loaded:?} {loaded:#?}").contains("hunter2"));
    let place = Place::new().file(
        "isobar.toml",
        "[postgres]\npassword = 424242\n[openweather]\napi_key = [\"hunter2\"]",
    );
    let error = load(&place.sources).unwrap_err();
    let printed = format!("{error} {error:?}");
    assert!(
        !printed.contains("hunter2") && !printed.contains("424242"),
        "{printed}"
    );
    assert!(
        printed.contains("isobar.toml:2: postgres.password = ***: expected a string"),
        "{printed}"
    );
}
