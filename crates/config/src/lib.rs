//! The layered configuration: one file `isobar.toml`, variables, flags.
//!
//! This is the only crate that reads the environment. [`load`] turns what was written in any layer
//! into a [`Config`] in which everything is checked, and remembers for every key where its value
//! came from. It opens no connection and looks at no place: whether HDFS is there is not known
//! here.
//!
//! `keys` is the table that all else follows: `layers` collects values by it (`dotenv` and `file`
//! read the files), `value` checks each by its kind, `places` and `kafka` check those that belong
//! together, `checked` hands them on.

mod checked;
mod choices;
mod error;
mod example;
mod kafka;
mod keys;
mod layers;
mod nearest;
mod origin;
mod places;
mod suggest;
mod value;
mod values;

pub use checked::{
    Config, Consume, Export, HBase, Hdfs, Lake, Land, Log, OpenWeather, Postgres, Produce, Queries,
    Query, Run, Schedule, Serve, Sql, Time,
};
pub use choices::{Compression, LogFormat, SslMode, Units};
pub use error::{Error, Problems};
pub use example::example;
pub use kafka::Kafka;
pub use origin::Origin;

use keys::KEYS;
use layers::Layers;
pub use layers::Sources;
use value::Value;
use values::Values;

/// The configuration file that is read unless a flag or a variable names another.
pub const FILE_NAME: &str = "isobar.toml";

/// A configuration, and where each value of it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// One a key, in the order of the example file.
    pub settings: Vec<Setting>,
}

/// One key's value for people to read.
#[derive(Debug, Clone)]
pub struct Setting {
    /// `section.key`.
    pub key: &'static str,
    /// In TOML notation, a secret as `"***"`; none when the key is not set.
    pub value: Option<String>,
    pub origin: Origin,
}

/// Loads the configuration, or says everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Loaded, Error> {
    let Layers {
        mut values,
        mut problems,
    } = Layers::read(sources);
    values.fill();
    // These are compared with each other, so only when each of them is right.
    if problems.is_empty() {
        problems.extend(places::resolve(&mut values, &sources.directory).err());
        problems.extend(kafka::check(&values, &sources.directory));
    }
    if !problems.is_empty() {
        return Err(Error::Refused {
            problems: Problems(problems),
        });
    }
    let settings = settings(&values);
    Ok(Loaded {
        config: Config::new(values, &sources.directory),
        settings,
    })
}

fn settings(values: &Values) -> Vec<Setting> {
    let setting = |key: &keys::Key| {
        let entry = values.entry(key.name);
        Setting {
            key: key.name,
            value: entry.value.as_ref().map(Value::to_string),
            origin: entry.origin.clone(),
        }
    };
    KEYS.iter().map(setting).collect()
}

#[cfg(test)]
mod tests;
