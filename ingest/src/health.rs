//! Whether a service can do its work now, for those who ask it over HTTP.

use std::sync::{Arc, Mutex, PoisonError};

/// The health of a service. Clones are of the same service.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<Option<String>>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some("the service is starting".into()))))
    }
}

impl Health {
    /// # Errors
    /// Why the service cannot do its work.
    pub fn check(&self) -> Result<(), String> {
        let wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn well(&self) {
        self.set(None);
    }

    pub(crate) fn ill(&self, why: &str) {
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
    fn a_service_is_well_when_it_says_so() {
        let health = Health::default();
        assert!(health.check().is_err());
        health.clone().well();
        assert_eq!(health.check(), Ok(()));
        health.ill("no PostgreSQL");
        assert_eq!(health.check(), Err("no PostgreSQL".to_owned()));
    }
}
