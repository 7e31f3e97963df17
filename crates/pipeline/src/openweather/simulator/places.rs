//! The places that the simulator knows, and open sea everywhere else.

use std::sync::LazyLock;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

/// A place, its climate, and what the API says about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// OpenWeather's id; 0 for a point that has no name.
    pub(crate) id: u64,
    /// English name.
    pub(crate) name: &'static str,
    /// French name.
    pub(crate) name_fr: &'static str,
    /// The name by which the API knows coordinates away from the centre.
    pub(crate) district: District,
    /// Other spellings, by language code.
    pub(crate) local_names: &'static [(&'static str, &'static str)],
    /// Country code of two letters.
    pub(crate) country: &'static str,
    /// State or region; empty for a place without one.
    pub(crate) state: &'static str,
    /// Degrees north of the centre.
    pub(crate) lat: f64,
    /// Degrees east of the centre.
    pub(crate) lon: f64,
    /// Height above sea level.
    pub(crate) elevation_m: f64,
    /// Time zone.
    pub(crate) zone: Tz,
    /// Inhabitants.
    pub(crate) population: u32,
    /// The API's number of the weather station; points without one have no `sys.type`.
    pub(crate) station: Option<u32>,
    /// Deviation from the climate of the latitude.
    pub(crate) climate: Climate,
}

/// A part of a place with its own id and name in the API: for the coordinates that the geocoder
/// returns for Paris, the API returns Palais-Royal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct District {
    /// OpenWeather's id of the district.
    pub(crate) id: u64,
    /// Name of the district.
    pub(crate) name: &'static str,
}

/// How the climate of a place differs from that of its latitude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Climate {
    /// °C above the mean of its latitude.
    pub(crate) warmth: f64,
    /// Factor on the difference between summer and winter: small by the sea, large inland.
    pub(crate) seasons: f64,
    /// Added to the probability of rain and snow.
    pub(crate) wet: f64,
    /// Factor on emissions.
    pub(crate) smog: f64,
}

/// A query for each known place. Two places are called London.
pub const CITIES: [&str; 8] = [
    "Paris",
    "London,GB",
    "Marseille",
    "Tromsø",
    "London,CA",
    "Sydney",
    "Kathmandu",
    "St. John's",
];

static PLACES: [Place; 8] = [
    Place {
        id: 2_988_507,
        name: "Paris",
        name_fr: "Paris",
        district: District {
            id: 6_545_270,
            name: "Palais-Royal",
        },
        local_names: &[("el", "Παρίσι"), ("ja", "パリ"), ("ru", "Париж")],
        country: "FR",
        state: "Ile-de-France",
        lat: 48.8534,
        lon: 2.3488,
        elevation_m: 42.0,
        zone: Tz::Europe__Paris,
        population: 2_138_551,
        station: Some(2_041_230),
        climate: Climate {
            warmth: 2.0,
            seasons: 1.0,
            wet: 0.0,
            smog: 1.2,
        },
    },
    Place {
        id: 2_643_743,
        name: "London",
        name_fr: "Londres",
        district: District {
            id: 2_643_741,
            name: "City of London",
        },
        local_names: &[("cs", "Londýn"), ("ja", "ロンドン"), ("ru", "Лондон")],
        country: "GB",
        state: "England",
        lat: 51.5085,
        lon: -0.1257,
        elevation_m: 25.0,
        zone: Tz::Europe__London,
        population: 8_961_989,
        station: Some(2_075_535),
        climate: Climate {
            warmth: 3.0,
            seasons: 0.8,
            wet: 0.06,
            smog: 1.2,
        },
    },
    Place {
        id: 2_995_469,
        name: "Marseille",
        name_fr: "Marseille",
        district: District {
            id: 6_454_924,
            name: "Noailles",
        },
        local_names: &[("oc", "Marselha"), ("it", "Marsiglia")],
        country: "FR",
        state: "Provence-Alpes-Côte d'Azur",
        lat: 43.2965,
        lon: 5.3698,
        elevation_m: 28.0,
        zone: Tz::Europe__Paris,
        population: 870_731,
        station: Some(6_512),
        climate: Climate {
            warmth: 1.5,
            seasons: 1.2,
            wet: -0.14,
            smog: 1.1,
        },
    },
    Place {
        id: 3_133_895,
        name: "Tromsø",
        name_fr: "Tromsø",
        district: District {
            id: 3_133_880,
            name: "Tromsdalen",
        },
        local_names: &[("ascii", "Tromso"), ("se", "Romsa"), ("ru", "Тромсё")],
        country: "NO",
        state: "Troms",
        lat: 69.6489,
        lon: 18.9551,
        elevation_m: 10.0,
        zone: Tz::Europe__Oslo,
        population: 52_436,
        station: Some(1_656),
        climate: Climate {
            warmth: 10.5,
            seasons: 0.75,
            wet: 0.12,
            smog: 0.4,
        },
    },
    Place {
        id: 6_058_560,
        name: "London",
        name_fr: "London",
        district: District {
            id: 6_058_561,
            name: "Old East Village",
        },
        local_names: &[],
        country: "CA",
        state: "Ontario",
        lat: 42.9834,
        lon: -81.233,
        elevation_m: 252.0,
        zone: Tz::America__Toronto,
        population: 346_765,
        station: None,
        climate: Climate {
            warmth: -4.0,
            seasons: 1.9,
            wet: 0.03,
            smog: 0.9,
        },
    },
    Place {
        id: 2_147_714,
        name: "Sydney",
        name_fr: "Sydney",
        district: District {
            id: 2_155_469,
            name: "Millers Point",
        },
        local_names: &[("ja", "シドニー"), ("ru", "Сидней")],
        country: "AU",
        state: "New South Wales",
        lat: -33.8679,
        lon: 151.2073,
        elevation_m: 39.0,
        zone: Tz::Australia__Sydney,
        population: 4_627_345,
        station: Some(9_600),
        climate: Climate {
            warmth: -0.5,
            seasons: 1.0,
            wet: -0.02,
            smog: 0.8,
        },
    },
    Place {
        id: 1_283_240,
        name: "Kathmandu",
        name_fr: "Katmandou",
        district: District {
            id: 1_283_190,
            name: "Thamel",
        },
        local_names: &[("ne", "काठमाडौं")],
        country: "NP",
        state: "Bagmati Province",
        lat: 27.7167,
        lon: 85.3167,
        elevation_m: 1_337.0,
        zone: Tz::Asia__Kathmandu,
        population: 1_442_271,
        station: None,
        climate: Climate {
            warmth: 4.5,
            seasons: 1.5,
            wet: -0.04,
            smog: 3.2,
        },
    },
    Place {
        id: 6_324_733,
        name: "St. John's",
        name_fr: "Saint-Jean de Terre-Neuve",
        district: District {
            id: 6_324_734,
            name: "Quidi Vidi",
        },
        local_names: &[],
        country: "CA",
        state: "Newfoundland and Labrador",
        lat: 47.5649,
        lon: -52.7093,
        elevation_m: 54.0,
        zone: Tz::America__St_Johns,
        population: 108_860,
        station: Some(690),
        climate: Climate {
            warmth: -4.5,
            seasons: 1.2,
            wet: 0.1,
            smog: 0.4,
        },
    },
];

/// Places by spelling, in lower case. Each spelling of a place occurs once.
static SPELLINGS: LazyLock<Vec<(String, &'static Place)>> = LazyLock::new(|| {
    let mut spellings = Vec::new();
    for place in &PLACES {
        let locals = place.local_names.iter().map(|(_, name)| *name);
        let mut names: Vec<String> = [place.name, place.name_fr]
            .into_iter()
            .chain(locals)
            .map(str::to_lowercase)
            .collect();
        names.dedup();
        spellings.extend(names.into_iter().map(|name| (name, place)));
    }
    spellings
});

impl Place {
    pub(crate) fn all() -> &'static [Self] {
        &PLACES
    }

    #[cfg(test)]
    pub(crate) fn by_id(id: u64) -> Option<&'static Self> {
        PLACES.iter().find(|place| place.id == id)
    }

    /// Places for `name`, `name,country` or `name,state,country`, the largest first.
    pub(crate) fn search(query: &str) -> Vec<&'static Self> {
        let parts: Vec<String> = query
            .split(',')
            .map(|part| part.trim().to_lowercase())
            .collect();
        let (name, state, country) = match &parts[..] {
            [name] => (name, None, None),
            [name, country] => (name, None, Some(country)),
            [name, state, country] => (name, Some(state), Some(country)),
            _ => return Vec::new(),
        };
        let is = |wanted: Option<&String>, found: &str| {
            wanted.is_none_or(|w| *w == found.to_lowercase())
        };
        SPELLINGS
            .iter()
            .filter(|(spelling, _)| spelling == name)
            .map(|(_, place)| *place)
            .filter(|place| is(state, place.state) && is(country, place.country))
            .collect()
    }

    /// The known place within about thirty kilometres.
    pub(crate) fn near(lat: f64, lon: f64) -> Option<&'static Self> {
        let is_near =
            |place: &&Self| (place.lat - lat).abs() <= 0.3 && (place.lon - lon).abs() <= 0.3;
        PLACES.iter().find(is_near)
    }

    /// Whether the API returns the place at these coordinates, and not its district: within about a
    /// kilometre of the centre.
    pub(crate) fn has_its_centre_at(&self, lat: f64, lon: f64) -> bool {
        (self.lat - lat).abs() <= 0.01 && (self.lon - lon).abs() <= 0.01
    }

    /// The same place by the name of its district.
    pub(crate) fn as_district(&self) -> Self {
        let District { id, name } = self.district;
        Self {
            id,
            name,
            name_fr: name,
            ..self.clone()
        }
    }

    /// A nameless point.
    pub(crate) fn at_sea(lat: f64, lon: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "-12..=12")]
        let hours_east = (lon / 15.0).round() as i64;
        // The signs of these zones are inverted: Etc/GMT-2 is two hours east.
        let zone = format!("Etc/GMT{:+}", -hours_east)
            .parse()
            .unwrap_or(Tz::UTC);
        Self {
            id: 0,
            name: "",
            name_fr: "",
            district: District { id: 0, name: "" },
            local_names: &[],
            country: "",
            state: "",
            lat,
            lon,
            elevation_m: 0.0,
            zone,
            population: 0,
            station: None,
            climate: Climate {
                warmth: 2.0,
                seasons: 0.5,
                wet: 0.05,
                smog: 0.2,
            },
        }
    }

    /// Seconds east of UTC at an instant.
    pub(crate) fn utc_offset_s(&self, seconds: i64) -> i64 {
        let Some(at) = DateTime::from_timestamp(seconds, 0) else {
            return 0;
        };
        self.zone
            .offset_from_utc_datetime(&at.naive_utc())
            .fix()
            .local_minus_utc()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::{CITIES, Place};

    #[test]
    fn known_place_is_found_by_its_query() {
        let found: Vec<u64> = CITIES
            .iter()
            .map(|city| Place::search(city)[0].id)
            .collect();
        let all: Vec<u64> = Place::all().iter().map(|place| place.id).collect();
        assert_eq!(found, all);
    }

    #[test]
    fn place_is_found_by_any_spelling_and_country() {
        for (query, expected) in [
            ("london", vec!["GB", "CA"]),
            ("LONDON, ca", vec!["CA"]),
            ("London,Ontario,CA", vec!["CA"]),
            ("Londres", vec!["GB"]),
            ("tromso", vec!["NO"]),
            ("Παρίσι", vec!["FR"]),
            ("Paris", vec!["FR"]),
            ("Paris,US", vec![]),
            ("Atlantis", vec![]),
            ("a,b,c,d", vec![]),
        ] {
            let found: Vec<&str> = Place::search(query)
                .iter()
                .map(|place| place.country)
                .collect();
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn point_belongs_to_nearby_place() {
        for (lat, lon, expected) in [
            (48.86, 2.32, Some("Paris")),
            (49.2, 2.32, None),
            (51.5, -0.1, Some("London")),
            (0.0, -30.0, None),
        ] {
            assert_eq!(
                Place::near(lat, lon).map(|place| place.name),
                expected,
                "{lat} {lon}"
            );
        }
    }

    #[test]
    fn point_at_sea_has_zone_of_its_meridian() {
        for (lon, hours) in [(-30.0, -2), (179.0, 12), (-179.0, -12), (5.0, 0)] {
            let sea = Place::at_sea(0.0, lon);
            assert_eq!(sea.utc_offset_s(1_767_225_600), hours * 3_600, "{lon}");
        }
    }
}
