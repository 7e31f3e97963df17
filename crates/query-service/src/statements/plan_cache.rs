//! A cache of logical plans, which the requests for one statement share.
//!
//! A driver sends up to three requests for one statement, to prepare it, to describe it and to
//! execute it, and a dashboard repeats them. The plan is the same each time while no table that it
//! reads has a newer version.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::logical_expr::LogicalPlan;
use engine::session::Session;

use crate::error::Error;
use crate::statements::client_types::ClientTypes;
use crate::statements::planned::{self, PlannedStatement};
use crate::statements::statement::Statement;

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
    values: Option<RecordBatch>,
    planned: Instant,
    plan: LogicalPlan,
    client_types: ClientTypes,
    parameters: Schema,
}

impl PlanCache {
    /// Returns the cached plan of `statement` with its values, or plans it.
    pub(crate) async fn plan(
        &self,
        session: &Session,
        statement: &Statement,
    ) -> Result<PlannedStatement, Error> {
        let (text, values) = (&statement.text, statement.values.as_ref());
        if let Some(cached) = self.find(text, values, Instant::now())
            && session.is_current(&cached.plan).await?
        {
            return Ok(PlannedStatement {
                frame: session.frame(cached.plan),
                client_types: cached.client_types,
                parameters: cached.parameters,
            });
        }
        let planned = planned::plan(session, text, values).await?;
        if statement.bytes() <= BYTES_MAX {
            self.insert(CachedPlan {
                text: text.to_owned(),
                values: values.cloned(),
                planned: Instant::now(),
                plan: planned.frame.logical_plan().clone(),
                client_types: planned.client_types.clone(),
                parameters: planned.parameters.clone(),
            });
        }
        Ok(planned)
    }

    fn find(&self, text: &str, values: Option<&RecordBatch>, now: Instant) -> Option<CachedPlan> {
        let mut cached = self.lock();
        cached.retain(|cached| now.duration_since(cached.planned) < AGE_MAX);
        let found = cached.iter().find(|cached| cached.matches(text, values));
        found.cloned()
    }

    fn insert(&self, newest: CachedPlan) {
        let mut cached = self.lock();
        cached.retain(|cached| !cached.matches(&newest.text, newest.values.as_ref()));
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
    fn matches(&self, text: &str, values: Option<&RecordBatch>) -> bool {
        self.text == text && self.values.as_ref() == values
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::logical_expr::LogicalPlanBuilder;

    use super::*;

    fn row(value: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![value]));
        RecordBatch::try_from_iter([("1", column)]).expect("a row")
    }

    fn cached(text: &str, values: Option<RecordBatch>, planned: Instant) -> CachedPlan {
        CachedPlan {
            text: text.to_owned(),
            values,
            planned,
            plan: LogicalPlanBuilder::empty(true).build().expect("a plan"),
            client_types: ClientTypes::of(&Schema::empty()),
            parameters: Schema::empty(),
        }
    }

    #[test]
    fn plan_is_found_by_text_and_values_until_it_expires() {
        let (plans, now) = (PlanCache::default(), Instant::now());
        plans.insert(cached("SELECT 1", None, now));
        plans.insert(cached("SELECT $1", Some(row(1)), now));
        let is_found = |text, values: Option<RecordBatch>, now| {
            plans.find(text, values.as_ref(), now).is_some()
        };
        assert!(is_found("SELECT 1", None, now));
        assert!(!is_found("SELECT 1", Some(row(1)), now));
        assert!(is_found("SELECT $1", Some(row(1)), now));
        assert!(!is_found("SELECT $1", Some(row(2)), now));
        assert!(!is_found("SELECT 2", None, now));
        assert!(!is_found("SELECT 1", None, now + AGE_MAX));
    }

    #[test]
    fn oldest_plan_is_evicted() {
        let (plans, now) = (PlanCache::default(), Instant::now());
        for number in 0..=COUNT_MAX {
            plans.insert(cached(&number.to_string(), None, now));
        }
        assert!(plans.find("0", None, now).is_none());
        assert!(plans.find("1", None, now).is_some());
    }
}
