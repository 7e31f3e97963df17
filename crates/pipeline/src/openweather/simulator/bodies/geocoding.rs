//! `/geo/1.0/direct`: the coordinates of a name.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::openweather::simulator::places::Place;

#[derive(Serialize)]
pub(crate) struct GeocodingEntry {
    name: &'static str,
    local_names: BTreeMap<&'static str, &'static str>,
    lat: f64,
    lon: f64,
    country: &'static str,
    state: &'static str,
}

/// Coordinates of the geocoder differ slightly from those of the weather, and have more decimals.
pub(crate) fn geocoding(places: &[&Place]) -> Vec<GeocodingEntry> {
    let entry = |place: &&Place| GeocodingEntry {
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
