//! How far a source with an order of its own was read.

use std::collections::BTreeMap;

use crate::source::Positions;

/// How far the topic partitions were read, and what was met on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) positions: Positions,
    /// By topic partition, the newest event time among the well-formed messages, UTC microseconds.
    pub(crate) newest_us: BTreeMap<i32, i64>,
}

impl Reached {
    pub(crate) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Adds what was read elsewhere or later. Nothing falls back.
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
    use super::Reached;

    #[test]
    fn a_late_message_moves_the_position_and_not_the_newest_event() {
        let mut reached = Reached {
            positions: [(0, 5)].into(),
            newest_us: [(0, 700)].into(),
        };
        reached.extend(&Reached {
            positions: [(0, 8), (1, 1)].into(),
            newest_us: [(0, 600), (1, 650)].into(),
        });
        assert_eq!(reached.positions, [(0, 8), (1, 1)].into());
        assert_eq!(reached.newest_us, [(0, 700), (1, 650)].into());
    }
}
