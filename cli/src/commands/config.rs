//! `isobar config`: the configuration and the origins of its values.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::{Subcommand, ValueEnum};

use crate::app::App;
use crate::format;
use crate::output::Output;
use crate::text::Listing;

/// Show the configuration
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Config {
    /// Print the value and the origin of every key; secrets as ***
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        #[arg(long, value_enum, default_value_t)]
        format: Layout,
    },
    /// Print a commented file with every key and its default
    #[command(after_help = EXAMPLE_EXAMPLES)]
    Example,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar config show
  isobar config example > isobar.toml";

const SHOW_EXAMPLES: &str = "\
EXAMPLES:
  isobar config show
  isobar --config other.toml config show
  isobar config show --format json | jq -r 'select(.origin != \"default\")'";

const EXAMPLE_EXAMPLES: &str = "\
EXAMPLES:
  isobar config example > isobar.toml";

/// The format of printed settings
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// Aligned columns
    #[default]
    Table,
    /// One JSON object a line
    Json,
}

impl Config {
    pub(crate) fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::Show { format } => show(app, *format, out),
            Self::Example => example(out),
        }
    }
}

pub(crate) fn example(out: &mut Output) -> anyhow::Result<()> {
    out.print(::config::example())?;
    out.flush()
}

fn show(app: &App, layout: Layout, out: &mut Output) -> anyhow::Result<()> {
    let settings = &app.settings;
    match layout {
        Layout::Table => {
            let mut listing = Listing::new(["key", "value", "origin"]);
            for setting in settings {
                listing.row([
                    setting.key.to_owned(),
                    setting.value.clone().unwrap_or_else(|| "-".to_owned()),
                    setting.origin.to_string(),
                ]);
            }
            out.print(listing)
        }
        Layout::Json => {
            let keys: StringArray = settings.iter().map(|setting| Some(setting.key)).collect();
            let values: StringArray = settings
                .iter()
                .map(|setting| setting.value.clone())
                .collect();
            let origins = settings
                .iter()
                .map(|setting| Some(setting.origin.to_string()));
            let origins: StringArray = origins.collect();
            let batch = RecordBatch::try_from_iter_with_nullable([
                ("key", Arc::new(keys) as ArrayRef, false),
                ("value", Arc::new(values), true),
                ("origin", Arc::new(origins), false),
            ])?;
            format::print(format::Format::Json, &batch, out)
        }
    }
}
