//! A small atmosphere: seasons and days from the sun, weather from passing fronts.
//!
//! It is not a forecast model. Its values look plausible, keep to the ranges of the API, and are
//! cheap: each is the sum of a few smooth random waves around the values for sun and latitude.

use std::f64::consts::TAU;

use super::noise::{Channel, Noise};
use super::places::Place;
use super::sun::{Sun, season, sun};

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
pub(crate) const DAY_S: i64 = 24 * HOUR_S;
/// The API omits less than this, mm/h.
const TRACE: f64 = 0.1;
/// Error of a forecast for each hour ahead, °C.
const DRIFT_PER_HOUR: f64 = 0.025;

/// One place's weather, a pure function of the time.
#[derive(Debug)]
pub(crate) struct Model {
    /// The place whose weather it computes.
    pub(crate) place: Place,
    /// Randomness of the place.
    pub(crate) noise: Noise,
}

/// The state of the air: °C, %, hPa, m/s, degrees, mm/h, m.
#[derive(Debug, Clone)]
pub(crate) struct Air {
    /// Temperature, °C.
    pub(crate) temp: f64,
    /// Apparent temperature, °C.
    pub(crate) feels_like: f64,
    /// Relative humidity, %.
    pub(crate) humidity: f64,
    /// Pressure at sea level, hPa.
    pub(crate) pressure: f64,
    /// Cloud cover, %.
    pub(crate) clouds: f64,
    /// Wind speed, m/s.
    pub(crate) wind: f64,
    /// Direction from which the wind blows, degrees.
    pub(crate) wind_deg: f64,
    /// None in calm air.
    pub(crate) gust: Option<f64>,
    /// Rate of rain, mm/h.
    pub(crate) rain: f64,
    /// Rate of snow, mm/h.
    pub(crate) snow: f64,
    /// Visibility, m.
    pub(crate) visibility: f64,
    /// Position of the sun.
    pub(crate) sun: Sun,
}

/// The effect of a passing front on the fair-weather values.
struct Front {
    /// -1 in a deep low, 1 in a strong high.
    pressure: f64,
    /// Share of the sky covered, 0..1.
    clouds: f64,
    /// mm/h, rain or snow.
    precipitation: f64,
}

impl Model {
    pub(crate) fn new(seed: u64, place: Place) -> Self {
        let key = if place.id != 0 {
            place.id
        } else {
            place.lat.to_bits() ^ place.lon.to_bits().rotate_left(32)
        };
        Self {
            noise: Noise::new(seed, key),
            place,
        }
    }

    /// The same weather under the name of the district.
    pub(crate) fn of_district(seed: u64, place: &Place) -> Self {
        Self {
            place: place.as_district(),
            ..Self::new(seed, place.clone())
        }
    }

    pub(crate) fn air(&self, seconds: i64) -> Air {
        let sun = sun(&self.place, seconds);
        let front = self.front(seconds);
        let swing = self.day_swing(&sun, &front);
        let temp = self.day_mean(seconds) + swing;
        let (rain, snow) = rain_and_snow(temp, front.precipitation);
        let wet = front.precipitation.min(2.0);
        let wave = |channel, period_s| self.noise.wave(channel, seconds, period_s);
        let humidity = (60.0 + 22.0 * front.clouds - 3.0 * swing
            + 8.0 * wet
            + 8.0 * wave(Channel::Turbulence, 5 * HOUR_S))
        .clamp(18.0, 100.0);
        let wind = (3.2 + 2.4 * wave(Channel::Wind, 9 * HOUR_S) - 2.0 * front.pressure
            + sun.height.max(0.0))
        .max(0.3);
        Air {
            temp,
            feels_like: feels_like(temp, wind, humidity),
            humidity,
            pressure: 1_014.0 + 17.0 * front.pressure,
            clouds: 100.0 * front.clouds,
            wind,
            wind_deg: (210.0
                + 170.0 * wave(Channel::Direction, 2 * DAY_S)
                + 20.0 * wave(Channel::Turbulence, 2 * HOUR_S))
            .rem_euclid(360.0),
            gust: (wind > 3.0).then_some(wind * 1.5 + 0.8),
            rain,
            snow,
            visibility: visibility(humidity, wind, rain, snow),
            sun,
        }
    }

    /// The error at `target` of a forecast that was issued at `issued`, °C.
    pub(crate) fn drift(&self, issued: i64, target: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "five days ahead at most")]
        let lead_h = (target - issued) as f64 / 3_600.0;
        DRIFT_PER_HOUR
            * lead_h
            * self
                .noise
                .wave(Channel::Forecast, issued * 7 + target, 2 * DAY_S)
    }

    fn front(&self, seconds: i64) -> Front {
        let wave = |channel, period_s| self.noise.wave(channel, seconds, period_s);
        let pressure =
            0.8 * wave(Channel::Pressure, 3 * DAY_S) + 0.2 * wave(Channel::Turbulence, 14 * HOUR_S);
        let potential =
            self.place.climate.wet - 0.42 - 0.55 * pressure + 0.6 * wave(Channel::Wet, 5 * HOUR_S);
        let shower = 0.65 + 0.35 * wave(Channel::Shower, 40 * MINUTE_S);
        let rate = 9.0 * potential.max(0.0).powf(1.5) * shower;
        let precipitation = if rate < TRACE { 0.0 } else { rate };
        let fair = (0.5 - 0.4 * pressure + 0.5 * wave(Channel::Clouds, 8 * HOUR_S)).clamp(0.0, 1.0);
        let clouds = if precipitation > 0.0 {
            fair.max(0.75)
        } else {
            fair
        };
        Front {
            pressure,
            clouds,
            precipitation,
        }
    }

    /// The daily mean: climate, season, and the air mass of the week.
    fn day_mean(&self, seconds: i64) -> f64 {
        let Place {
            lat,
            elevation_m,
            climate,
            ..
        } = &self.place;
        let yearly = 27.5 - 0.0072 * lat * lat - 0.0065 * elevation_m + climate.warmth;
        let seasonal = 0.16 * lat.abs() * climate.seasons * season(&self.place, seconds);
        let air_mass = 4.5 * self.noise.wave(Channel::AirMass, seconds, 4 * DAY_S)
            + 0.4 * self.noise.wave(Channel::Turbulence, seconds, 45 * MINUTE_S);
        yearly + seasonal + air_mass
    }

    /// The daily variation: warmest three hours after noon, coldest before dawn, and small under
    /// clouds and in polar night.
    fn day_swing(&self, sun: &Sun, front: &Front) -> f64 {
        let reach = 0.5 + 6.0 * sun.noon_height.max(0.0);
        reach * (1.0 - 0.6 * front.clouds) * ((sun.hour - 15.0) / 24.0 * TAU).cos()
            - 0.6 * front.precipitation.min(3.0)
    }
}

/// Splits precipitation by temperature. Sleet is both rain and snow.
fn rain_and_snow(temp: f64, precipitation: f64) -> (f64, f64) {
    let rain_share = ((temp + 0.2) / 1.6).clamp(0.0, 1.0);
    let cut = |rate: f64| if rate < TRACE { 0.0 } else { rate };
    (
        cut(precipitation * rain_share),
        cut(precipitation * (1.0 - rain_share)),
    )
}

/// The wind-chill index in the cold, Steadman's apparent temperature in the heat.
fn feels_like(temp: f64, wind: f64, humidity: f64) -> f64 {
    let wind_kmh = wind * 3.6;
    if temp <= 10.0 && wind_kmh > 4.8 {
        let v = wind_kmh.powf(0.16);
        (13.12 + 0.6215 * temp - 11.37 * v + 0.3965 * temp * v).min(temp)
    } else if temp >= 20.0 {
        let vapour_hpa = humidity / 100.0 * 6.105 * (17.27 * temp / (237.7 + temp)).exp();
        temp + 0.33 * vapour_hpa - 0.7 * wind - 4.0
    } else {
        temp
    }
}

/// Visibility in m. The API caps it at ten kilometres.
fn visibility(humidity: f64, wind: f64, rain: f64, snow: f64) -> f64 {
    let fog = if humidity > 95.0 && wind < 2.5 {
        9_400.0 * ((humidity - 95.0) / 5.0)
    } else {
        0.0
    };
    (10_000.0 - fog - 700.0 * rain - 3_500.0 * snow).max(200.0)
}

#[cfg(test)]
mod tests {
    use super::{DAY_S, HOUR_S, Model};
    use crate::openweather::simulator::places::Place;

    const JANUARY_2026: i64 = 1_767_225_600;
    const JULY_2026: i64 = 1_782_864_000;

    fn model(id: u64) -> Model {
        Model::new(1, Place::by_id(id).expect("a known place").clone())
    }

    /// Mean of a value over `days` days of half-hours.
    fn mean(model: &Model, start: i64, days: i64, value: impl Fn(&Model, i64) -> f64) -> f64 {
        let times: Vec<i64> = (start..start + days * DAY_S).step_by(1_800).collect();
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let count = times.len() as f64;
        times.iter().map(|t| value(model, *t)).sum::<f64>() / count
    }

    #[test]
    fn monthly_means_are_near_climate_data() {
        for (id, january, july) in [
            (2_988_507, 4.0, 20.0),  // Paris
            (3_133_895, -3.0, 12.0), // Tromsø
            (6_058_560, -5.0, 21.0), // London, Ontario
            (2_147_714, 23.0, 13.0), // Sydney
        ] {
            let model = model(id);
            for (start, expected) in [(JANUARY_2026, january), (JULY_2026, july)] {
                // Many years, because a single month may deviate by three degrees.
                let years: Vec<f64> = (0..12)
                    .map(|year| mean(&model, start + year * 365 * DAY_S, 31, |m, t| m.air(t).temp))
                    .collect();
                let found = years.iter().sum::<f64>() / 12.0;
                assert!(
                    (found - expected).abs() < 3.0,
                    "{}: {found:.1}, not {expected}",
                    model.place.name
                );
            }
        }
    }

    #[test]
    fn afternoons_are_warmer_than_nights() {
        let paris = model(2_988_507);
        let at = |hour: i64| {
            (0..60)
                .map(|day| paris.air(JULY_2026 + day * DAY_S + hour * HOUR_S).temp)
                .sum::<f64>()
                / 60.0
        };
        assert!(at(15) - at(3) > 4.0, "{} {}", at(15), at(3));
    }

    #[test]
    fn rain_falls_in_july_and_snow_in_january_in_cold_places_only() {
        let share = |id, start, value: fn(&super::Air) -> f64| {
            mean(&model(id), start, 60, |m, t| {
                f64::from(u8::from(value(&m.air(t)) > 0.0))
            })
        };
        for (id, start, rain, snow) in [
            (2_988_507, JULY_2026, 0.04..0.25, 0.0..0.001),
            (3_133_895, JANUARY_2026, 0.0..0.25, 0.05..0.4),
            (2_147_714, JANUARY_2026, 0.02..0.25, 0.0..0.001),
        ] {
            let found = (
                share(id, start, |air| air.rain),
                share(id, start, |air| air.snow),
            );
            assert!(
                rain.contains(&found.0) && snow.contains(&found.1),
                "{id}: {found:?}"
            );
        }
    }

    #[test]
    fn values_keep_to_the_ranges_of_the_api() {
        for place in Place::all() {
            let model = Model::new(7, place.clone());
            for t in (JANUARY_2026..JANUARY_2026 + 365 * DAY_S).step_by(5_000) {
                let air = model.air(t);
                assert!(
                    (-45.0..45.0).contains(&air.temp),
                    "{}: {}",
                    place.name,
                    air.temp
                );
                assert!(
                    (-60.0..55.0).contains(&air.feels_like),
                    "{}",
                    air.feels_like
                );
                assert!((18.0..=100.0).contains(&air.humidity), "{}", air.humidity);
                assert!((960.0..1_060.0).contains(&air.pressure), "{}", air.pressure);
                assert!((0.0..=100.0).contains(&air.clouds), "{}", air.clouds);
                assert!((0.3..40.0).contains(&air.wind) && (0.0..360.0).contains(&air.wind_deg));
                assert!(air.gust.is_none_or(|gust| gust > air.wind));
                assert!((200.0..=10_000.0).contains(&air.visibility));
                assert!(air.rain == 0.0 || air.rain >= 0.1);
            }
        }
    }
}
