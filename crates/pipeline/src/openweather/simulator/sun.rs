//! The position of the sun, by textbook formulas that are accurate to a minute or two.

use std::f64::consts::TAU;

use super::places::Place;

pub(crate) const DAY_S: i64 = 86_400;
const YEAR_DAYS: f64 = 365.2422;
/// The sun's upper rim at the horizon, refraction included.
const HORIZON_DEGREES: f64 = -0.833;

/// The sun over one place at one instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sun {
    /// Sine of the elevation: 1 in the zenith, below 0 at night.
    pub(crate) height: f64,
    /// The maximum of `height` on this day; below 0 in polar night.
    pub(crate) noon_height: f64,
    /// Hours since the sun's midnight, 0..24.
    pub(crate) hour: f64,
    /// Whether the sun is above the horizon.
    pub(crate) is_up: bool,
}

pub(crate) fn sun(place: &Place, seconds: i64) -> Sun {
    let (declination, equation_s) = orbit(seconds);
    let latitude = place.lat.to_radians();
    #[expect(clippy::cast_precision_loss, reason = "a day has few seconds")]
    let mean_s = seconds.rem_euclid(DAY_S) as f64;
    let hour = ((mean_s + place.lon * 240.0 + equation_s) / 3_600.0).rem_euclid(24.0);
    let (along, across) = (
        latitude.sin() * declination.sin(),
        latitude.cos() * declination.cos(),
    );
    let height = along + across * ((hour - 12.0) / 24.0 * TAU).cos();
    let is_up = height > HORIZON_DEGREES.to_radians().sin();
    Sun {
        height,
        noon_height: along + across,
        hour,
        is_up,
    }
}

/// Sunrise and sunset in UTC epoch seconds on the place's calendar day; none in polar day and
/// night.
pub(crate) fn rise_and_set(place: &Place, seconds: i64) -> Option<(i64, i64)> {
    let local_day = (seconds + place.utc_offset_s(seconds)).div_euclid(DAY_S);
    let noon = local_day * DAY_S + DAY_S / 2;
    let (declination, equation_s) = orbit(noon);
    let latitude = place.lat.to_radians();
    let cosine = (HORIZON_DEGREES.to_radians().sin() - latitude.sin() * declination.sin())
        / (latitude.cos() * declination.cos());
    if !(-1.0..=1.0).contains(&cosine) {
        return None;
    }
    let half_day_s = cosine.acos() / TAU * 86_400.0;
    let noon_shift_s = -place.lon * 240.0 - equation_s;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "less than two days of seconds"
    )]
    let at = |shift: f64| noon + (noon_shift_s + shift).round() as i64;
    Some((at(-half_day_s), at(half_day_s)))
}

/// 1 in mid-summer and -1 in mid-winter, three weeks behind the sun.
pub(crate) fn season(place: &Place, seconds: i64) -> f64 {
    let north = ((year_day(seconds) - 201.0) / YEAR_DAYS * TAU).cos();
    if place.lat < 0.0 { -north } else { north }
}

/// The declination of the sun in radians, and the equation of time in seconds.
fn orbit(seconds: i64) -> (f64, f64) {
    let day = year_day(seconds);
    let declination = 23.44_f64.to_radians() * ((day - 79.6) / YEAR_DAYS * TAU).sin();
    let b = (day - 80.0) / 364.0 * TAU;
    let minutes = 9.87 * (2.0 * b).sin() - 7.53 * b.cos() - 1.5 * b.sin();
    (declination, minutes * 60.0)
}

/// Days since the start of the mean year, which is that of 1970.
fn year_day(seconds: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits of seconds outlast the sun"
    )]
    let days = seconds as f64 / 86_400.0;
    days.rem_euclid(YEAR_DAYS)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::{rise_and_set, season, sun};
    use crate::openweather::simulator::places::Place;

    fn seconds(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text)
            .expect("an instant")
            .timestamp()
    }

    /// Almanac times, in UTC.
    #[test]
    fn sunrise_and_sunset_are_within_five_minutes_of_the_almanac() {
        for (id, at, expected) in [
            (
                2988507,
                "2026-06-21T12:00:00Z",
                Some(("2026-06-21T03:47:00Z", "2026-06-21T19:58:00Z")),
            ),
            (
                2988507,
                "2026-01-01T12:00:00Z",
                Some(("2026-01-01T07:44:00Z", "2026-01-01T16:03:00Z")),
            ),
            (
                2147714,
                "2026-01-01T02:00:00Z",
                Some(("2025-12-31T18:48:00Z", "2026-01-01T09:09:00Z")),
            ),
            (3133895, "2026-12-20T12:00:00Z", None), // polar night
            (3133895, "2026-06-20T12:00:00Z", None), // polar day
        ] {
            let place = Place::by_id(id).expect("a known place");
            let found = rise_and_set(place, seconds(at));
            assert_eq!(
                found.is_some(),
                expected.is_some(),
                "{}: {found:?}",
                place.name
            );
            for ((rise, set), (rises, sets)) in found.into_iter().zip(expected) {
                let off =
                    |found: i64, text| TimeDelta::seconds(found - seconds(text)).num_minutes();
                assert!(
                    off(rise, rises).abs() < 5 && off(set, sets).abs() < 5,
                    "{}",
                    place.name
                );
            }
        }
    }

    #[test]
    fn day_and_night_agree_with_sunrise_and_sunset() {
        let place = Place::by_id(2988507).expect("Paris");
        let (rise, set) =
            rise_and_set(place, seconds("2026-04-10T12:00:00Z")).expect("no polar day");
        for (at, is_up) in [
            (rise - 120, false),
            (rise + 120, true),
            (set - 120, true),
            (set + 120, false),
        ] {
            assert_eq!(sun(place, at).is_up, is_up, "{at}");
        }
    }

    #[test]
    fn seasons_are_opposite_on_the_two_hemispheres() {
        let (paris, sydney) = (Place::by_id(2988507), Place::by_id(2147714));
        for (at, sign) in [
            ("2026-07-15T00:00:00Z", 1.0),
            ("2026-01-15T00:00:00Z", -1.0),
        ] {
            assert!(season(paris.expect("Paris"), seconds(at)) * sign > 0.9);
            assert!(season(sydney.expect("Sydney"), seconds(at)) * sign < -0.9);
        }
    }
}
