//! Types of settings: values that are checked once, where they enter the process, and then passed
//! down to the libraries.
//!
//! They are separate from `config`, so that a new key rebuilds no library.

mod byte_size;
mod kafka;
mod secret;

pub use byte_size::{ByteSize, NotASize};
pub use kafka::{KafkaClient, KafkaSecurity, KafkaTls, KafkaUser, SaslMechanism, SecurityProtocol};
pub use secret::{MASK, Secret};
