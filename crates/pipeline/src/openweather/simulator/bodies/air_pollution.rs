//! `/data/2.5/air_pollution`: the air quality now.

use serde::Serialize;

use super::{LonLat, slot};
use crate::openweather::simulator::model::Model;
use crate::openweather::simulator::pollution::{Components, components};

#[derive(Serialize)]
pub(crate) struct AirPollutionBody {
    coord: LonLat,
    list: [AirPollutionEntry; 1],
}

#[derive(Serialize)]
struct AirPollutionEntry {
    main: AirQuality,
    components: Components,
    dt: i64,
}

#[derive(Serialize)]
struct AirQuality {
    aqi: u8,
}

pub(crate) fn air_pollution(model: &Model, seconds: i64) -> AirPollutionBody {
    let (_, dt) = slot(model, seconds);
    let components = components(model, &model.air(dt), dt);
    let main = AirQuality {
        aqi: components.index(),
    };
    AirPollutionBody {
        coord: LonLat::of(&model.place),
        list: [AirPollutionEntry {
            main,
            components,
            dt,
        }],
    }
}
