//! Where the reading of a topic begins, and why it cannot.

use std::collections::BTreeMap;

use tracing::warn;

use super::{Connection, Extent};
use crate::error::Error;
use crate::source::Positions;

/// Where to begin to read each topic partition.
///
/// # Errors
/// When what is to be read next is not there.
pub(crate) fn start(
    topic: &str,
    resume: &Positions,
    extents: &BTreeMap<i32, Extent>,
    accept_loss: bool,
) -> Result<Positions, Error> {
    let mut from = Positions::new();
    for (partition, extent) in extents {
        let next = resume.get(partition).copied();
        let next = match next {
            // Nothing of it has landed yet: from the first message that there is.
            None => extent.low,
            Some(next) if next > extent.high => {
                return Err(Error::OffsetsBeyond {
                    topic: topic.to_owned(),
                    partition: *partition,
                    next,
                    high: extent.high,
                });
            }
            Some(next) if next >= extent.low => next,
            Some(next) if accept_loss => {
                warn!(
                    topic,
                    partition,
                    from = next,
                    to = extent.low - 1,
                    "these offsets are gone from Kafka and left out"
                );
                extent.low
            }
            Some(next) => {
                return Err(Error::OffsetsLost {
                    topic: topic.to_owned(),
                    partition: *partition,
                    next,
                    low: extent.low,
                });
            }
        };
        from.insert(*partition, next);
    }
    Ok(from)
}

/// Where to begin for tables of which some have not taken anything yet. `taken` is where the others go on: nothing may be gone
/// from there, though reading begins before.
///
/// # Errors
/// When what those have to take next is not there.
pub(crate) fn start_for_all(
    topic: &str,
    resume: &Positions,
    taken: &Positions,
    extents: &BTreeMap<i32, Extent>,
    accept_loss: bool,
) -> Result<Positions, Error> {
    let mut from = start(topic, taken, extents, accept_loss)?;
    for (partition, extent) in extents {
        if !resume.contains_key(partition) {
            from.insert(*partition, extent.low);
        }
    }
    Ok(from)
}

/// Records between where reading begins and where the topic ends now.
pub(crate) fn pending(from: &Positions, extents: &BTreeMap<i32, Extent>) -> u64 {
    let pending = extents.iter().map(|(partition, extent)| {
        let from = from.get(partition).copied().unwrap_or(extent.low);
        u64::try_from(extent.high - from).unwrap_or_default()
    });
    pending.sum()
}

/// Why what was to be read next is not there.
pub(crate) async fn why_gone(
    connection: &Connection,
    committed: &Positions,
    accept_loss: bool,
) -> Error {
    let looked = async {
        connection.refuse_recreated().await?;
        let extents = connection.extents().await?;
        start(connection.topic(), committed, &extents, accept_loss)
    };
    match looked.await {
        Err(error) => error,
        // It has come back meanwhile, or what is gone may be left out: reading can begin anew.
        Ok(_) => Error::OffsetsGone {
            topic: connection.topic().to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::Extent;
    use super::{pending, start, start_for_all};
    use crate::error::Error;
    use crate::source::Positions;

    fn told(found: Result<Positions, Error>) -> Result<i64, &'static str> {
        found.map(|from| from[&0]).map_err(|error| match error {
            Error::OffsetsLost { low: 5, .. } => "lost",
            Error::OffsetsBeyond { high: 9, .. } => "beyond",
            _ => "another",
        })
    }

    #[test]
    fn reading_begins_where_the_tables_end_or_says_why_not() {
        let extents = [(0, Extent { low: 5, high: 9 })].into();
        let check = |next: Option<i64>, accept_loss, expected: Result<i64, &str>| {
            let resume = next.map(|next| (0, next)).into_iter().collect();
            let found = start("t", &resume, &extents, accept_loss);
            assert_eq!(told(found), expected, "{next:?}");
        };
        check(None, false, Ok(5));
        check(Some(5), false, Ok(5));
        check(Some(9), false, Ok(9));
        check(Some(10), false, Err("beyond"));
        check(Some(4), false, Err("lost"));
        check(Some(4), true, Ok(5));
        assert_eq!(pending(&[(0, 7)].into(), &extents), 2);
    }

    #[test]
    fn a_table_without_a_position_does_not_hide_what_others_have_lost() {
        let extents = [(0, Extent { low: 5, high: 9 })].into();
        let check = |taken: i64, accept_loss, expected: Result<i64, &str>| {
            let none = Positions::new();
            let found = start_for_all("t", &none, &[(0, taken)].into(), &extents, accept_loss);
            assert_eq!(told(found), expected, "{taken}");
        };
        check(5, false, Ok(5));
        check(8, false, Ok(5));
        check(4, false, Err("lost"));
        check(4, true, Ok(5));
        check(10, false, Err("beyond"));
        // All tables have one.
        let both = [(0, 7)].into();
        let found = start_for_all("t", &both, &both, &extents, false);
        assert_eq!(told(found), Ok(7));
    }
}
