//! A city as the user names it, and its coordinates.

use std::fmt;
use std::str::FromStr;

/// A city as the configuration names it: `Paris`, `London,GB`, `Portland,OR,US`,
/// `2988507` (OpenWeather's id) or `48.85,2.35` (latitude, longitude).
///
/// Parsing is the only constructor. Invariants: a name contains a letter, a country code has two,
/// and coordinates are on the globe. [`fmt::Display`] writes the canonical spelling.
#[derive(Debug, Clone, PartialEq)]
pub struct City(pub(crate) Form);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    /// The query for the geocoder: `name`, `name,country` or `name,state,country`.
    Name(String),
    Id(u64),
    Coordinates(Coordinates),
}

/// Degrees north and east.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinates {
    /// Degrees north, from -90 to 90.
    pub lat: f64,
    /// Degrees east, from -180 to 180.
    pub lon: f64,
}

/// Why a text names no city.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseCityError {
    #[error(
        "\"{text}\" is not a city: write a name (Paris), name and country (London,GB), \
         a numeric id (2988507) or latitude and longitude (48.85,2.35)"
    )]
    Form { text: String },
    #[error("\"{code}\" in \"{text}\" is not a two-letter country code")]
    Country { text: String, code: String },
    #[error("the latitude of \"{text}\" is not between -90 and 90")]
    Latitude { text: String },
    #[error("the longitude of \"{text}\" is not between -180 and 180")]
    Longitude { text: String },
}

impl FromStr for City {
    type Err = ParseCityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let form = match parts[..] {
            [id] if is_digits(id) => id.parse().ok().map(Form::Id),
            [name] if is_name(name) => Some(Form::Name(name.to_owned())),
            [lat, lon] if is_number(lat) && is_number(lon) => {
                return coordinates(text, lat, lon).map(|at| Self(Form::Coordinates(at)));
            }
            [name, code] if is_name(name) => {
                Some(Form::Name(format!("{name},{}", country(text, code)?)))
            }
            [name, state, code] if is_name(name) && is_name(state) => Some(Form::Name(format!(
                "{name},{state},{}",
                country(text, code)?
            ))),
            _ => None,
        };
        form.map(Self).ok_or_else(|| ParseCityError::Form {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for City {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Name(name) => f.write_str(name),
            Form::Id(id) => write!(f, "{id}"),
            Form::Coordinates(Coordinates { lat, lon }) => write!(f, "{lat},{lon}"),
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_name(text: &str) -> bool {
    text.chars().any(char::is_alphabetic) && !text.chars().any(char::is_control)
}

/// Numbers are tried before names. `f64` would parse "nan" and "inf", which are names.
fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn country(text: &str, code: &str) -> Result<String, ParseCityError> {
    if code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Ok(code.to_ascii_uppercase());
    }
    Err(ParseCityError::Country {
        text: text.to_owned(),
        code: code.to_owned(),
    })
}

fn coordinates(text: &str, lat: &str, lon: &str) -> Result<Coordinates, ParseCityError> {
    let within = |value: &str, limit: f64| value.parse().ok().filter(|v: &f64| v.abs() <= limit);
    let lat = within(lat, 90.0).ok_or_else(|| ParseCityError::Latitude {
        text: text.to_owned(),
    })?;
    let lon = within(lon, 180.0).ok_or_else(|| ParseCityError::Longitude {
        text: text.to_owned(),
    })?;
    Ok(Coordinates { lat, lon })
}

#[cfg(test)]
mod tests {
    use super::City;

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = text.parse::<City>();
        match (&found, expected) {
            (Ok(city), Ok(canonical)) => assert_eq!(city.to_string(), canonical, "{text:?}"),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{text:?}: {error}")
            }
            _ => panic!("{text:?} gave {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn city_of_each_form_has_canonical_spelling() {
        for (text, canonical) in [
            ("Paris", "Paris"),
            ("  Saint-Étienne ", "Saint-Étienne"),
            ("London, gb", "London,GB"),
            ("Portland,OR,us", "Portland,OR,US"),
            ("2988507", "2988507"),
            ("48.85, 2.35", "48.85,2.35"),
            ("-33.8679,151.2073", "-33.8679,151.2073"),
            ("90,-180", "90,-180"),
            ("東京", "東京"),
            ("Nan,TH", "Nan,TH"),
        ] {
            check(text, Ok(canonical));
        }
    }

    #[test]
    fn invalid_city_is_refused_with_the_reason() {
        for (text, part) in [
            ("", "is not a city"),
            (" , ", "is not a city"),
            (
                "Paris,",
                "\"\" in \"Paris,\" is not a two-letter country code",
            ),
            ("Paris,France", "\"France\" in"),
            ("a,b,c,DE", "is not a city"),
            ("12,FR", "is not a city"),
            ("-5", "is not a city"),
            ("99999999999999999999999", "is not a city"),
            ("91,2", "latitude"),
            ("48.85,181", "longitude"),
            ("Par\nis", "is not a city"),
        ] {
            check(text, Err(part));
        }
    }
}
