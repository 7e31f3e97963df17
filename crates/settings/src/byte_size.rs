//! Sizes in bytes, written with a unit.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Units by size; the first that divides a size without a rest is the one to print it in.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// The text is not a whole number with a unit, or is larger than 64 bits hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a size such as 256MiB")]
pub struct NotASize;

impl FromStr for ByteSize {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(NotASize)?;
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let (_, bytes) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(NotASize)?;
        let number: u64 = number.parse().map_err(|_| NotASize)?;
        number.checked_mul(*bytes).map(Self).ok_or(NotASize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (name, bytes) = whole.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        let check = |text: &str, bytes: u64, printed: &str| {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size, ByteSize(bytes), "{text}");
            assert_eq!(size.to_string(), printed, "{text}");
        };
        check("0B", 0, "0B");
        check("1000B", 1000, "1kB");
        check("1024B", 1024, "1KiB");
        check("256MiB", 268_435_456, "256MiB");
        check("256 MiB", 268_435_456, "256MiB");
        check("3GB", 3_000_000_000, "3GB");
        check("1023KiB", 1_047_552, "1023KiB");
        check("16777215TiB", 18_446_742_974_197_923_840, "16777215TiB");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "256",
            "MiB",
            "-1MiB",
            "1.5GiB",
            "1mib",
            "1 Mi B",
            "16777216TiB",
            "99999999999999999999B",
        ] {
            assert_eq!(text.parse::<ByteSize>(), Err(NotASize), "{text}");
        }
    }
}
