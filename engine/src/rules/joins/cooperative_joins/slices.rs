//! The probe side of a join in slices, with a pause for others after so many pairs.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_plan::RecordBatchStream;
use futures::{Stream, StreamExt as _};

use super::clock::Clock;
use super::fan_out::{Counts, FanOut};

/// Most pairs of rows between two pauses, but for a single row that meets more.
const PAIRS_MAX: usize = 10_000_000;
/// Fewest, so that pauses cost nothing that could be measured.
const PAIRS_MIN: usize = 10_000;
/// Before the join has shown how fast it is.
const PAIRS_FIRST: usize = 200_000;
/// How long a join may compute between two pauses. Sixteen joins on two threads then come round in
/// a fifth of a second.
const TURN: Duration = Duration::from_millis(20);

/// A stream that hands on its input in slices.
pub(super) struct Slices {
    input: SendableRecordBatchStream,
    fan_out: Arc<FanOut>,
    partition: usize,
    keys: Vec<PhysicalExprRef>,
    clock: Arc<Clock>,
    /// Known from the first batch on: the build side is whole by then.
    counts: Option<Arc<Counts>>,
    batch: Option<Uncut>,
    turn: Turn,
}

/// A batch of which slices are left.
struct Uncut {
    batch: RecordBatch,
    from: usize,
    met: Met,
}

/// What each row of a batch meets.
enum Met {
    Each(usize),
    By(Vec<usize>),
}

/// What the join has done since the last pause, and may do until the next.
struct Turn {
    pairs: usize,
    pairs_max: usize,
    computing: Duration,
    /// When the join was given the last slice, and in which of its polls.
    handed: Option<(Instant, u64)>,
}

impl Slices {
    pub(super) fn new(
        input: SendableRecordBatchStream,
        fan_out: Arc<FanOut>,
        partition: usize,
        keys: Vec<PhysicalExprRef>,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            input,
            fan_out,
            partition,
            keys,
            clock,
            counts: None,
            batch: None,
            turn: Turn {
                pairs: 0,
                pairs_max: PAIRS_FIRST,
                computing: Duration::ZERO,
                handed: None,
            },
        }
    }

    fn uncut(&mut self, batch: RecordBatch) -> Result<Uncut> {
        let counts = self
            .counts
            .get_or_insert_with(|| self.fan_out.get(self.partition));
        let largest = counts.largest();
        let fits = largest.saturating_mul(batch.num_rows()) <= self.turn.pairs_max;
        let met = if counts.has_keys() && !fits {
            Met::By(counts.of_rows(&batch, &self.keys)?)
        } else {
            Met::Each(largest)
        };
        Ok(Uncut {
            batch,
            from: 0,
            met,
        })
    }
}

impl Uncut {
    /// Cuts off as many rows as meet `pairs` others, one at least; also the pairs that they make.
    fn cut(&mut self, pairs: usize) -> (RecordBatch, usize) {
        let left = self.batch.num_rows() - self.from;
        let (rows, made) = match &self.met {
            Met::Each(met) => {
                let rows = pairs.checked_div(*met).unwrap_or(left).clamp(1, left);
                (rows, rows.saturating_mul(*met))
            }
            Met::By(met) => {
                let (mut rows, mut made) = (0, 0_usize);
                for met in &met[self.from..] {
                    if rows > 0 && made.saturating_add(*met) > pairs {
                        break;
                    }
                    rows += 1;
                    made = made.saturating_add(*met);
                }
                (rows, made)
            }
        };
        let slice = self.batch.slice(self.from, rows);
        self.from += rows;
        (slice, made)
    }

    /// How many others the next row meets.
    fn met_by_first(&self) -> usize {
        match &self.met {
            Met::Each(met) => *met,
            Met::By(met) => met[self.from],
        }
    }

    fn is_cut_up(&self) -> bool {
        self.from >= self.batch.num_rows()
    }
}

impl Turn {
    /// The join has come back for more: in the same poll, it has computed since. In another one it
    /// may have waited for the operator that takes its rows.
    fn returned(&mut self, poll: u64) {
        if let Some((handed, at)) = self.handed.take()
            && at == poll
        {
            self.computing += handed.elapsed();
        }
    }

    fn is_over(&self) -> bool {
        self.pairs >= self.pairs_max || self.computing >= TURN
    }

    /// Begins anew, with as many pairs as would have taken [`TURN`].
    fn begin(&mut self) {
        if self.computing > TURN {
            let share = TURN.as_secs_f64() / self.computing.as_secs_f64();
            self.pairs_max = (self.pairs as f64 * share) as usize;
        } else if self.computing < TURN / 2 {
            self.pairs_max = self.pairs_max.saturating_mul(2);
        }
        self.pairs_max = self.pairs_max.clamp(PAIRS_MIN, PAIRS_MAX);
        self.pairs = 0;
        self.computing = Duration::ZERO;
    }

    /// Lets other tasks run, and has itself called again after them.
    fn pause<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        self.begin();
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn pairs_left(&self) -> usize {
        self.pairs_max.saturating_sub(self.pairs)
    }
}

impl Stream for Slices {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let poll = this.clock.poll(this.partition);
        this.turn.returned(poll);
        if this.turn.is_over() {
            return this.turn.pause(context);
        }
        if this.batch.is_none() {
            let Some(batch) = ready!(this.input.poll_next_unpin(context)).transpose()? else {
                return Poll::Ready(None);
            };
            if batch.num_rows() == 0 {
                return Poll::Ready(Some(Ok(batch)));
            }
            this.batch = Some(this.uncut(batch)?);
        }
        let Some(uncut) = &mut this.batch else {
            return Poll::Ready(None);
        };
        if this.turn.pairs > 0 && uncut.met_by_first() > this.turn.pairs_left() {
            return this.turn.pause(context);
        }
        let (slice, pairs) = uncut.cut(this.turn.pairs_left());
        if uncut.is_cut_up() {
            this.batch = None;
        }
        this.turn.pairs = this.turn.pairs.saturating_add(pairs);
        this.turn.handed = Some((Instant::now(), poll));
        Poll::Ready(Some(Ok(slice)))
    }
}

impl RecordBatchStream for Slices {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
