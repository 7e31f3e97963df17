//! Rows on standard output, as a table, as CSV or as JSON Lines.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches_with_schema;
use clap::ValueEnum;
use engine::output::{json, text};

use crate::output::Output;

/// The format of printed rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A grid for people
    #[default]
    Table,
    /// Comma-separated values under a line of names
    Csv,
    /// One JSON object a line
    Json,
}

/// Rows that a table prints unless `--all-rows` is given. It is held in memory, because its layout
/// depends on the widest cell.
pub(crate) const TABLE_ROWS: usize = 10_000;

/// Prints the batches of one result as they arrive.
#[derive(Debug)]
pub(crate) struct Printer {
    format: Format,
    schema: SchemaRef,
    /// The batches of a table, which is printed at the end.
    held: Vec<RecordBatch>,
    rows: usize,
    rows_max: usize,
}

/// Whether the printer takes more batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    More,
    /// The table is full, and further rows are not printed.
    Enough,
}

impl Printer {
    /// `table_rows_max` limits tables alone; the other formats stream.
    pub(crate) fn new(format: Format, schema: SchemaRef, table_rows_max: usize) -> Self {
        Self {
            format,
            schema,
            held: Vec::new(),
            rows: 0,
            rows_max: match format {
                Format::Table => table_rows_max,
                Format::Csv | Format::Json => usize::MAX,
            },
        }
    }

    pub(crate) fn begin(&self, out: &mut Output) -> anyhow::Result<()> {
        if self.format == Format::Csv {
            // An empty batch prints the header, so that an empty result has it too.
            self.csv(
                true,
                &RecordBatch::new_empty(SchemaRef::clone(&self.schema)),
                out,
            )?;
        }
        Ok(())
    }

    pub(crate) fn batch(
        &mut self,
        batch: &RecordBatch,
        out: &mut Output,
    ) -> anyhow::Result<Wanted> {
        let remaining = self.rows_max - self.rows;
        let batch = batch.slice(0, batch.num_rows().min(remaining));
        let is_full = batch.num_rows() == remaining && self.rows_max != usize::MAX;
        self.rows += batch.num_rows();
        match self.format {
            Format::Table => self.held.push(printed(&batch)?),
            Format::Csv => self.csv(false, &batch, out)?,
            Format::Json => json(&batch, out)?,
        }
        Ok(if is_full {
            Wanted::Enough
        } else {
            Wanted::More
        })
    }

    /// Prints a table, and returns the number of printed rows.
    pub(crate) fn end(self, out: &mut Output) -> anyhow::Result<usize> {
        if self.format == Format::Table {
            out.line(pretty_format_batches_with_schema(self.schema, &self.held)?)?;
        }
        out.flush()?;
        Ok(self.rows)
    }

    fn csv(&self, names: bool, batch: &RecordBatch, out: &mut Output) -> anyhow::Result<()> {
        let mut text = Vec::new();
        csv::WriterBuilder::new()
            .with_header(names)
            .build(&mut text)
            .write(&printed(batch)?)?;
        out.write(|out| std::io::Write::write_all(out, &text))
    }
}

fn json(batch: &RecordBatch, out: &mut Output) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    json::write_lines(batch, &mut lines)?;
    out.write(|out| std::io::Write::write_all(out, &lines))
}

/// Converts `batch` to the texts that a table and CSV print.
fn printed(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let pairs = batch.schema_ref().fields().iter().zip(batch.columns());
    let columns = pairs.clone().map(|(field, column)| {
        let texts = text::texts(field.name(), column)?;
        Ok(Arc::new(texts) as ArrayRef)
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    let fields = pairs.map(|(field, _)| Field::new(field.name(), DataType::Utf8, true));
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &rows)
}

/// Prints a whole result.
pub(crate) fn print(format: Format, batch: &RecordBatch, out: &mut Output) -> anyhow::Result<()> {
    let mut printer = Printer::new(format, batch.schema(), usize::MAX);
    printer.begin(out)?;
    printer.batch(batch, out)?;
    printer.end(out)?;
    Ok(())
}
