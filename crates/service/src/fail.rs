//! Fail points: named steps between two changes of what is durable, at which a test kills or stops
//! the process.
//!
//! They do something only with the feature `fail-points`, which `make test` builds the binary with
//! that it judges. Then `arm` chooses one; the binary does so from the variable
//! `ISOBAR_FAIL_POINT`, as `NAME:N` for the N-th time that the step is reached, to be killed there,
//! or from `ISOBAR_STOP_POINT`, to be stopped there until SIGCONT.

/// Whether this build has fail points.
pub const IS_ENABLED: bool = cfg!(feature = "fail-points");

#[cfg(feature = "fail-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Armed> = OnceLock::new();

    struct Armed {
        name: String,
        /// Times that the step may still be reached.
        left: AtomicU64,
        strike: fn(),
    }

    /// Calls `strike` when the step of `choice` (`NAME:N`) is reached for the N-th time. The first
    /// call counts.
    ///
    /// # Panics
    /// When `choice` is not of this form.
    pub fn arm(choice: &str, strike: fn()) {
        let (name, times) = choice.split_once(':').expect("a fail point is NAME:N");
        ARMED.get_or_init(|| Armed {
            name: name.to_owned(),
            left: AtomicU64::new(times.parse().expect("a fail point is NAME:N")),
            strike,
        });
    }

    /// The step called `name` is reached.
    pub fn point(name: &str) {
        if let Some(armed) = ARMED.get()
            && armed.name == name
            && armed.left.fetch_sub(1, Ordering::AcqRel) == 1
        {
            (armed.strike)();
        }
    }
}

#[cfg(feature = "fail-points")]
pub use armed::{arm, point};

/// The step called `name` is reached.
#[cfg(not(feature = "fail-points"))]
#[inline]
pub fn point(_name: &str) {}
