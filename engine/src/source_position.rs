//! The position of an error in a text.

use std::fmt;

/// The position of an error in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// The path of the file, or another name of the text.
    pub origin: String,
    /// Counts from 1.
    pub line: usize,
    /// Counts characters from 1.
    pub column: usize,
    /// The text of the line.
    pub text: String,
}

impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before: String = self
            .text
            .chars()
            .take(self.column.saturating_sub(1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(
            f,
            "{}:{}:{}\n  | {}\n  | {before}^",
            self.origin, self.line, self.column, self.text
        )
    }
}
