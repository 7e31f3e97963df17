//! Values: from what was written to what is meant, and back to TOML notation for people.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use chrono_tz::{TZ_VARIANTS, Tz};
use settings::{ByteSize, MASK, Secret};
use toml::de::DeValue;
use url::Url;

use super::nearest::nearest;

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// Strings; a variable separates them by `;`, because a city may be written `name,country`.
    Names,
    /// `host:port` pairs; a variable separates them by `,`, as Kafka's own tools do.
    Servers,
    Flag,
    Number {
        min: u64,
        max: u64,
    },
    Duration,
    Size,
    /// Also none at all: `0B`.
    SizeOrZero,
    Zone,
    Choice(&'static [&'static str]),
    /// A socket address to listen on.
    Address,
    /// `scheme://host[:port]` with one of these schemes and nothing behind it.
    Server(&'static [&'static str]),
    Secret,
}

/// What a layer says of a key, before it is checked.
#[derive(Clone, Copy)]
pub(crate) enum Raw<'a> {
    /// In a variable, a `.env` file or a flag: always text.
    Text(&'a str),
    /// In a TOML file: typed, and as it stands there.
    Toml {
        value: &'a DeValue<'a>,
        written: &'a str,
    },
}

/// Longest text of a wrong value that an error repeats.
const WRITTEN_MAX: usize = 80;

impl Raw<'_> {
    /// The value as an error shows it: as it was written, on one line, and never a secret.
    pub(crate) fn shown(self, kind: Kind) -> String {
        let text = match self {
            _ if matches!(kind, Kind::Secret) => return MASK.to_owned(),
            Self::Text(text) => quoted(text),
            Self::Toml { written, .. } => written.to_owned(),
        };
        let line = text.lines().next().unwrap_or_default();
        let mut shown: String = line.chars().take(WRITTEN_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown
    }
}

/// A checked value of one key.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    List(Vec<String>),
    Flag(bool),
    Number(u64),
    Duration(Duration),
    Size(ByteSize),
    Zone(Tz),
    Choice(&'static str),
    Address(SocketAddr),
    Url(Url),
    Secret(Secret),
}

/// A value that its kind does not take, with the one that was perhaps meant.
#[derive(Debug, Default)]
pub(crate) struct Mismatch {
    pub(crate) nearest: Option<&'static str>,
}

impl Kind {
    /// Reads what was written.
    pub(crate) fn check(self, raw: Raw<'_>) -> Result<Value, Mismatch> {
        match raw {
            Raw::Text(text) => self.parse(text),
            Raw::Toml { value, .. } => self.convert(value),
        }
    }

    /// Reads a text, as variables, flags and the table of keys hold it.
    pub(crate) fn parse(self, text: &str) -> Result<Value, Mismatch> {
        // A secret may well begin or end with a space.
        let trimmed = if matches!(self, Self::Secret) {
            text
        } else {
            text.trim()
        };
        match self {
            Self::Names => self.list(trimmed.split(';').map(str::trim)),
            Self::Servers => self.list(trimmed.split(',').map(str::trim)),
            Self::Flag => flag(trimmed).map(Value::Flag).ok_or_else(Mismatch::default),
            Self::Number { .. } => self.number(trimmed.parse().ok()),
            _ => self.string(trimmed),
        }
    }

    /// Takes a typed value from a TOML file; a number in quotes is not a number there.
    fn convert(self, value: &DeValue<'_>) -> Result<Value, Mismatch> {
        match (self, value) {
            (Self::Names | Self::Servers, DeValue::Array(items)) => {
                let items: Option<Vec<&str>> =
                    items.iter().map(|item| item.get_ref().as_str()).collect();
                self.list(items.ok_or_else(Mismatch::default)?.into_iter())
            }
            (Self::Flag, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
            (Self::Number { .. }, DeValue::Integer(digits)) => {
                self.number(u64::from_str_radix(digits.as_str(), digits.radix()).ok())
            }
            (Self::Names | Self::Servers | Self::Flag | Self::Number { .. }, _) => {
                Err(Mismatch::default())
            }
            (_, DeValue::String(text)) => self.string(text),
            _ => Err(Mismatch::default()),
        }
    }

    fn list<'a>(self, items: impl Iterator<Item = &'a str>) -> Result<Value, Mismatch> {
        let items: Vec<String> = items.map(str::to_owned).collect();
        let fits = |item: &String| match self {
            Self::Servers => is_host_and_port(item),
            _ => !item.trim().is_empty(),
        };
        if items.is_empty() || !items.iter().all(fits) {
            return Err(Mismatch::default());
        }
        Ok(Value::List(items))
    }

    fn number(self, number: Option<u64>) -> Result<Value, Mismatch> {
        match (self, number) {
            (Self::Number { min, max }, Some(number)) if (min..=max).contains(&number) => {
                Ok(Value::Number(number))
            }
            _ => Err(Mismatch::default()),
        }
    }

    /// Reads the kinds that are strings in a file too.
    fn string(self, text: &str) -> Result<Value, Mismatch> {
        let value = match self {
            Self::Text => nonblank(text).map(Value::Text),
            Self::Secret => nonblank(text).map(|text| Value::Secret(Secret::new(text))),
            Self::Duration => duration(text).map(Value::Duration),
            Self::Size => text
                .parse()
                .ok()
                .filter(|size| *size > ByteSize(0))
                .map(Value::Size),
            Self::SizeOrZero => text.parse().ok().map(Value::Size),
            Self::Address => text.parse().ok().map(Value::Address),
            Self::Server(schemes) => server(text, schemes).map(Value::Url),
            Self::Zone => return zone(text),
            Self::Choice(names) => return choice(text, names),
            Self::Names | Self::Servers | Self::Flag | Self::Number { .. } => None,
        };
        value.ok_or_else(Mismatch::default)
    }
}

fn nonblank(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.to_owned())
}

/// The spellings that scripts and compose files use.
fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// Timers overflow on absurd lengths, and none of ours waits for more than a year.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const DURATION_MIN: Duration = Duration::from_millis(1);

fn duration(text: &str) -> Option<Duration> {
    let duration = humantime::parse_duration(text).ok()?;
    (DURATION_MIN..=DURATION_MAX)
        .contains(&duration)
        .then_some(duration)
}

fn server(text: &str, schemes: &[&str]) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.contains("://"))?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let named = url.host_str().is_some_and(|host| !host.is_empty()) && url.port() != Some(0);
    (bare && named && schemes.contains(&url.scheme())).then_some(url)
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let named =
        !host.is_empty() && !host.contains(['/', ' ', '\t']) && (bracketed || !host.contains(':'));
    named && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn zone(text: &str) -> Result<Value, Mismatch> {
    let named = || TZ_VARIANTS.iter().map(|zone| zone.name());
    text.parse().map(Value::Zone).map_err(|_| {
        // People know the city and forget the continent.
        let city = || {
            let ending = format!("/{}", text.to_lowercase());
            named().find(|name| name.to_lowercase().ends_with(&ending))
        };
        Mismatch {
            nearest: nearest(text, named()).or_else(city),
        }
    })
}

fn choice(text: &str, names: &'static [&'static str]) -> Result<Value, Mismatch> {
    let found = names.iter().find(|name| **name == text);
    found
        .map(|name| Value::Choice(name))
        .ok_or_else(|| Mismatch {
            nearest: nearest(text, names.iter().copied()),
        })
}

/// The shape of a good value, as errors name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) kind: Kind,
    pub(crate) example: &'static str,
}

impl Expected {
    /// Names the shape in the notation in which the wrong value was written.
    pub(crate) fn describe(self, raw: Raw<'_>) -> String {
        let (kind, example) = (self.kind, self.example);
        match (kind, raw) {
            (Kind::Names, Raw::Text(_)) => format!("{kind} separated by `;`, such as {example}"),
            (Kind::Servers, Raw::Text(_)) => format!("{kind} separated by `,`, such as {example}"),
            (_, Raw::Text(_)) => format!("{kind}, such as {example}"),
            (Kind::Names | Kind::Servers, Raw::Toml { .. }) => {
                format!("a list of {kind}, such as {}", self.notation())
            }
            (_, Raw::Toml { .. }) => format!("{kind}, such as {}", self.notation()),
        }
    }

    /// The example as it stands in a TOML file.
    pub(crate) fn notation(self) -> String {
        match self.kind.parse(self.example) {
            Ok(Value::Secret(secret)) => quoted(secret.expose()),
            Ok(value) => value.to_string(),
            Err(Mismatch { .. }) => unreachable!("a test reads every example of the table"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text | Self::Secret => write!(f, "a string that is not blank"),
            Self::Names => write!(f, "one or more names"),
            Self::Servers => write!(f, "one or more host:port"),
            Self::Flag => write!(f, "true or false"),
            Self::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Duration => write!(f, "a duration from 1ms to 365days"),
            Self::Size => write!(
                f,
                "a size above zero with its unit (B, KiB, MiB, GiB, kB, MB, GB)"
            ),
            Self::SizeOrZero => write!(f, "a size with its unit, such as 512MiB, or 0B"),
            Self::Zone => write!(f, "the name of an IANA time zone"),
            Self::Choice(names) => write!(f, "one of {}", names.join(", ")),
            Self::Address => write!(f, "an IP address with a port"),
            Self::Server(schemes) => {
                write!(
                    f,
                    "an address scheme://host[:port] without a path, its scheme {}",
                    schemes.join(" or ")
                )
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Duration(duration) => write!(f, "\"{}\"", humantime::format_duration(*duration)),
            Self::Size(size) => write!(f, "\"{size}\""),
            Self::Zone(zone) => write!(f, "\"{zone}\""),
            Self::Choice(name) => write!(f, "\"{name}\""),
            Self::Address(address) => write!(f, "\"{address}\""),
            // A server's address ends in a slash that users leave out.
            Self::Url(url) => write!(f, "\"{}\"", url.as_str().trim_end_matches('/')),
            Self::Secret(secret) => write!(f, "\"{secret}\""),
        }
    }
}

/// A string in TOML notation, on one line.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)))
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Kind = Kind::Number {
        min: 1,
        max: 65_535,
    };
    const CHOICE: Kind = Kind::Choice(&["auto", "text"]);
    const HTTP: Kind = Kind::Server(&["http", "https"]);

    /// What a text means, in TOML notation, or the guess at what it should have been.
    fn read(kind: Kind, text: &str) -> Result<String, Option<&'static str>> {
        kind.parse(text)
            .map(|value| value.to_string())
            .map_err(|mismatch| mismatch.nearest)
    }

    #[test]
    fn texts_are_read_by_kind() {
        let check = |kind, text: &str, expect: &str| {
            assert_eq!(read(kind, text), Ok(expect.to_owned()), "{text}")
        };
        check(Kind::Text, " weather-api ", "\"weather-api\"");
        check(Kind::Text, "a\"b\\c\nd\u{7}", r#""a\"b\\c\nd\u0007""#);
        check(Kind::Names, "Paris", "[\"Paris\"]");
        check(
            Kind::Names,
            "Paris,FR; New York,US",
            "[\"Paris,FR\", \"New York,US\"]",
        );
        check(
            Kind::Servers,
            "a:1, [::1]:9092",
            "[\"a:1\", \"[::1]:9092\"]",
        );
        check(PORT, "65535", "65535");
        check(Kind::Duration, "90s", "\"1m 30s\"");
        check(Kind::Duration, "1ms", "\"1ms\"");
        check(Kind::Size, "1024KiB", "\"1MiB\"");
        check(Kind::SizeOrZero, "0B", "\"0B\"");
        check(Kind::Zone, "Europe/Paris", "\"Europe/Paris\"");
        check(CHOICE, "text", "\"text\"");
        check(Kind::Address, "[::1]:0", "\"[::1]:0\"");
        check(HTTP, "HTTP://NameNode:9870", "\"http://namenode:9870\"");
        check(Kind::Secret, " p ", "\"***\"");
        for yes in ["true", "True", "YES", "1"] {
            check(Kind::Flag, yes, "true");
        }
        for no in ["false", "FALSE", "no", "0"] {
            check(Kind::Flag, no, "false");
        }
    }

    #[test]
    fn what_a_kind_does_not_take_is_refused() {
        let check = |kind, texts: &[&str]| {
            for text in texts {
                assert_eq!(read(kind, text), Err(None), "{text}");
            }
        };
        check(Kind::Text, &["", "  "]);
        check(Kind::Secret, &["", "  "]);
        check(Kind::Names, &["", ";", "Paris;", "Paris; ;Lyon"]);
        check(
            Kind::Servers,
            &[
                "",
                "kafka",
                "kafka:",
                ":9092",
                "kafka:0",
                "kafka:65536",
                "a:1,",
                "::1:9092",
                "a b:1",
                "x://a:1",
            ],
        );
        check(Kind::Flag, &["", "on", "2", "tru"]);
        check(
            PORT,
            &[
                "",
                "0",
                "65536",
                "-1",
                "5432.0",
                "tcp://10.0.0.1:5432",
                "0x10",
            ],
        );
        check(
            Kind::Duration,
            &["", "0s", "10", "-1s", "1us", "366days", "soon"],
        );
        check(Kind::Size, &["", "0B", "10", "-1B"]);
        check(Kind::SizeOrZero, &["", "0", "-1B"]);
        check(Kind::Address, &["", "localhost:9464", "127.0.0.1", "9464"]);
        check(
            HTTP,
            &[
                "namenode:9870",
                "ftp://a",
                "http://",
                "http:a",
                "http://a/b",
                "http://a?b",
                "http://u:p@a",
                "http://a:0",
            ],
        );
        check(HTTP, &["http://a:9870;http://b:9870"]);
    }

    #[test]
    fn near_misses_are_recognised() {
        let check = |kind, text: &str, nearest: &'static str| {
            assert_eq!(read(kind, text), Err(Some(nearest)), "{text}")
        };
        check(Kind::Zone, "Europe/Pari", "Europe/Paris");
        check(Kind::Zone, "europe/paris", "Europe/Paris");
        check(Kind::Zone, "new_york", "America/New_York");
        check(CHOICE, "TEXT", "text");
        check(CHOICE, "atuo", "auto");
    }

    #[test]
    fn a_wrong_value_is_shown_on_one_line_and_a_secret_never() {
        let check = |kind, text: &str, shown: &str| {
            assert_eq!(Raw::Text(text).shown(kind), shown, "{text}")
        };
        check(Kind::Text, "a\nb", "\"a\\nb\"");
        check(
            Kind::Text,
            &"é".repeat(100),
            &format!("\"{}…", "é".repeat(79)),
        );
        check(Kind::Secret, "hunter2", "***");
        let value = DeValue::Boolean(true);
        let written = "[\n  1,\n]";
        assert_eq!(
            Raw::Toml {
                value: &value,
                written
            }
            .shown(Kind::Text),
            "[…"
        );
        assert_eq!(
            Raw::Toml {
                value: &value,
                written
            }
            .shown(Kind::Secret),
            "***"
        );
    }
}
