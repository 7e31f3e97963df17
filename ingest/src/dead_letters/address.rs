//! The name of a dead letter for people: the identity of its message, or file and line.

use std::fmt;
use std::str::FromStr;

use datafusion::logical_expr::{Expr, col, lit};

use crate::error::Error;

/// The name of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// `topic/partition/offset`.
    Message {
        topic: String,
        partition: i32,
        offset: i64,
    },
    /// `path:line`; the only name where the identity could not be read.
    Line { path: String, line: i64 },
}

impl Address {
    /// The condition that the rows with this address meet.
    pub(super) fn condition(&self) -> Expr {
        match self {
            Self::Message {
                topic,
                partition,
                offset,
            } => col("kafka_topic")
                .eq(lit(topic))
                .and(col("kafka_partition").eq(lit(*partition)))
                .and(col("kafka_offset").eq(lit(*offset))),
            Self::Line { path, line } => {
                let path = col("path").eq(lit(path));
                path.and(col("line").eq(lit(*line)))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message {
                topic,
                partition,
                offset,
            } => write!(f, "{topic}/{partition}/{offset}"),
            Self::Line { path, line } => write!(f, "{path}:{line}"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // The name of a topic has neither `/` nor `:`, so the two forms are unambiguous.
        let steps: Vec<_> = text.split('/').collect();
        if let [topic, partition, offset] = steps.as_slice()
            && !topic.is_empty()
            && let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse())
        {
            return Ok(Self::Message {
                topic: (*topic).to_owned(),
                partition,
                offset,
            });
        }
        if let Some((path, line)) = text.rsplit_once(':')
            && !path.is_empty()
            && let Ok(line) = line.parse()
        {
            return Ok(Self::Line {
                path: path.to_owned(),
                line,
            });
        }
        Err(Error::DeadLetterAddress {
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn address_is_an_identity_or_a_line() {
        let check = |text: &str, is_message: bool| {
            let address: Address = text.parse().expect(text);
            assert_eq!(matches!(address, Address::Message { .. }), is_message);
            assert_eq!(address.to_string(), text);
        };
        check("weather-api/0/1234", true);
        check(
            "hdfs://nn:8020/weather/dt=2026-01-15/weather_1.json:7",
            false,
        );
        check("/0/12:3", false);
        check("a/0/1.json:2", false);
        for wrong in [
            "",
            "weather-api",
            "weather-api/0",
            "a/b/c",
            "x.json:",
            ":4",
            "/0/12",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
