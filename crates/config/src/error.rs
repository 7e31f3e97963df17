//! What can be wrong with a configuration.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::origin::Origin;
use super::suggest::Hint;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not find the working directory")]
    WorkingDirectory {
        #[source]
        source: io::Error,
    },
    #[error("{problems}")]
    Refused { problems: Problems },
}

/// Everything that is wrong with one configuration; never empty.
#[derive(Debug)]
pub struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Problems {
    /// One line a problem. A list ends a chain of sources, so each line carries its own to the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
            let mut source = problem.source();
            while let Some(cause) = source {
                write!(f, ": {cause}")?;
                source = cause.source();
            }
        }
        Ok(())
    }
}

/// One thing that is wrong, with the place to mend it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("could not read the configuration file \"{}\"{named}", path.display())]
    ReadFile {
        path: PathBuf,
        named: NamedBy,
        #[source]
        source: io::Error,
    },
    /// Holds the parser's words instead of its error, which would print the line and a secret in
    /// it.
    #[error("{}:{line}:{column}: not TOML: {message}", path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
    #[error(".env:{line}: {fault}")]
    DotenvLine { line: usize, fault: DotenvFault },
    #[error("variable {name} is not UTF-8")]
    NotUnicode { name: String },
    #[error("{origin}: unknown section [{section}]; {hint}")]
    UnknownSection {
        origin: Origin,
        section: String,
        hint: Hint,
    },
    #[error("{origin}: unknown key \"{key}\"; {hint}")]
    UnknownKey {
        origin: Origin,
        key: String,
        hint: Hint,
    },
    #[error("{origin}: unknown variable; {hint}")]
    UnknownVariable { origin: Origin, hint: Hint },
    #[error("{origin}: \"{name}\" is a section, to be written [{name}] and once")]
    NotASection { origin: Origin, name: String },
    #[error("{origin}: {key} = {written}: expected {expected}{}", did_you_mean(*nearest))]
    WrongValue {
        origin: Origin,
        key: &'static str,
        written: String,
        expected: String,
        nearest: Option<&'static str>,
    },
    #[error("{origin}: {key} = \"{value}\": {fault}")]
    WrongPlace {
        origin: Origin,
        key: &'static str,
        value: String,
        fault: PlaceFault,
    },
    #[error(
        "{} = {} ({}) and {} = {} ({}) {relation}: tables and export files need directories \
         of their own; set one of the two to a directory outside the other",
        lake.key, lake.value, lake.origin, base.key, base.value, base.origin
    )]
    Overlap {
        lake: Box<Placed>,
        base: Box<Placed>,
        relation: Relation,
    },
    #[error("{first} and {second} both set {key}; keep one of them")]
    SetTwice {
        key: &'static str,
        first: Origin,
        second: Origin,
    },
    #[error("{origin}: could not read the file \"{}\" that holds {key}", path.display())]
    ReadSecret {
        origin: Origin,
        key: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{origin}: the file \"{}\" that should hold {key} is blank", path.display())]
    BlankSecret {
        origin: Origin,
        key: &'static str,
        path: PathBuf,
    },
    #[error(
        "{origin}: {key} is set, but not used with {decides} = {value} ({value_origin}); set {decides} ({variable}) to {values}, or take {key} away"
    )]
    Unused {
        origin: Origin,
        key: &'static str,
        /// The key that says whether it is used, and what it says.
        decides: &'static str,
        value: String,
        value_origin: Origin,
        /// What it would have to say.
        values: &'static str,
        variable: String,
    },
    #[error("{origin}: {key} = {value} needs {needs}; set it ({variable})")]
    Missing {
        origin: Origin,
        key: &'static str,
        value: String,
        needs: &'static str,
        variable: String,
    },
    #[error("{origin}: could not read the file \"{}\" that {key} names", path.display())]
    ReadPem {
        origin: Origin,
        key: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{origin}: the file \"{}\" that {key} names holds no {what} in PEM, which is text with a line `-----BEGIN …-----`; other formats are converted by `openssl`",
        path.display()
    )]
    NotPem {
        origin: Origin,
        key: &'static str,
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest
        .map(|name| format!("; did you mean \"{name}\"?"))
        .unwrap_or_default()
}

/// Who named the configuration file.
#[derive(Debug, Clone)]
pub(crate) enum NamedBy {
    Flag,
    Variable(Origin),
    /// Its name: it is where a configuration file usually is.
    Convention,
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str(" (flag --config)"),
            Self::Variable(origin) => write!(f, " ({origin})"),
            Self::Convention => Ok(()),
        }
    }
}

/// What is wrong with a line of `.env`. Its text is not repeated: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DotenvFault {
    #[error("expected NAME=value")]
    NotAnAssignment,
    #[error("the quote that begins here is not closed")]
    OpenQuote,
    #[error("text behind the closing quote")]
    BehindQuote,
    #[error(
        "`${{…}}` is not substituted here; write the value, or put it in single quotes to mean it literally"
    )]
    Substitution,
}

/// What is wrong with a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceFault {
    #[error("expected hdfs://host:port/path, file:///path or a path")]
    NotAnAddress,
    #[error("a file address names no host; write file:///{host}…")]
    FileHost { host: String },
    #[error("an address with a user, a `?` or a `#` is not a place; the user of HDFS is hdfs.user")]
    MoreThanAPlace,
    #[error("the root is not a place for data; name a directory below it")]
    Root,
    #[error("a path on HDFS begins with `/`")]
    RelativeOnHdfs,
    #[error("a path on HDFS cannot hold a colon")]
    Colon,
}

/// A place in TOML notation, and the key that put it there.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

/// How two places lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Same,
    LakeAround,
    BaseAround,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "are one directory",
            Self::LakeAround => "overlap, the second inside the first",
            Self::BaseAround => "overlap, the first inside the second",
        })
    }
}
