//! The readiness of a service, which the HTTP server publishes.

use std::sync::{Arc, Mutex, PoisonError};

/// The readiness of a service. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<Option<String>>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some("the service is starting".into()))))
    }
}

impl Health {
    /// Whether the service is ready.
    ///
    /// # Errors
    /// The reason why it is not.
    pub fn check(&self) -> Result<(), String> {
        let wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn set_ready(&self) {
        self.set(None);
    }

    pub(crate) fn set_not_ready(&self, why: &str) {
        self.set(Some(why.to_owned()));
    }

    fn set(&self, wrong: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
    }
}

#[cfg(test)]
mod tests {
    use super::Health;

    #[test]
    fn check_returns_the_state_that_was_set_last() {
        let health = Health::default();
        assert!(health.check().is_err());
        health.clone().set_ready();
        assert_eq!(health.check(), Ok(()));
        health.set_not_ready("no PostgreSQL");
        assert_eq!(health.check(), Err("no PostgreSQL".to_owned()));
    }
}
