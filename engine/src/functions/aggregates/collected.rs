//! `array_agg` and `string_agg`, whose results are as large as all values that they are given.
//!
//! DataFusion counts the memory of a view of a text without the text, so its pool lets `array_agg`
//! over long texts take what the machine has. A window writes the result once for each row of a
//! partition, all of them in one step.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, BooleanArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::{array_agg, string_agg};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
    ReversedUDAF, Signature,
};
use settings::ByteSize;

use crate::error::Error;
use crate::functions::texts::bounded::BATCH_MAX;

/// The functions to register in place of DataFusion's.
pub(super) fn functions() -> [AggregateUDF; 2] {
    [array_agg::array_agg_udaf(), string_agg::string_agg_udaf()].map(|inner| {
        AggregateUDF::from(Collected {
            inner,
            is_window: false,
        })
    })
}

/// `function` with a limit to what it makes for the rows of one partition; `None` for a function
/// that makes little.
pub(crate) fn over_window(function: &AggregateUDF) -> Option<AggregateUDF> {
    let collected = function.inner().downcast_ref::<Collected>()?;
    Some(AggregateUDF::from(Collected {
        inner: Arc::clone(&collected.inner),
        is_window: true,
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Collected {
    inner: Arc<AggregateUDF>,
    is_window: bool,
}

impl Collected {
    fn values(&self, inner: Box<dyn Accumulator>, holds_views: bool) -> Box<dyn Accumulator> {
        Box::new(Values {
            inner,
            function: self.inner.name().to_owned(),
            is_window: self.is_window,
            holds_views,
            rows: 0,
            text_bytes: 0,
        })
    }

    /// Whether the accumulator for `args` holds the arrays that it is given; others copy values,
    /// and count them.
    fn holds_views(&self, args: &AccumulatorArgs) -> bool {
        self.inner.name() == "array_agg" && !args.is_distinct && args.order_bys.is_empty()
    }
}

impl AggregateUDFImpl for Collected {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let holds_views = self.holds_views(&args);
        Ok(self.values(self.inner.accumulator(args)?, holds_views))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let holds_views = self.holds_views(&args);
        Ok(Box::new(GroupedValues {
            inner: self.inner.create_groups_accumulator(args)?,
            holds_views,
            text_bytes: 0,
        }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let holds_views = self.holds_views(&args);
        Ok(self.values(self.inner.create_sliding_accumulator(args)?, holds_views))
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        beneficial_ordering: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let inner = AggregateUDF::clone(&self.inner);
        let ordered = inner.with_beneficial_ordering(beneficial_ordering)?;
        Ok(ordered.map(|inner| {
            Arc::new(Self {
                inner: Arc::new(inner),
                is_window: self.is_window,
            }) as _
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Reversed(inner) => {
                let is_window = self.is_window;
                ReversedUDAF::Reversed(Arc::new(AggregateUDF::from(Self { inner, is_window })))
            }
            same => same,
        }
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Values of one group, or of the frame of a window.
struct Values {
    inner: Box<dyn Accumulator>,
    function: String,
    is_window: bool,
    holds_views: bool,
    rows: usize,
    /// Those of texts that the inner accumulator does not count.
    text_bytes: usize,
}

impl Values {
    fn uncounted(&self, values: &dyn Array) -> usize {
        if self.holds_views {
            text_bytes(values)
        } else {
            0
        }
    }

    /// A partition has about as many rows as its last frame has values, and each gets a result.
    fn check_window(&self, value: &ScalarValue) -> Result<()> {
        if !self.is_window {
            return Ok(());
        }
        let bytes = (bytes_of(value) as u64).saturating_mul(self.rows as u64);
        if bytes <= BATCH_MAX {
            return Ok(());
        }
        Err(DataFusionError::External(Box::new(
            Error::FunctionTooLarge {
                function: self.function.clone(),
                what: "the rows of one partition",
                bytes: ByteSize(bytes >> 20 << 20),
                limit: ByteSize(BATCH_MAX),
            },
        )))
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        allocations::check()?;
        self.rows += values[0].len();
        self.text_bytes += self.uncounted(&values[0]);
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        allocations::check()?;
        self.text_bytes += self.uncounted(&states[0]);
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.rows -= values[0].len();
        self.text_bytes -= self.uncounted(&values[0]).min(self.text_bytes);
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        allocations::check()?;
        let value = self.inner.evaluate()?;
        self.check_window(&value)?;
        Ok(value)
    }

    fn size(&self) -> usize {
        // The result is made beside the values.
        2 * (self.inner.size() + self.text_bytes)
    }
}

/// Values of many groups.
struct GroupedValues {
    inner: Box<dyn GroupsAccumulator>,
    holds_views: bool,
    /// Those of texts that the inner accumulator does not count.
    text_bytes: usize,
}

impl GroupsAccumulator for GroupedValues {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_count: usize,
    ) -> Result<()> {
        allocations::check()?;
        self.hold(&values[0]);
        self.inner
            .update_batch(values, groups, filter, groups_count)
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        groups_count: usize,
    ) -> Result<()> {
        allocations::check()?;
        self.hold(&states[0]);
        self.inner.merge_batch(states, groups, groups_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let before = self.inner.size();
        let values = self.inner.evaluate(emit_to)?;
        self.emitted(before);
        Ok(values)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let before = self.inner.size();
        let state = self.inner.state(emit_to)?;
        self.emitted(before);
        Ok(state)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size() + self.text_bytes
    }
}

impl GroupedValues {
    fn hold(&mut self, values: &dyn Array) {
        if self.holds_views {
            self.text_bytes += text_bytes(values);
        }
    }

    /// Keeps the share of the texts that the inner accumulator, of `before` bytes until now, keeps
    /// of its views.
    fn emitted(&mut self, before: usize) {
        let kept = self.inner.size() as u128 * self.text_bytes as u128;
        let kept = kept / (before as u128).max(1);
        self.text_bytes = usize::try_from(kept).unwrap_or(self.text_bytes);
    }
}

/// Bytes that a list or a text has when it is written out once more. [`ScalarValue::size`] counts
/// all of a buffer that other values share.
fn bytes_of(value: &ScalarValue) -> usize {
    match value {
        ScalarValue::List(list) => {
            let elements = list.value(0);
            let views = elements.to_data().get_slice_memory_size();
            views.unwrap_or_default() + text_bytes(&elements)
        }
        text => text.try_as_str().flatten().map_or(0, str::len),
    }
}

/// Bytes of the texts that views point to, in a column of texts or of lists of them.
fn text_bytes(values: &dyn Array) -> usize {
    match values.data_type() {
        DataType::Utf8View => values.as_string_view().total_bytes_len(),
        DataType::BinaryView => values.as_binary_view().total_bytes_len(),
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            // A slice of lists has the elements of all.
            let offsets = lists.value_offsets();
            let [first, last] = [offsets[0], offsets[lists.len()]].map(|offset| offset as usize);
            text_bytes(&lists.values().slice(first, last - first))
        }
        _ => 0,
    }
}
