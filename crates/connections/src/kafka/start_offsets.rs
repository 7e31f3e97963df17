//! The offsets that reading starts from, and the errors when they no longer exist.

use std::collections::BTreeMap;

use tracing::warn;

use super::{Connection, Watermarks};
use crate::error::Error;
use crate::records::Positions;

/// The offset that reading starts from, for each topic partition.
///
/// # Errors
/// When the next message to read no longer exists.
pub fn start_offsets(
    topic: &str,
    resume: &Positions,
    watermarks: &BTreeMap<i32, Watermarks>,
    accept_loss: bool,
) -> Result<Positions, Error> {
    let mut from = Positions::new();
    for (partition, held) in watermarks {
        let next = resume.get(partition).copied();
        let next = match next {
            // No position: from the first message that Kafka holds.
            None => held.low,
            Some(next) if next > held.high => {
                return Err(Error::OffsetsBeyond {
                    topic: topic.to_owned(),
                    partition: *partition,
                    next,
                    high: held.high,
                });
            }
            Some(next) if next >= held.low => next,
            Some(next) if accept_loss => {
                warn!(
                    topic,
                    partition,
                    from = next,
                    to = held.low - 1,
                    "Kafka no longer holds these offsets; skipping them"
                );
                held.low
            }
            Some(next) => {
                return Err(Error::OffsetsLost {
                    topic: topic.to_owned(),
                    partition: *partition,
                    next,
                    low: held.low,
                });
            }
        };
        from.insert(*partition, next);
    }
    Ok(from)
}

/// The offsets that reading starts from for several tables, some of which may have no position. The
/// tables without one are read for from the first message that Kafka holds; the others must lose
/// nothing from `min_started` on.
///
/// # Errors
/// When a message from `min_started` on no longer exists.
pub fn start_offsets_of_tables(
    topic: &str,
    resume_from: &Positions,
    min_started: &Positions,
    watermarks: &BTreeMap<i32, Watermarks>,
    accept_loss: bool,
) -> Result<Positions, Error> {
    let mut from = start_offsets(topic, min_started, watermarks, accept_loss)?;
    for (partition, held) in watermarks {
        if !resume_from.contains_key(partition) {
            from.insert(*partition, held.low);
        }
    }
    Ok(from)
}

/// Number of offsets between the start of reading and the present end of the topic.
pub fn pending(from: &Positions, watermarks: &BTreeMap<i32, Watermarks>) -> u64 {
    let pending = watermarks.iter().map(|(partition, held)| {
        let from = from.get(partition).copied().unwrap_or(held.low);
        u64::try_from(held.high - from).unwrap_or_default()
    });
    pending.sum()
}

/// The error for a next message that no longer exists.
pub async fn explain_out_of_range(
    connection: &Connection,
    committed: &Positions,
    accept_loss: bool,
) -> Error {
    let looked = async {
        connection.check_not_recreated().await?;
        let watermarks = connection.watermarks().await?;
        start_offsets(connection.topic(), committed, &watermarks, accept_loss)
    };
    match looked.await {
        Err(error) => error,
        // The offsets exist again, or the loss is accepted: this error is retried.
        Ok(_) => Error::OffsetsOutOfRange {
            topic: connection.topic().to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::Watermarks;
    use super::{pending, start_offsets, start_offsets_of_tables};
    use crate::error::Error;
    use crate::records::Positions;

    fn outcome(found: Result<Positions, Error>) -> Result<i64, &'static str> {
        found.map(|from| from[&0]).map_err(|error| match error {
            Error::OffsetsLost { low: 5, .. } => "lost",
            Error::OffsetsBeyond { high: 9, .. } => "beyond",
            _ => "another",
        })
    }

    #[test]
    fn start_offsets_follow_positions_or_name_the_loss() {
        let watermarks = [(0, Watermarks { low: 5, high: 9 })].into();
        let check = |next: Option<i64>, accept_loss, expected: Result<i64, &str>| {
            let resume = next.map(|next| (0, next)).into_iter().collect();
            let found = start_offsets("t", &resume, &watermarks, accept_loss);
            assert_eq!(outcome(found), expected, "{next:?}");
        };
        check(None, false, Ok(5));
        check(Some(5), false, Ok(5));
        check(Some(9), false, Ok(9));
        check(Some(10), false, Err("beyond"));
        check(Some(4), false, Err("lost"));
        check(Some(4), true, Ok(5));
        assert_eq!(pending(&[(0, 7)].into(), &watermarks), 2);
    }

    #[test]
    fn table_without_position_does_not_hide_loss_of_others() {
        let watermarks = [(0, Watermarks { low: 5, high: 9 })].into();
        let check = |taken: i64, accept_loss, expected: Result<i64, &str>| {
            let none = Positions::new();
            let found =
                start_offsets_of_tables("t", &none, &[(0, taken)].into(), &watermarks, accept_loss);
            assert_eq!(outcome(found), expected, "{taken}");
        };
        check(5, false, Ok(5));
        check(8, false, Ok(5));
        check(4, false, Err("lost"));
        check(4, true, Ok(5));
        check(10, false, Err("beyond"));
        // All tables have a position.
        let both = [(0, 7)].into();
        let found = start_offsets_of_tables("t", &both, &both, &watermarks, false);
        assert_eq!(outcome(found), Ok(7));
    }
}
