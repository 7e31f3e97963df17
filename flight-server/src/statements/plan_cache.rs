//! A cache of logical plans, which the requests for one statement share.
//!
//! A driver sends up to three requests for one statement (Prepare, GetFlightInfo, DoGet), and a
//! dashboard repeats them. The plan is the same each time while no table that it reads has a newer
//! version.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::Schema;
use bytes::Bytes;
use datafusion::logical_expr::LogicalPlan;
use engine::session::Session;
use tonic::Status;

use crate::statements::client_types::ClientTypes;
use crate::statements::{self, PlannedStatement};
use crate::status;

/// Limit of the plans in the cache.
const COUNT_MAX: usize = 64;
/// Bytes of text and values above which a plan is not cached, because it takes too much memory.
const BYTES_MAX: usize = 16 << 10;
/// A plan holds the snapshots of its tables in memory, so that it expires soon.
const AGE_MAX: Duration = Duration::from_secs(60);

/// The newest plans of all clients, newest last.
#[derive(Debug, Default)]
pub(crate) struct PlanCache {
    cached: Mutex<VecDeque<CachedPlan>>,
}

#[derive(Clone, Debug)]
struct CachedPlan {
    text: String,
    /// The encoded values of the parameters.
    bound: Bytes,
    planned: Instant,
    plan: LogicalPlan,
    client_types: ClientTypes,
    parameters: Schema,
}

impl PlanCache {
    /// Returns the cached plan of `text` with the values `bound` to its parameters, or plans it.
    pub(crate) async fn plan(
        &self,
        session: &Session,
        text: &str,
        bound: &Bytes,
    ) -> Result<PlannedStatement, Status> {
        if let Some(cached) = self.find(text, bound, Instant::now()) {
            let is_current = session.is_current(&cached.plan).await;
            if is_current.map_err(|error| status::of(&error))? {
                return Ok(PlannedStatement {
                    frame: session.frame(cached.plan),
                    client_types: cached.client_types,
                    parameters: cached.parameters,
                });
            }
        }
        let planned = statements::plan(session, text, bound).await?;
        if text.len() + bound.len() <= BYTES_MAX {
            self.insert(CachedPlan {
                text: text.to_owned(),
                bound: bound.clone(),
                planned: Instant::now(),
                plan: planned.frame.logical_plan().clone(),
                client_types: planned.client_types.clone(),
                parameters: planned.parameters.clone(),
            });
        }
        Ok(planned)
    }

    fn find(&self, text: &str, bound: &Bytes, now: Instant) -> Option<CachedPlan> {
        let mut cached = self.lock();
        cached.retain(|cached| now.duration_since(cached.planned) < AGE_MAX);
        let found = cached.iter().find(|cached| cached.matches(text, bound));
        found.cloned()
    }

    fn insert(&self, newest: CachedPlan) {
        let mut cached = self.lock();
        cached.retain(|cached| !cached.matches(&newest.text, &newest.bound));
        cached.push_back(newest);
        if cached.len() > COUNT_MAX {
            cached.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<CachedPlan>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedPlan {
    fn matches(&self, text: &str, bound: &Bytes) -> bool {
        self.text == text && self.bound == bound
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::LogicalPlanBuilder;

    use super::*;

    fn cached(text: &str, planned: Instant) -> CachedPlan {
        CachedPlan {
            text: text.to_owned(),
            bound: Bytes::new(),
            planned,
            plan: LogicalPlanBuilder::empty(true).build().expect("a plan"),
            client_types: ClientTypes::of(&Schema::empty()),
            parameters: Schema::empty(),
        }
    }

    #[test]
    fn plan_is_found_by_text_and_values_until_it_expires() {
        let (plans, now) = (PlanCache::default(), Instant::now());
        plans.insert(cached("SELECT 1", now));
        let found = |text, bound: &'static str, now| {
            plans.find(text, &Bytes::from_static(bound.as_bytes()), now)
        };
        assert!(found("SELECT 1", "", now).is_some());
        assert!(found("SELECT 1", "values", now).is_none());
        assert!(found("SELECT 2", "", now).is_none());
        assert!(found("SELECT 1", "", now + AGE_MAX).is_none());
    }

    #[test]
    fn oldest_plan_is_evicted() {
        let (plans, now) = (PlanCache::default(), Instant::now());
        for number in 0..=COUNT_MAX {
            plans.insert(cached(&number.to_string(), now));
        }
        assert!(plans.find("0", &Bytes::new(), now).is_none());
        assert!(plans.find("1", &Bytes::new(), now).is_some());
    }
}
