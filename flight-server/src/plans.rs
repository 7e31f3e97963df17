//! Plans that requests for one statement share.
//!
//! A driver asks for one statement up to three times (Prepare, GetFlightInfo, DoGet) and a dashboard asks for it again
//! and again. While no table that it reads has a newer version, the logical plan would be the same one each time.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::Schema;
use bytes::Bytes;
use datafusion::logical_expr::LogicalPlan;
use engine::session::Session;
use tonic::Status;

use crate::statements::{self, Planned};
use crate::status;
use crate::wire::Wire;

/// Plans that are kept at most.
const COUNT_MAX: usize = 64;
/// Text and values of a statement whose plan is kept; the plans of larger ones take much memory.
const BYTES_MAX: usize = 16 << 10;
/// A plan holds the versions of its tables in memory, so it is not kept for long.
const AGE_MAX: Duration = Duration::from_secs(60);

/// The plans of the last statements of all clients, newest last.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    kept: Mutex<VecDeque<Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    text: String,
    bound: Bytes,
    planned: Instant,
    plan: LogicalPlan,
    wire: Wire,
    parameters: Schema,
}

impl Plans {
    /// Plans `text` with the values `bound` to its parameters, or finds the plan of an earlier request.
    pub(crate) async fn plan(
        &self,
        session: &Session,
        text: &str,
        bound: &Bytes,
    ) -> Result<Planned, Status> {
        if let Some(kept) = self.find(text, bound, Instant::now()) {
            let is_current = session.is_current(&kept.plan).await;
            if is_current.map_err(|error| status::of(&error))? {
                return Ok(Planned {
                    frame: session.frame(kept.plan),
                    wire: kept.wire,
                    parameters: kept.parameters,
                });
            }
        }
        let planned = statements::plan(session, text, bound).await?;
        if text.len() + bound.len() <= BYTES_MAX {
            self.keep(Kept {
                text: text.to_owned(),
                bound: bound.clone(),
                planned: Instant::now(),
                plan: planned.frame.logical_plan().clone(),
                wire: planned.wire.clone(),
                parameters: planned.parameters.clone(),
            });
        }
        Ok(planned)
    }

    fn find(&self, text: &str, bound: &Bytes, now: Instant) -> Option<Kept> {
        let mut kept = self.lock();
        kept.retain(|kept| now.duration_since(kept.planned) < AGE_MAX);
        let found = kept.iter().find(|kept| kept.is_of(text, bound));
        found.cloned()
    }

    fn keep(&self, newest: Kept) {
        let mut kept = self.lock();
        kept.retain(|kept| !kept.is_of(&newest.text, &newest.bound));
        kept.push_back(newest);
        if kept.len() > COUNT_MAX {
            kept.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn is_of(&self, text: &str, bound: &Bytes) -> bool {
        self.text == text && self.bound == bound
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::LogicalPlanBuilder;

    use super::*;

    fn kept(text: &str, planned: Instant) -> Kept {
        Kept {
            text: text.to_owned(),
            bound: Bytes::new(),
            planned,
            plan: LogicalPlanBuilder::empty(true).build().expect("a plan"),
            wire: Wire::of(&Schema::empty()),
            parameters: Schema::empty(),
        }
    }

    #[test]
    fn a_plan_is_found_by_text_and_values_while_it_is_young() {
        let (plans, now) = (Plans::default(), Instant::now());
        plans.keep(kept("SELECT 1", now));
        let found = |text, bound: &'static str, now| {
            plans.find(text, &Bytes::from_static(bound.as_bytes()), now)
        };
        assert!(found("SELECT 1", "", now).is_some());
        assert!(found("SELECT 1", "values", now).is_none());
        assert!(found("SELECT 2", "", now).is_none());
        assert!(found("SELECT 1", "", now + AGE_MAX).is_none());
    }

    #[test]
    fn the_oldest_plan_makes_room() {
        let (plans, now) = (Plans::default(), Instant::now());
        for number in 0..=COUNT_MAX {
            plans.keep(kept(&number.to_string(), now));
        }
        assert!(plans.find("0", &Bytes::new(), now).is_none());
        assert!(plans.find("1", &Bytes::new(), now).is_some());
    }
}
