//! Air pollution, by traffic, heating, sun and rain.

use serde::Serialize;

use super::bodies::ApiNumber;
use super::model::{Air, DAY_S, Model};
use super::noise::Channel;

/// Concentrations in µg/m³, in the API's order.
#[derive(Debug, Serialize)]
pub(crate) struct Components {
    co: ApiNumber,
    no: ApiNumber,
    no2: ApiNumber,
    o3: ApiNumber,
    so2: ApiNumber,
    pm2_5: ApiNumber,
    pm10: ApiNumber,
    nh3: ApiNumber,
}

impl Components {
    /// The air-quality index: the worst class of the rated components, from 1 to 5, by the lower
    /// bounds that the API documents for classes 2 to 5.
    pub(crate) fn index(&self) -> u8 {
        let classes = [
            (self.so2, [20.0, 80.0, 250.0, 350.0]),
            (self.no2, [40.0, 70.0, 150.0, 200.0]),
            (self.pm10, [20.0, 50.0, 100.0, 200.0]),
            (self.pm2_5, [10.0, 25.0, 50.0, 75.0]),
            (self.o3, [60.0, 100.0, 140.0, 180.0]),
            (self.co, [4_400.0, 9_400.0, 12_400.0, 15_400.0]),
        ];
        let class = |(found, bounds): (ApiNumber, [f64; 4])| {
            1 + bounds
                .into_iter()
                .map(|bound| u8::from(found.value() >= bound))
                .sum::<u8>()
        };
        classes.into_iter().map(class).max().unwrap_or(1)
    }
}

pub(crate) fn components(model: &Model, air: &Air, seconds: i64) -> Components {
    let rush = rush_hour(seconds + model.place.utc_offset_s(seconds));
    let heating = ((15.0 - air.temp) / 15.0).clamp(0.0, 1.5);
    let stagnation = 1.0 / (0.4 + 0.22 * air.wind);
    let washout = 1.0 / (1.0 + 0.7 * (air.rain + air.snow));
    let days = 1.0 + 0.4 * model.noise.wave(Channel::Smog, seconds, 30 * 3_600);
    let people = model.place.climate.smog * stagnation * days;
    let no2 = people * (8.0 + 26.0 * rush + 6.0 * heating);
    let fine = people * washout * (5.0 + 5.0 * rush + 8.0 * heating);
    let sunshine = air.sun.height.max(0.0) * (1.0 - 0.5 * air.clouds / 100.0);
    Components {
        co: ApiNumber::new(190.0 + people * (70.0 + 160.0 * rush + 90.0 * heating)),
        no: ApiNumber::new((no2 * (0.4 * rush - 0.05)).max(0.0)),
        no2: ApiNumber::new(no2),
        // Sunlight forms ozone, and fresh exhaust consumes it.
        o3: ApiNumber::new((48.0 + 70.0 * sunshine - 0.8 * no2).max(0.0)),
        so2: ApiNumber::new(people * (1.5 + 1.5 * heating)),
        pm2_5: ApiNumber::new(fine),
        pm10: ApiNumber::new(fine * 1.4 + washout * (2.0 + 0.5 * air.wind)),
        nh3: ApiNumber::new(people * (1.0 + 0.05 * air.temp.max(0.0))),
    }
}

/// Traffic, from 0 at night to 1 in the rush hour, and less at weekends. `local_s` are local
/// seconds since 1970-01-01, a Thursday.
fn rush_hour(local_s: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a day has few seconds")]
    let hour = local_s.rem_euclid(DAY_S) as f64 / 3_600.0;
    let peak = |at: f64, width: f64| (-((hour - at) / width).powi(2)).exp();
    let is_weekend = (local_s.div_euclid(DAY_S) + 3).rem_euclid(7) >= 5;
    let day = if (6.0..22.0).contains(&hour) {
        0.2
    } else {
        0.0
    };
    (peak(8.0, 1.4) + 0.9 * peak(18.5, 1.9) + day).min(1.0) * if is_weekend { 0.5 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::{Components, components, rush_hour};
    use crate::openweather::simulator::bodies::ApiNumber;
    use crate::openweather::simulator::model::{DAY_S, Model};
    use crate::openweather::simulator::places::Place;

    const MONDAY_2026: i64 = 1_767_571_200; // 2026-01-05
    const CLEAN: [f64; 8] = [200.0, 0.0, 10.0, 40.0, 2.0, 5.0, 10.0, 1.0];

    fn of([co, no, no2, o3, so2, pm2_5, pm10, nh3]: [f64; 8]) -> Components {
        let [co, no, no2, o3, so2, pm2_5, pm10, nh3] =
            [co, no, no2, o3, so2, pm2_5, pm10, nh3].map(ApiNumber::new);
        Components {
            co,
            no,
            no2,
            o3,
            so2,
            pm2_5,
            pm10,
            nh3,
        }
    }

    #[test]
    fn index_is_class_of_worst_component() {
        for (component, value, index) in [
            (0, 200.0, 1),
            (0, 4_400.0, 2),
            (1, 900.0, 1), // not rated
            (2, 39.99, 1),
            (2, 40.0, 2),
            (2, 69.99, 2),
            (3, 100.0, 3),
            (4, 250.0, 4),
            (5, 74.99, 4),
            (5, 75.0, 5),
            (6, 200.0, 5),
            (7, 900.0, 1), // not rated
        ] {
            let mut values = CLEAN;
            values[component] = value;
            assert_eq!(of(values).index(), index, "component {component} = {value}");
        }
    }

    #[test]
    fn people_drive_on_weekday_mornings() {
        let eight = 8 * 3_600;
        assert!(rush_hour(MONDAY_2026 + eight) > 0.99);
        assert!(rush_hour(MONDAY_2026 + 3 * 3_600) < 0.01);
        assert!(rush_hour(MONDAY_2026 + 5 * DAY_S + eight) < 0.6);
    }

    #[test]
    fn air_is_good_at_times_and_bad_at_times_and_worse_where_smog_is() {
        let mean = |id| {
            let model = Model::new(1, Place::by_id(id).expect("a known place").clone());
            let times = (MONDAY_2026..MONDAY_2026 + 60 * DAY_S).step_by(3_600);
            let indices: Vec<u8> = times
                .map(|t| components(&model, &model.air(t), t).index())
                .collect();
            assert!(
                indices.iter().any(|index| *index != indices[0]),
                "{id}: always {}",
                indices[0]
            );
            indices.iter().map(|index| f64::from(*index)).sum::<f64>() / 1_440.0
        };
        let (tromso, paris, kathmandu) = (mean(3_133_895), mean(2_988_507), mean(1_283_240));
        assert!(
            tromso < paris && paris < kathmandu,
            "{tromso} {paris} {kathmandu}"
        );
    }
}
