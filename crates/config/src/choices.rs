//! Values that are one of a few names.

/// Units of measurement, as the OpenWeather API names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    Standard,
    Metric,
    Imperial,
}

impl Units {
    pub(crate) const NAMES: &'static [&'static str] = &["standard", "metric", "imperial"];

    /// The value of the API's parameter `units`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Metric => "metric",
            Self::Imperial => "imperial",
        }
    }
}

/// How messages are compressed, as Kafka names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
    Lz4,
    None,
}

impl Compression {
    pub(crate) const NAMES: &'static [&'static str] = &["gzip", "zstd", "lz4", "none"];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::None => "none",
        }
    }
}

/// How connections to PostgreSQL are protected, in the words of its own clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyFull,
}

impl SslMode {
    pub(crate) const NAMES: &'static [&'static str] =
        &["disable", "prefer", "require", "verify-full"];
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON lines elsewhere.
    Auto,
    Text,
    Json,
}

impl LogFormat {
    pub(crate) const NAMES: &'static [&'static str] = &["auto", "text", "json"];
}
