//! The outputs of a query: where the rows of a run go.
//!
//! A header declares [`Outputs`]. A run asks each [`Output`] the same questions, and every answer
//! is a match over all kinds: a new kind is a variant, and the compiler then names what it has to
//! answer.

pub(crate) mod hbase;
pub(crate) mod jsonl;
mod table;

use std::fmt;

use serde::Deserialize;

pub use self::hbase::{HbaseOutput, HbaseTarget};
pub use self::jsonl::JsonlOutput;
pub use self::table::TableOutput;

/// The outputs that a header declares, by kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    /// `output.table`, a Delta table.
    pub table: Option<TableOutput>,
    /// `output.jsonl`, one file for each partition.
    pub jsonl: Option<JsonlOutput>,
    /// `output.hbase`, a copy of the table.
    pub hbase: Option<HbaseOutput>,
}

/// One output of a query.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// Rows are uploaded first, and all partitions become visible in one commit. The log of the
    /// table records what the run has done.
    Table(&'a TableOutput),
    /// Each file is replaced as a whole, before the commit to the table.
    JsonLines(&'a JsonlOutput),
    /// Cells are copied from the table after its commit, by this run or by a later one.
    Hbase(&'a HbaseOutput),
}

impl Outputs {
    /// The outputs in the order in which a run fills them.
    pub fn iter(&self) -> impl Iterator<Item = Output<'_>> {
        let table = self.table.iter().map(Output::Table);
        let jsonl = self.jsonl.iter().map(Output::JsonLines);
        let hbase = self.hbase.iter().map(Output::Hbase);
        table.chain(jsonl).chain(hbase)
    }

    /// The first fault of a declaration, for a query with this partition column: the key of the
    /// header that has it, and a message.
    pub(crate) fn fault(&self, partition: Option<&str>) -> Option<(&'static str, String)> {
        self.iter().find_map(|output| match output {
            // A name that cannot be one of a table has an error of its own, see
            // [`TableOutput::table_name`].
            Output::Table(_) => None,
            Output::JsonLines(jsonl) => jsonl.fault(partition),
            Output::Hbase(hbase) => {
                let message = hbase.fault(self.table.is_some(), partition)?;
                Some((HbaseOutput::KEY, message))
            }
        })
    }
}

impl Output<'_> {
    /// Columns that the declaration names, and that the rows must therefore have.
    pub(crate) fn columns(&self) -> &[String] {
        match self {
            Self::Table(_) | Self::JsonLines(_) => &[],
            Self::Hbase(hbase) => &hbase.row_key,
        }
    }

    /// Whether a run that fills both would overwrite the rows of one with those of the other: the
    /// key of the header that names the place, and the place in words.
    ///
    /// Both belong to queries with the same partition column if `same_partition`.
    pub(crate) fn shared_with(
        &self,
        other: &Output<'_>,
        same_partition: bool,
    ) -> Option<(&'static str, String)> {
        match (self, other) {
            (Self::Table(a), Output::Table(b)) if a.name == b.name => {
                Some(("name", format!("table \"{}\"", a.name)))
            }
            // The directory is named after the partition column.
            (Self::JsonLines(a), Output::JsonLines(b)) if a.file == b.file && same_partition => {
                Some(("file", format!("file \"{}\"", a.file)))
            }
            (Self::Hbase(a), Output::Hbase(b)) if a.table == b.table => {
                Some((HbaseOutput::KEY, format!("HBase table \"{}\"", a.table)))
            }
            (Self::Table(_) | Self::JsonLines(_) | Self::Hbase(_), _) => None,
        }
    }
}

/// The output as listings of queries name it.
impl fmt::Display for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {}", table.name),
            Self::JsonLines(jsonl) => f.write_str(&jsonl.file),
            Self::Hbase(hbase) => write!(f, "hbase {}", hbase.table),
        }
    }
}
