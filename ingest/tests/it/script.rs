//! Test scripts beside the query files, in the format of sqllogictest.
//!
//! A script is a list of records with a blank line between them. Lines that begin with `#` are
//! comments.
//!
//! ```text
//! statement ok
//! INSERT INTO weather (dt, temp) VALUES ('2026-01-15', 3.5)
//!
//! query
//! SELECT dt, temp FROM weather
//! ----
//! 2026-01-15  3.5
//!
//! statement error temp_avg
//! RUN weather/daily_weather_by_city dt=2026-01-16
//! ```
//!
//! This module parses the format, and does not interpret statements.

use std::fmt::Write as _;

/// A script's records, and what stands between them.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    pub(crate) records: Vec<Record<'a>>,
}

/// One record with the comments before it.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// Line number of the record, from 1.
    pub(crate) line: usize,
    /// Everything before the expected rows, as written.
    head: Vec<&'a str>,
    pub(crate) expected: Expected<'a>,
    /// The statement; empty in a record that is only comments.
    pub(crate) statement: String,
}

/// The expected outcome of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected<'a> {
    /// Nothing is executed: the record is a comment.
    Comment,
    Success,
    /// An error whose text contains this.
    Failure(&'a str),
    /// These rows, in this order.
    Answer(Vec<&'a str>),
}

impl<'a> Script<'a> {
    /// Reads a script, or says at which line it is wrong.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let lines: Vec<_> = text.lines().collect();
        let mut records = Vec::new();
        let mut start = 0;
        for block in lines.split(|line| line.trim().is_empty()) {
            if !block.is_empty() {
                records.push(Record::parse(start + 1, block)?);
            }
            start += block.len() + 1;
        }
        let asks = |record: &Record<'_>| matches!(record.expected, Expected::Answer(_));
        if !records.iter().any(asks) {
            return Err("it asks nothing: there is no query".to_owned());
        }
        Ok(Self { records })
    }

    /// The script with these answers, one for each record; records without an answer stay as they
    /// are.
    pub(crate) fn with_answers(&self, answers: &[Vec<String>]) -> String {
        let mut text = String::new();
        for (record, answer) in self.records.iter().zip(answers) {
            if !text.is_empty() {
                text.push('\n');
            }
            let lines = record.head.iter().copied();
            let answered = matches!(record.expected, Expected::Answer(_));
            let answer = answer.iter().map(String::as_str).filter(|_| answered);
            for line in lines.chain(answer) {
                writeln!(text, "{line}").expect("a string takes every line");
            }
        }
        text
    }
}

impl<'a> Record<'a> {
    fn parse(line: usize, block: &[&'a str]) -> Result<Self, String> {
        let wrong = |message: &str| Err(format!("line {line}: {message}"));
        let comments = block
            .iter()
            .take_while(|line| line.starts_with('#'))
            .count();
        let Some((word, rest)) = block[comments..].split_first() else {
            return Ok(Self {
                line,
                head: block.to_vec(),
                expected: Expected::Comment,
                statement: String::new(),
            });
        };
        let end = rest.iter().position(|line| *line == "----");
        let statement = rest[..end.unwrap_or(rest.len())].join("\n");
        if statement.is_empty() {
            return wrong("there is no statement");
        }
        let answer = end.map(|end| rest[end + 1..].to_vec());
        let expected = match (*word, answer) {
            ("query", Some(answer)) => Expected::Answer(answer),
            ("query", None) => return wrong("a query has an answer after `----`"),
            (_, Some(_)) => return wrong("only a query has an answer"),
            ("statement ok", None) => Expected::Success,
            (other, None) => match other.strip_prefix("statement error ") {
                Some(text) => Expected::Failure(text.trim()),
                None => return wrong("expected `query`, `statement ok` or `statement error TEXT`"),
            },
        };
        let head = end.map_or(block.len(), |end| comments + 1 + end + 1);
        Ok(Self {
            line,
            head: block[..head].to_vec(),
            expected,
            statement,
        })
    }
}

/// `rows` as lines with aligned columns.
pub(crate) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row| row.get(column));
        widths.map(|value| value.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).filter_map(width).collect();
    let line = |row: &Vec<String>| {
        let values = row.iter().zip(&widths);
        let values = values.map(|(value, width)| format!("{value:width$}"));
        values.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Expected, Script, aligned};

    #[test]
    fn script_parses_to_records() {
        let text = "# A comment.\n\n# Why.\nstatement ok\nLAND\n{}\n{}\n\nquery\nSELECT 1\n----\n2\n\nstatement error no such\nRUN x\n";
        let script = Script::parse(text).expect("a script");
        let expected: Vec<_> = script
            .records
            .iter()
            .map(|record| (record.line, record.statement.as_str(), &record.expected))
            .collect();
        assert_eq!(
            expected,
            [
                (1, "", &Expected::Comment),
                (3, "LAND\n{}\n{}", &Expected::Success),
                (9, "SELECT 1", &Expected::Answer(vec!["2"])),
                (14, "RUN x", &Expected::Failure("no such")),
            ]
        );
        let same = [vec![], vec![], vec!["2".to_owned()], vec![]];
        assert_eq!(script.with_answers(&same), text);
        let other = [vec![], vec![], vec!["1".to_owned()], vec![]];
        assert_eq!(script.with_answers(&other), text.replace("\n2\n", "\n1\n"));
    }

    #[test]
    fn malformed_record_is_refused_with_its_line() {
        for wrong in [
            "query\nSELECT 1",
            "query\n----\n1",
            "statement ok",
            "statement ok\nSELECT 1\n----\n1",
            "statement error\nSELECT 1",
            "SELECT 1",
        ] {
            let text = format!("# A comment.\n\n{wrong}\n");
            let refused = Script::parse(&text).expect_err(wrong);
            assert!(refused.starts_with("line 3: "), "{refused}");
        }
        for wrong in ["", "# A comment.\n", "statement ok\nSELECT 1\n"] {
            let refused = Script::parse(wrong).expect_err(wrong);
            assert!(refused.contains("asks nothing"), "{refused}");
        }
    }

    #[test]
    fn columns_are_aligned() {
        let row = |values: [&str; 3]| values.map(str::to_owned).to_vec();
        let rows = [row(["Zürich", "1.5", "a"]), row(["Oslo", "-12.25", ""])];
        assert_eq!(aligned(&rows), ["Zürich  1.5     a", "Oslo    -12.25"]);
        assert!(aligned(&[]).is_empty());
    }
}
