//! An error and its causes as one line.

use std::error::Error;
use std::fmt::Display;

/// `error` and its causes on one line, separated by colons.
///
/// Some libraries print a cause with the error. A line that another one contains is left out.
pub fn error_chain(error: &dyn Error) -> String {
    joined(Vec::new(), error)
}

/// As [`error_chain`], with `lead` first: the cause that names the server and the remedy.
pub fn error_chain_led_by(lead: &dyn Display, error: &dyn Error) -> String {
    joined(vec![lead.to_string()], error)
}

fn joined(mut lines: Vec<String>, error: &dyn Error) -> String {
    let mut next = Some(error);
    while let Some(link) = next {
        let line = link.to_string();
        if let Some(part) = lines.iter_mut().find(|printed| line.contains(&**printed)) {
            *part = line;
        } else if !lines.iter().any(|printed| printed.contains(&line)) {
            lines.push(line);
        }
        next = link.source();
    }
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    use super::{error_chain, error_chain_led_by};

    #[derive(Debug, thiserror::Error)]
    #[error("{line}")]
    struct Link {
        line: &'static str,
        source: Option<Box<Link>>,
    }

    fn chain(lines: &[&'static str]) -> Link {
        let (line, causes) = lines.split_first().expect("a line");
        let source = (!causes.is_empty()).then(|| Box::new(chain(causes)));
        Link { line, source }
    }

    #[test]
    fn each_line_of_a_chain_is_printed_once() {
        let check = |lines: &[&'static str], printed: &str| {
            assert_eq!(error_chain(&chain(lines)), printed, "{lines:?}");
        };
        check(&["could not write"], "could not write");
        check(
            &["could not write", "disk full"],
            "could not write: disk full",
        );
        check(
            &["could not write: disk full", "disk full"],
            "could not write: disk full",
        );
        check(
            &["could not write", "could not write: disk full"],
            "could not write: disk full",
        );
        check(&["a", "b", "a"], "a: b");
    }

    #[test]
    fn lead_is_printed_first_and_once() {
        let error = chain(&["could not commit", "HDFS at nn:8020 is in safe mode"]);
        let printed = error_chain_led_by(&"HDFS at nn:8020 is in safe mode", &error);
        assert_eq!(printed, "HDFS at nn:8020 is in safe mode: could not commit");
    }
}
