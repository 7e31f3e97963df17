//! `/geo/1.0/direct`: where a name lies.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::openweather::simulator::places::Place;

#[derive(Serialize)]
pub(crate) struct Entry {
    name: &'static str,
    local_names: BTreeMap<&'static str, &'static str>,
    lat: f64,
    lon: f64,
    country: &'static str,
    state: &'static str,
}

/// The geocoder has its own idea of where a city's middle is, with more decimals than needed.
pub(crate) fn geocoding(places: &[&Place]) -> Vec<Entry> {
    let entry = |place: &&Place| Entry {
        name: place.name,
        local_names: [("en", place.name), ("fr", place.name_fr)]
            .into_iter()
            .chain(place.local_names.iter().copied())
            .collect(),
        lat: place.lat + 0.005_489_7,
        lon: place.lon - 0.028_759_978_278_323_4,
        country: place.country,
        state: place.state,
    };
    places.iter().map(entry).collect()
}
