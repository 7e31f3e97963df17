//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from, as errors and `config show` name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// No layer set it.
    Default,
    /// A line of a TOML file.
    File { path: PathBuf, line: usize },
    /// A name in the `.env` file.
    Dotenv { name: String },
    /// A variable of the process.
    Variable { name: String },
    /// `--set key=value`.
    Flag,
    /// Another key implies it.
    Implied {
        by: &'static str,
        origin: Box<Origin>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Dotenv { name } => write!(f, ".env: {name}"),
            Self::Variable { name } => write!(f, "variable {name}"),
            Self::Flag => f.write_str("flag --set"),
            Self::Implied { by, origin } => write!(f, "implied by {by}, {origin}"),
        }
    }
}
