//! Writes the results of commands to standard output.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use anyhow::Context as _;

use crate::failure::OutputClosed;

/// Buffered standard output. A reader that closes the pipe is no failure.
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

    /// Calls `print` with the writer.
    pub(crate) fn write(
        &mut self,
        print: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        map_broken_pipe(print(&mut self.0))
    }

    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        map_broken_pipe(self.0.flush())
    }
}

fn map_broken_pipe(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        written => written.context("could not write to standard output"),
    }
}
