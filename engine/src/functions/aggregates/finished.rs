//! DataFusion's accumulators with another last step.

use std::fmt;

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// The accumulator `inner`, whose result `finish` computes.
pub(super) struct Finished<A, F> {
    inner: A,
    finish: F,
}

impl<A, F> Finished<A, F> {
    pub(super) fn new(inner: A, finish: F) -> Self {
        Self { inner, finish }
    }
}

impl<A: fmt::Debug, F> fmt::Debug for Finished<A, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Finished")
            .field(&self.inner)
            .finish()
    }
}

impl<F> Accumulator for Finished<Box<dyn Accumulator>, F>
where
    F: Fn(&mut dyn Accumulator) -> Result<ScalarValue> + Send + Sync + 'static,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        (self.finish)(self.inner.as_mut())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

impl<F> GroupsAccumulator for Finished<Box<dyn GroupsAccumulator>, F>
where
    F: Fn(&mut dyn GroupsAccumulator, EmitTo) -> Result<ArrayRef> + Send + 'static,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_count: usize,
    ) -> Result<()> {
        self.inner
            .update_batch(values, groups, filter, groups_count)
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        groups_count: usize,
    ) -> Result<()> {
        self.inner.merge_batch(states, groups, groups_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        (self.finish)(self.inner.as_mut(), emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}
