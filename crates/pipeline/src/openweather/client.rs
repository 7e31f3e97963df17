//! A client of the API: requests what one message needs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::{Stream, StreamExt, stream, try_join};
use serde::Deserialize;

use super::assemble::{Bodies, Observation, assemble};
use super::body::{self, BodyError, Section};
use super::city::{City, Coordinates, Form};
use super::error::{Call, Endpoint, Error};
use super::options::{Options, Units};
use super::transport::{CallCounters, Transport};

type Query = Vec<(&'static str, String)>;

/// A client for one account. Share it: the rate limit and the cached coordinates belong to the
/// client.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    units: Units,
    language: String,
    cities_at_once: usize,
    /// Coordinates by spelling of the city. Cached for ever, since a lookup costs calls of the
    /// plan.
    located: Mutex<HashMap<String, Coordinates>>,
}

/// An entry of the geocoder's answer.
#[derive(Deserialize)]
struct GeocoderEntry {
    lat: f64,
    lon: f64,
}

#[derive(Deserialize)]
struct WithCoordinates {
    coord: GeocoderEntry,
}

impl Client {
    pub fn new(options: Options) -> Result<Self, Error> {
        Ok(Self {
            units: options.units,
            language: options.language.clone(),
            cities_at_once: options.cities_at_once.max(1),
            located: Mutex::default(),
            transport: Transport::new(options)?,
        })
    }

    /// Metrics of the calls.
    pub fn counters(&self) -> &CallCounters {
        self.transport.counters()
    }

    /// Observes each city. Results arrive in the order of completion, and the failure of one city
    /// does not stop the others. The iterator advances when one of the concurrent requests is done.
    pub fn observe_all<'a, Cities>(
        &'a self,
        cities: Cities,
    ) -> impl Stream<Item = (&'a City, Result<Observation, Error>)> + Send + 'a
    where
        Cities: IntoIterator<Item = &'a City, IntoIter: Send + 'a>,
    {
        stream::iter(cities)
            .map(move |city| async move { (city, self.observe(city).await) })
            .buffer_unordered(self.cities_at_once)
    }

    /// Locates the city, unless its coordinates are cached, and fetches its three bodies in
    /// parallel.
    pub async fn observe(&self, city: &City) -> Result<Observation, Error> {
        let at = self.locate(city).await?;
        let (weather, forecast, air_pollution) = try_join!(
            self.weather(city, at),
            self.forecast(city, at),
            self.air_pollution(city, at)
        )?;
        assemble(Bodies {
            weather,
            forecast,
            air_pollution,
        })
        .map_err(|source| {
            let call = Call {
                endpoint: Endpoint::Weather,
                city: city.clone(),
            };
            Error::UnexpectedBody { call, source }
        })
    }

    async fn locate(&self, city: &City) -> Result<Coordinates, Error> {
        match &city.0 {
            Form::Coordinates(at) => Ok(*at),
            Form::Id(id) => self.cached(city, self.look_up(city, *id)).await,
            Form::Name(name) => self.cached(city, self.geocode(city, name)).await,
        }
    }

    async fn cached(
        &self,
        city: &City,
        search: impl Future<Output = Result<Coordinates, Error>>,
    ) -> Result<Coordinates, Error> {
        let located = || self.located.lock().unwrap_or_else(PoisonError::into_inner);
        let spelling = city.to_string();
        if let Some(at) = located().get(&spelling) {
            return Ok(*at);
        }
        let at = search.await?;
        located().insert(spelling, at);
        Ok(at)
    }

    async fn geocode(&self, city: &City, name: &str) -> Result<Coordinates, Error> {
        let mut query = by_name(name);
        query.push(("limit", "1".to_owned()));
        let found: Vec<GeocoderEntry> = self
            .call(Endpoint::Geocoding, city, query, |text| body::parse(&text))
            .await?;
        let first = found
            .first()
            .ok_or_else(|| Error::UnknownCity { city: city.clone() })?;
        Ok(Coordinates {
            lat: first.lat,
            lon: first.lon,
        })
    }

    /// Locates a city by its id, which the geocoder does not support and the current weather does.
    async fn look_up(&self, city: &City, id: u64) -> Result<Coordinates, Error> {
        let found: WithCoordinates = self
            .call(Endpoint::Weather, city, by_id(id), |text| {
                body::parse(&text)
            })
            .await?;
        Ok(Coordinates {
            lat: found.coord.lat,
            lon: found.coord.lon,
        })
    }

    /// Requests the weather as the user named the city, since the API may return another id for its
    /// coordinates: for those of Paris it returns Palais-Royal, and a series of weather belongs to
    /// an id. Coordinates are the fallback for a name that only the geocoder knows.
    async fn weather(&self, city: &City, at: Coordinates) -> Result<Section, Error> {
        match &city.0 {
            Form::Id(id) => self.current(city, by_id(*id)).await,
            Form::Coordinates(at) => self.current(city, by_coordinates(*at)).await,
            Form::Name(name) => match self.current(city, by_name(name)).await {
                Err(Error::UnknownCity { .. }) => self.current(city, by_coordinates(at)).await,
                result => result,
            },
        }
    }

    async fn current(&self, city: &City, mut query: Query) -> Result<Section, Error> {
        query.push(("units", self.units.as_str().to_owned()));
        self.call(Endpoint::Weather, city, query, Section::object)
            .await
    }

    async fn forecast(&self, city: &City, at: Coordinates) -> Result<Section, Error> {
        let mut query = by_coordinates(at);
        query.push(("units", self.units.as_str().to_owned()));
        query.push(("lang", self.language.clone()));
        self.call(Endpoint::Forecast, city, query, Section::with_list)
            .await
    }

    async fn air_pollution(&self, city: &City, at: Coordinates) -> Result<Section, Error> {
        self.call(
            Endpoint::AirPollution,
            city,
            by_coordinates(at),
            Section::with_list,
        )
        .await
    }

    async fn call<T>(
        &self,
        endpoint: Endpoint,
        city: &City,
        query: Query,
        read: fn(String) -> Result<T, BodyError>,
    ) -> Result<T, Error> {
        let call = Call {
            endpoint,
            city: city.clone(),
        };
        self.transport.call(&call, &query, read).await
    }
}

fn by_name(name: &str) -> Query {
    vec![("q", name.to_owned())]
}

fn by_id(id: u64) -> Query {
    vec![("id", id.to_string())]
}

fn by_coordinates(at: Coordinates) -> Query {
    vec![("lat", at.lat.to_string()), ("lon", at.lon.to_string())]
}
