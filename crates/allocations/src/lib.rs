//! What each statement has allocated and not freed, by the counters that jemalloc keeps for each
//! thread.
//!
//! DataFusion's memory pool counts what its operators report. Windows over lists, `unnest` and
//! values of a running function are not reported, and views of texts are reported without their
//! texts. Here a statement's tasks read the counters of their thread before and after each poll,
//! and the difference is the statement's.
//!
//! Blocks that another task allocates for a statement are added by [`charge`] (bytes that a store
//! has read). Blocks that another task frees are wrapped by [`accounted`] (messages that leave for
//! a client), or subtracted by [`discharge`].
//!
//! A process with another allocator than jemalloc, as the tests of a library are, counts nothing.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};
use datafusion::common::{DataFusionError, exec_err};
use futures::future::BoxFuture;
use settings::ByteSize;
use tikv_jemalloc_ctl::arenas::narenas;
use tikv_jemalloc_ctl::thread::{self, ThreadLocal};
use tikv_jemalloc_ctl::{Access as _, AsName as _};
use tracing::{Instrument as _, Span};

/// How long an arena keeps unused pages, in milliseconds. The number in it is that of the arena.
const DECAY_MS: &[u8] = b"arena.0.dirty_decay_ms\0";

static PURGING: Mutex<()> = Mutex::new(());

thread_local! {
    /// The poll of a statement's task that this thread is in.
    static CURRENT: RefCell<Option<InPoll>> = const { RefCell::new(None) };
    static COUNTERS: Option<Counters> = Counters::of_this_thread();
}

/// A statement is ended for the memory that it holds.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the statement was ended for its memory: it holds {held}, more than any other, and all of the process more than {limit} (query.resident_max); collect fewer values in one list, text or window, or select fewer rows"
)]
pub struct MemoryExceeded {
    /// What the statement holds, in whole MiB.
    pub held: ByteSize,
    /// What the process may hold.
    pub limit: ByteSize,
}

/// Bytes that one statement holds: allocated by its tasks, and not freed by them.
#[derive(Clone, Debug)]
pub struct Account {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes: AtomicI64,
    limit: u64,
    is_ended: AtomicBool,
    is_exceeded: AtomicBool,
}

#[derive(Debug)]
struct InPoll {
    account: Account,
    /// Bytes that the thread held when the poll began.
    before: i64,
}

impl Account {
    /// Of a statement that may hold `limit` bytes.
    pub fn new(limit: u64) -> Self {
        let shared = Shared {
            bytes: AtomicI64::new(0),
            limit,
            is_ended: AtomicBool::new(false),
            is_exceeded: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Makes [`check`] fail in the functions of the statement.
    pub fn end(&self) {
        self.shared.is_ended.store(true, Ordering::Relaxed);
    }

    /// As [`Account::end`], for the reason that the process holds too much.
    pub fn exceed(&self) {
        self.shared.is_exceeded.store(true, Ordering::Relaxed);
    }

    /// Why a statement with this account is ended for its memory.
    pub fn refusal(&self) -> MemoryExceeded {
        self.refusal_of(self.held())
    }

    fn refusal_of(&self, held: u64) -> MemoryExceeded {
        MemoryExceeded {
            held: ByteSize(held >> 20 << 20),
            limit: ByteSize(self.shared.limit),
        }
    }

    /// Bytes held now. What another task frees without [`discharge`] stays counted.
    pub fn held(&self) -> u64 {
        u64::try_from(self.shared.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn add(&self, bytes: i64) {
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Runs `work` as this statement's, and counts what it allocates.
    fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = held_by_thread();
        let account = self.clone();
        let outer = CURRENT.replace(Some(InPoll { account, before }));
        let _restore = Restore { outer };
        let done = work();
        self.add(held_by_thread() - before);
        done
    }
}

/// Restores what the thread worked for before, also after a panic.
struct Restore {
    outer: Option<InPoll>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.outer.take());
    }
}

/// A task of a statement: what its polls allocate goes to the account.
pub struct Counted<F: ?Sized> {
    account: Account,
    /// `None` when it is done: what it has held until then is freed in its last poll.
    future: Option<Pin<Box<F>>>,
}

impl<F: ?Sized> Counted<F> {
    pub fn new(account: Account, future: Pin<Box<F>>) -> Self {
        let future = Some(future);
        Self { account, future }
    }
}

impl<F: ?Sized> fmt::Debug for Counted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

/// A task that is aborted frees what it holds.
impl<F: ?Sized> Drop for Counted<F> {
    fn drop(&mut self) {
        let Self { account, future } = self;
        if future.is_some() {
            account.during(|| *future = None);
        }
    }
}

impl<F: Future + ?Sized> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { account, future } = &mut *self;
        account.during(|| {
            let work = future
                .as_mut()
                .expect("a future is not polled when it is done");
            let polled = work.as_mut().poll(context);
            if polled.is_ready() {
                *future = None;
            }
            polled
        })
    }
}

/// Ends a function that computes for long in one step.
///
/// # Errors
/// When the statement that this thread works for has ended, or holds too much.
pub fn check() -> Result<(), DataFusionError> {
    CURRENT.with_borrow(|current| {
        let Some(InPoll { account, before }) = current else {
            return Ok(());
        };
        if account.shared.is_ended.load(Ordering::Relaxed) {
            return exec_err!("the statement has ended");
        }
        let in_poll = held_by_thread() - before;
        let held = account.held().saturating_add_signed(in_poll);
        if held > account.shared.limit || account.shared.is_exceeded.load(Ordering::Relaxed) {
            let refusal = account.refusal_of(held);
            return Err(DataFusionError::External(Box::new(refusal)));
        }
        Ok(())
    })
}

/// Counts bytes that another task has allocated for the statement that this thread works for, if
/// there is one.
pub fn charge(bytes: u64) {
    add(i64::try_from(bytes).unwrap_or(i64::MAX));
}

/// Subtracts bytes that another task will free from the statement that this thread works for, if
/// there is one.
pub fn discharge(bytes: u64) {
    add(-i64::try_from(bytes).unwrap_or(i64::MAX));
}

/// `bytes`, which count as the statement's that this thread works for until another task frees
/// them.
pub fn accounted(bytes: Bytes) -> Bytes {
    match current_account() {
        Some(account) => Bytes::from_owner(Accounted { account, bytes }),
        None => bytes,
    }
}

struct Accounted {
    account: Account,
    bytes: Bytes,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Accounted {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.account.during(|| drop(bytes));
    }
}

fn add(bytes: i64) {
    CURRENT.with_borrow(|current| {
        if let Some(current) = current {
            current.account.add(bytes);
        }
    });
}

/// Gives pages back to the system that the allocator keeps for the next block.
pub fn purge() {
    // A second thread would take the time of zero for the one to restore.
    let _one = PURGING.lock().unwrap_or_else(PoisonError::into_inner);
    let (Ok(arenas), Ok(mut decay_ms)) = (narenas::read(), DECAY_MS.name().mib::<[usize; 3]>())
    else {
        return;
    };
    for arena in 0..arenas {
        decay_ms[1] = arena as usize;
        // An arena is created by its first thread.
        let kept_ms: Result<isize, _> = decay_ms.read();
        if let Ok(kept_ms) = kept_ms {
            // Pages that are kept for no time go back at once.
            let _ = decay_ms.write(0_isize);
            let _ = decay_ms.write(kept_ms);
        }
    }
}

/// Lets the tasks that DataFusion starts inherit the account of the task that starts them, and the
/// span of its log lines: a process can hook into these tasks once.
pub fn follow_tasks() {
    // Another runtime of this process has set it already.
    let _ = set_join_set_tracer(&Inherited);
}

fn current_account() -> Option<Account> {
    CURRENT.with_borrow(|current| Some(current.as_ref()?.account.clone()))
}

struct Inherited;

impl JoinSetTracer for Inherited {
    fn trace_future(
        &self,
        future: BoxFuture<'static, Box<dyn Any + Send>>,
    ) -> BoxFuture<'static, Box<dyn Any + Send>> {
        let future: BoxFuture<'static, _> = match Span::current() {
            span if span.is_none() => future,
            span => Box::pin(future.instrument(span)),
        };
        match current_account() {
            Some(account) => Box::pin(Counted::new(account, future)),
            None => future,
        }
    }

    fn trace_block(
        &self,
        work: Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>,
    ) -> Box<dyn FnOnce() -> Box<dyn Any + Send> + Send> {
        let span = Span::current();
        match current_account() {
            Some(account) => Box::new(move || span.in_scope(|| account.during(work))),
            None => Box::new(move || span.in_scope(work)),
        }
    }
}

struct Counters {
    allocated: ThreadLocal<u64>,
    freed: ThreadLocal<u64>,
}

impl Counters {
    fn of_this_thread() -> Option<Self> {
        let counters = Self {
            allocated: thread::allocatedp::read().ok()?,
            freed: thread::deallocatedp::read().ok()?,
        };
        // Each thread has allocated something before it comes here, if jemalloc is its allocator.
        (counters.allocated.get() > 0).then_some(counters)
    }
}

/// Bytes that this thread has allocated and not freed; negative where it frees what others have
/// allocated.
fn held_by_thread() -> i64 {
    COUNTERS.with(|counters| match counters {
        Some(counters) => counters
            .allocated
            .get()
            .wrapping_sub(counters.freed.get())
            .cast_signed(),
        None => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charge_goes_to_the_statement_of_the_thread() {
        let (outer, inner) = (Account::new(1000), Account::new(1000));
        charge(1);
        outer.during(|| {
            charge(10);
            inner.during(|| charge(100));
            discharge(3);
        });
        charge(1000);
        assert_eq!((outer.held(), inner.held()), (7, 100));
    }

    #[test]
    fn function_of_a_statement_that_ended_or_holds_too_much_fails() {
        let account = Account::new(10);
        assert!(account.during(check).is_ok());
        account.during(|| charge(11));
        let refusal = account.during(check).unwrap_err().to_string();
        assert!(refusal.contains("query.resident_max"), "{refusal}");
        let ended = Account::new(10);
        ended.end();
        assert!(ended.during(check).is_err());
        assert!(check().is_ok());
    }

    #[tokio::test]
    async fn tasks_inherit_the_span_of_the_task_that_starts_them() {
        use datafusion::common::runtime::SpawnedTask;

        follow_tasks();
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry());
        let span = tracing::error_span!("statement");
        let work = async { SpawnedTask::spawn(async { Span::current().id() }).await };
        let found = work.instrument(span.clone()).await.unwrap();
        assert!(found.is_some());
        assert_eq!(found, span.id());
    }

    #[tokio::test]
    async fn tasks_inherit_the_account_of_the_task_that_starts_them() {
        use datafusion::common::runtime::SpawnedTask;

        follow_tasks();
        let account = Account::new(1000);
        let work = async {
            let task = SpawnedTask::spawn(async {
                tokio::task::yield_now().await;
                charge(5);
            });
            let blocking = SpawnedTask::spawn_blocking(|| charge(7));
            task.await.unwrap();
            blocking.await.unwrap();
        };
        Counted::new(account.clone(), Box::pin(work)).await;
        assert_eq!(account.held(), 12);
    }
}
