//! Listings as text, with aligned columns, and numbers for people.

use std::fmt;

/// Rows of cells under a header.
#[derive(Debug)]
pub(crate) struct Listing {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Listing {
    pub(crate) fn new<const COLUMNS: usize>(header: [&'static str; COLUMNS]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const COLUMNS: usize>(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header: Vec<String> = self.header.iter().map(ToString::to_string).collect();
        let lines = || std::iter::once(&header).chain(&self.rows);
        let widths: Vec<usize> = (0..header.len())
            .map(|column| lines().map(|cells| width(&cells[column])).max())
            .map(Option::unwrap_or_default)
            .collect();
        let is_number: Vec<bool> = (0..header.len())
            .map(|column| self.rows.iter().all(|cells| is_number(&cells[column])))
            .collect();
        for cells in lines() {
            let mut line = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let padding = " ".repeat(widths[column] - width(cell));
                let (before, after) = if is_number[column] && !self.rows.is_empty() {
                    (padding.as_str(), "")
                } else {
                    ("", padding.as_str())
                };
                line.extend([before, cell, after, "  "]);
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// Whether a cell is a number, with separators and units: `1,234`, `5.6 kB`, `0.1 s`.
fn is_number(cell: &str) -> bool {
    cell.is_empty()
        || cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains(['-', ':', '/'])
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(number))
}

/// Bytes to three digits, in powers of 1,000.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let mut scaled = number;
    let mut unit = 0;
    // The last step is left for the division that keeps the tenths.
    while scaled >= 1_000_000 && unit + 1 < UNITS.len() {
        scaled /= 1_000;
        unit += 1;
    }
    format!(
        "{}.{} {}",
        scaled / 1_000,
        scaled % 1_000 / 100,
        UNITS[unit]
    )
}

/// A warning for a statement that uses `current_date`, which is the day in UTC, where the days of
/// the lake are those of another `zone`.
pub(crate) fn day_warning(statement: &engine::sql::Statement, zone: &str) -> Option<String> {
    let differ = !matches!(zone, "UTC" | "Etc/UTC" | "GMT" | "Etc/GMT");
    (differ && statement.asks_for_current_date()).then(|| {
        format!(
            "current_date and today() are the day in UTC, and dt is the day in {zone}; write event_day(now()) for the latter"
        )
    })
}

/// `0.045 s`.
pub(crate) fn seconds(elapsed: std::time::Duration) -> String {
    format!("{:.3} s", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{Listing, bytes, count, counted};

    #[test]
    fn columns_are_aligned_and_numbers_to_the_right() {
        let mut listing = Listing::new(["name", "rows", "what"]);
        listing.row(["Tromsø".to_owned(), "1,200".to_owned(), "a city".to_owned()]);
        listing.row(["x".to_owned(), "7".to_owned(), String::new()]);
        assert_eq!(
            listing.to_string(),
            "name     rows  what\nTromsø  1,200  a city\nx           7\n"
        );
    }

    #[test]
    fn numbers_are_formatted_for_people() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [(0, "0 rows"), (1, "1 row"), (2_000, "2,000 rows")] {
            assert_eq!(counted(number, "row"), text);
        }
        for (number, text) in [
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (1_500_000, "1.5 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
