//! `/data/2.5/air_pollution`: the air quality now.

use serde::Serialize;

use super::{LonLat, slot};
use crate::openweather::simulator::model::Model;
use crate::openweather::simulator::pollution::{Components, components};

#[derive(Serialize)]
pub(crate) struct Body {
    coord: LonLat,
    list: [Entry; 1],
}

#[derive(Serialize)]
struct Entry {
    main: Main,
    components: Components,
    dt: i64,
}

#[derive(Serialize)]
struct Main {
    aqi: u8,
}

pub(crate) fn air_pollution(model: &Model, seconds: i64) -> Body {
    let (_, dt) = slot(model, seconds);
    let components = components(model, &model.air(dt), dt);
    let main = Main {
        aqi: components.index(),
    };
    Body {
        coord: LonLat::of(&model.place),
        list: [Entry {
            main,
            components,
            dt,
        }],
    }
}
