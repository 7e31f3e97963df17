//! The one writer for what commands answer on standard output.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use anyhow::Context as _;

use crate::failure::OutputClosed;

/// Buffered standard output. Whoever reads it may stop reading, which is no failure.
#[derive(Debug)]
pub(crate) struct Output(BufWriter<Stdout>);

impl Output {
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(64 << 10, io::stdout()))
    }

    pub(crate) fn line(&mut self, text: impl Display) -> anyhow::Result<()> {
        self.write(|out| writeln!(out, "{text}"))
    }

    pub(crate) fn print(&mut self, text: impl Display) -> anyhow::Result<()> {
        self.write(|out| write!(out, "{text}"))
    }

    /// Lets `print` write bytes.
    pub(crate) fn write(
        &mut self,
        print: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        told_apart(print(&mut self.0))
    }

    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        told_apart(self.0.flush())
    }
}

fn told_apart(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        written => written.context("could not write to standard output"),
    }
}
