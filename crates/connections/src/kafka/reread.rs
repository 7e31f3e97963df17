//! Reads single records again, by their offsets.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::{Connection, Reading, Watermarks, read};
use crate::error::Error;
use crate::records::{Offsets, Positions, Record, Records, RecordsBuilder};

/// Offsets of one topic partition that are at most this far apart are read in one round: to read
/// and drop the records between them is quicker than another seek.
const GAP_MAX: i64 = 500;

/// Reads the records at `offsets` that still exist. It blocks until it is done, or `stop` is
/// cancelled.
///
/// # Errors
/// When Kafka returns an error that is not transient.
pub fn reread(
    connection: &Connection,
    offsets: &Offsets,
    watermarks: &BTreeMap<i32, Watermarks>,
    stop: &CancellationToken,
) -> Result<Records, Error> {
    let mut found = RecordsBuilder::new("kafka");
    for Round { from, until } in rounds(offsets, watermarks) {
        let reading = Reading {
            from,
            until: Some(until),
        };
        let send = |records: Records| {
            copy_wanted(&records, offsets, &mut found);
            true
        };
        read(connection, &reading, send, stop)?;
    }
    Ok(found.seal())
}

/// One pass of reading: at most one range of each topic partition.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    from: Positions,
    until: Positions,
}

fn rounds(offsets: &Offsets, watermarks: &BTreeMap<i32, Watermarks>) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    for (partition, offsets) in offsets {
        // A request for a deleted offset would end the whole pass.
        let Some(held) = watermarks
            .get(partition)
            .filter(|held| held.low < held.high)
        else {
            continue;
        };
        for (round, (first, last)) in ranges(offsets.range(held.low..held.high)).enumerate() {
            if rounds.len() == round {
                rounds.push(Round {
                    from: Positions::new(),
                    until: Positions::new(),
                });
            }
            rounds[round].from.insert(*partition, first);
            rounds[round].until.insert(*partition, last + 1);
        }
    }
    rounds
}

/// First and last offset of each range without a wide gap.
fn ranges<'a>(offsets: impl Iterator<Item = &'a i64>) -> impl Iterator<Item = (i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for offset in offsets {
        match ranges.last_mut() {
            Some((_, last)) if offset - *last <= GAP_MAX => *last = *offset,
            _ => ranges.push((*offset, *offset)),
        }
    }
    ranges.into_iter()
}

/// Copies the wanted records and their bytes.
fn copy_wanted(records: &Records, offsets: &Offsets, into: &mut RecordsBuilder) {
    let is_wanted = |record: &&Record| {
        let offsets = offsets.get(&record.partition);
        offsets.is_some_and(|offsets| offsets.contains(&record.offset))
    };
    for record in records.list.iter().filter(is_wanted) {
        let key = record.key.clone().map(|range| &records.keys[range]);
        let value = record.value.clone().map(|range| &records.bytes[range]);
        let identity = (record.partition, record.offset);
        into.push(identity, record.timestamp_ms, key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Watermarks;
    use super::{Round, rounds};
    use crate::records::Offsets;

    #[test]
    fn rounds_join_near_offsets_and_skip_deleted_ones() {
        let watermarks = [
            (0, Watermarks { low: 5, high: 2000 }),
            (1, Watermarks { low: 0, high: 10 }),
            (2, Watermarks { low: 7, high: 7 }),
        ]
        .into();
        let offsets: Offsets = [
            (0, [1, 4, 5, 6, 400, 1500, 2000].into()),
            (1, [3].into()),
            (2, [6].into()),
            (9, [0].into()),
        ]
        .into();
        let round = |from: &[(i32, i64)], until: &[(i32, i64)]| Round {
            from: from.iter().copied().collect(),
            until: until.iter().copied().collect(),
        };
        assert_eq!(
            rounds(&offsets, &watermarks),
            [
                round(&[(0, 5), (1, 3)], &[(0, 401), (1, 4)]),
                round(&[(0, 1500)], &[(0, 1501)]),
            ]
        );
    }
}
