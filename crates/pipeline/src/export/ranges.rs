//! Ranges of offsets of one topic partition that an export takes.

use std::fmt;

/// Builds half-open ranges of ascending offsets.
///
/// Below the position of `consume` no row can appear any more. A gap there is permanent, so a range
/// may cover it, and the cursor stays small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranges {
    list: Vec<(i64, i64)>,
    /// Start of the first gap in the exported ranges.
    from: i64,
    /// Position of `consume`.
    consumed: i64,
}

impl Ranges {
    pub(crate) fn new(from: i64, consumed: i64) -> Self {
        Self {
            list: Vec::new(),
            from,
            consumed,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds an offset that is greater than all before.
    pub(crate) fn push(&mut self, offset: i64) {
        let is_settled = offset <= self.consumed;
        match self.list.last_mut() {
            None if is_settled => self.list.push((self.from, offset + 1)),
            Some(last) if is_settled || last.1 == offset => last.1 = offset + 1,
            _ => self.list.push((offset, offset + 1)),
        }
    }

    /// Ends the ranges: there are no more rows at present.
    pub(crate) fn end(&mut self) {
        if let Some(last) = self.list.last_mut() {
            last.1 = last.1.max(self.consumed);
        }
    }
}

/// The text of a multirange in PostgreSQL.
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (place, (first, end)) in self.list.iter().enumerate() {
            let separator = if place == 0 { "" } else { "," };
            write!(f, "{separator}[{first},{end})")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn gaps_below_position_are_closed() {
        let check = |from, consumed, offsets: &[i64], expected: &str, ended: &str| {
            let mut ranges = Ranges::new(from, consumed);
            offsets.iter().for_each(|offset| ranges.push(*offset));
            assert_eq!(ranges.to_string(), expected);
            ranges.end();
            assert_eq!(ranges.to_string(), ended);
        };
        check(0, 100, &[], "{}", "{}");
        check(0, 10, &[2, 3, 7], "{[0,8)}", "{[0,10)}");
        // Not consumed yet: rows may still appear in between.
        check(0, -1, &[2, 3, 7], "{[2,4),[7,8)}", "{[2,4),[7,8)}");
        // Rows of the legacy pipeline above the position.
        check(
            4,
            6,
            &[5, 8, 9, 12],
            "{[4,6),[8,10),[12,13)}",
            "{[4,6),[8,10),[12,13)}",
        );
        check(4, 6, &[6, 7], "{[4,8)}", "{[4,8)}");
    }
}
