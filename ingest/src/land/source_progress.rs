//! The progress of a source with positions.

use std::collections::BTreeMap;

use connections::records::Positions;

/// Positions of the topic partitions, and the newest event times before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceProgress {
    /// Next offset of each topic partition.
    pub(crate) positions: Positions,
    /// By topic partition, the newest event time among the well-formed messages, UTC microseconds.
    pub(crate) newest_us: BTreeMap<i32, i64>,
}

impl SourceProgress {
    pub(crate) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Advances to `more`. No number falls back.
    pub(crate) fn extend(&mut self, more: &Self) {
        raise(&mut self.positions, &more.positions);
        raise(&mut self.newest_us, &more.newest_us);
    }
}

fn raise(all: &mut BTreeMap<i32, i64>, more: &BTreeMap<i32, i64>) {
    for (partition, number) in more {
        let highest = all.entry(*partition).or_insert(*number);
        *highest = (*highest).max(*number);
    }
}

#[cfg(test)]
mod tests {
    use super::SourceProgress;

    #[test]
    fn late_message_advances_position_and_not_newest_event() {
        let mut progress = SourceProgress {
            positions: [(0, 5)].into(),
            newest_us: [(0, 700)].into(),
        };
        progress.extend(&SourceProgress {
            positions: [(0, 8), (1, 1)].into(),
            newest_us: [(0, 600), (1, 650)].into(),
        });
        assert_eq!(progress.positions, [(0, 8), (1, 1)].into());
        assert_eq!(progress.newest_us, [(0, 700), (1, 650)].into());
    }
}
