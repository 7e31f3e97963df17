//! Condition codes of the API, and their texts.

use serde::Serialize;

use super::bodies::Language;
use super::model::Air;

/// One entry of a `weather` list.
#[derive(Debug, Serialize)]
pub(crate) struct Condition {
    id: u16,
    main: &'static str,
    description: &'static str,
    icon: String,
}

/// id, main, English, French, icon.
type Row = (u16, &'static str, &'static str, &'static str, &'static str);

const THUNDERSTORM: Row = (211, "Thunderstorm", "thunderstorm", "orage", "11");
const MIST: Row = (701, "Mist", "mist", "brume", "50");
const FOG: Row = (741, "Fog", "fog", "brouillard", "50");
const SLEET: Row = (616, "Snow", "rain and snow", "pluie et neige", "13");

/// By the upper limit of the rate, mm/h. The last row has none.
const RAIN: [(f64, Row); 4] = [
    (
        0.2,
        (
            300,
            "Drizzle",
            "light intensity drizzle",
            "bruine légère",
            "09",
        ),
    ),
    (2.5, (500, "Rain", "light rain", "légère pluie", "10")),
    (7.6, (501, "Rain", "moderate rain", "pluie modérée", "10")),
    (
        f64::INFINITY,
        (502, "Rain", "heavy intensity rain", "forte pluie", "10"),
    ),
];
const SNOW: [(f64, Row); 3] = [
    (
        0.8,
        (600, "Snow", "light snow", "légères chutes de neige", "13"),
    ),
    (3.0, (601, "Snow", "snow", "chutes de neige", "13")),
    (
        f64::INFINITY,
        (602, "Snow", "heavy snow", "fortes chutes de neige", "13"),
    ),
];
/// By the upper limit of the cloud cover, %.
const SKY: [(f64, Row); 5] = [
    (11.0, (800, "Clear", "clear sky", "ciel dégagé", "01")),
    (25.0, (801, "Clouds", "few clouds", "peu nuageux", "02")),
    (
        51.0,
        (
            802,
            "Clouds",
            "scattered clouds",
            "partiellement nuageux",
            "03",
        ),
    ),
    (85.0, (803, "Clouds", "broken clouds", "nuageux", "04")),
    (
        f64::INFINITY,
        (804, "Clouds", "overcast clouds", "couvert", "04"),
    ),
];

/// The conditions, the main one first. Mist may accompany rain and snow.
pub(crate) fn conditions(air: &Air, language: Language) -> Vec<Condition> {
    let is_misty = air.visibility < 5_000.0;
    let falling = falling(air);
    let first = match falling {
        Some(row) => row,
        None if air.visibility < 1_000.0 => FOG,
        None if is_misty => MIST,
        None => below(air.clouds, &SKY),
    };
    let second = (is_misty && falling.is_some()).then_some(MIST);
    let time = if air.sun.is_up { 'd' } else { 'n' };
    [Some(first), second]
        .into_iter()
        .flatten()
        .map(|(id, main, english, french, icon)| Condition {
            id,
            main,
            description: match language {
                Language::English => english,
                Language::French => french,
            },
            icon: format!("{icon}{time}"),
        })
        .collect()
}

fn falling(air: &Air) -> Option<Row> {
    match (air.rain > 0.0, air.snow > 0.0) {
        (true, true) => Some(SLEET),
        (false, true) => Some(below(air.snow, &SNOW)),
        (true, false) if air.rain > 3.0 && air.temp > 17.0 => Some(THUNDERSTORM),
        (true, false) => Some(below(air.rain, &RAIN)),
        (false, false) => None,
    }
}

fn below<const N: usize>(value: f64, rows: &[(f64, Row); N]) -> Row {
    rows.iter()
        .find(|(end, _)| value < *end)
        .unwrap_or(&rows[N - 1])
        .1
}
