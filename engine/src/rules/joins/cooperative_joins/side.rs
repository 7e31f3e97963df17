//! The operator below each side of a join and above it: it passes on what it gets, counted, in
//! slices or timed.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalExprRef};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, RecordBatchStream,
    ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt as _};

use super::clock::Clock;
use super::fan_out::{Counts, FanOut};
use super::slices::Slices;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Build,
    Probe,
    Output,
}

#[derive(Debug, Clone)]
pub(super) struct JoinSideExec {
    side: Side,
    input: Arc<dyn ExecutionPlan>,
    fan_out: Arc<FanOut>,
    /// The columns of this side that the join compares; none where it compares all pairs.
    keys: Vec<PhysicalExprRef>,
    clock: Arc<Clock>,
}

impl JoinSideExec {
    /// Counts `input`, which others will be compared with.
    pub(super) fn build(
        input: Arc<dyn ExecutionPlan>,
        fan_out: Arc<FanOut>,
        keys: Vec<PhysicalExprRef>,
    ) -> Self {
        Self {
            side: Side::Build,
            input,
            fan_out,
            keys,
            clock: Arc::new(Clock::new(0)),
        }
    }

    /// Slices `input`, each row of which meets as many others as `fan_out` says.
    pub(super) fn probe(
        input: Arc<dyn ExecutionPlan>,
        fan_out: Arc<FanOut>,
        keys: Vec<PhysicalExprRef>,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            side: Side::Probe,
            input,
            fan_out,
            keys,
            clock,
        }
    }

    /// Tells `clock` when `join` is polled.
    pub(super) fn output(join: Arc<dyn ExecutionPlan>, clock: Arc<Clock>) -> Self {
        Self {
            side: Side::Output,
            input: join,
            fan_out: FanOut::constant(0),
            keys: Vec::new(),
            clock,
        }
    }
}

impl DisplayAs for JoinSideExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Build => "build",
            Side::Probe => "probe",
            Side::Output => "output",
        };
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "JoinSideExec: {side}")
            }
            DisplayFormatType::TreeRender => write!(f, "side={side}"),
        }
    }
}

impl ExecutionPlan for JoinSideExec {
    fn name(&self) -> &'static str {
        "JoinSideExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut recursion = TreeNodeRecursion::Continue;
        for key in &self.keys {
            recursion = f(key)?;
            if recursion == TreeNodeRecursion::Stop {
                break;
            }
        }
        Ok(recursion)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            input: children.swap_remove(0),
            ..Self::clone(&self)
        }))
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            input: children.swap_remove(0),
            ..Self::clone(&self)
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let fan_out = Arc::clone(&self.fan_out);
        let keys = self.keys.clone();
        Ok(match self.side {
            Side::Build => Box::pin(Counted {
                input,
                counts: Counts::default(),
                keys,
                fan_out,
                partition,
            }),
            Side::Probe => {
                let clock = Arc::clone(&self.clock);
                Box::pin(Slices::new(input, fan_out, partition, keys, clock))
            }
            Side::Output => Box::pin(Timed {
                input,
                clock: Arc::clone(&self.clock),
                partition,
            }),
        })
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&input_stats[0]))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// The build side on its way, counted.
struct Counted {
    input: SendableRecordBatchStream,
    counts: Counts,
    keys: Vec<PhysicalExprRef>,
    fan_out: Arc<FanOut>,
    partition: usize,
}

impl Stream for Counted {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let next = ready!(this.input.poll_next_unpin(context)).transpose()?;
        match &next {
            Some(batch) => this.counts.add(batch, &this.keys)?,
            // The join asks for its probe side when it has seen the end of this one.
            None => {
                let counts = std::mem::take(&mut this.counts);
                this.fan_out.set(this.partition, counts);
            }
        }
        Poll::Ready(next.map(Ok))
    }
}

/// A join whose polls are known to its probe side.
struct Timed {
    input: SendableRecordBatchStream,
    clock: Arc<Clock>,
    partition: usize,
}

impl Stream for Timed {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.clock.begin(self.partition);
        self.input.poll_next_unpin(context)
    }
}

impl RecordBatchStream for Timed {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

impl RecordBatchStream for Counted {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
