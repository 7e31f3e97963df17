//! The spool: messages that wait for Kafka, each in a file of its own.
//!
//! Every message goes through the spool, not only while Kafka is unavailable. The process need not
//! notice in time that Kafka is unavailable, and a kill between the API and Kafka loses nothing.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use service::metrics::Gauge;
use tokio::sync::Notify;
use tracing::{error, warn};

use crate::error::Error;

/// Bytes of one batch.
const BATCH_BYTES_MAX: u64 = 4 << 20;
const LOCK: &str = "lock";
/// Extension of a file that is being written. A crash may leave one.
const TEMPORARY: &str = "tmp";

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// OpenWeather's id of the city, the key of the record.
    pub(crate) city_id: i64,
    /// Time of the poll, UTC milliseconds.
    pub(crate) event_time_ms: i64,
    /// The message as JSON.
    pub(crate) value: Bytes,
}

/// A message that waits. The name of its file has everything but the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpooledMessage {
    /// Number in the order of the messages.
    number: u64,
    /// OpenWeather's id of the city.
    pub(crate) city_id: i64,
    /// Time of the poll, UTC milliseconds.
    pub(crate) event_time_ms: i64,
    /// Size of the value.
    pub(crate) bytes: u64,
    /// The value, if it could not be written to disk.
    unwritten: Option<Bytes>,
}

impl SpooledMessage {
    fn file_name(&self) -> String {
        let Self {
            number,
            city_id,
            event_time_ms,
            ..
        } = self;
        format!("{number:020}_{city_id}_{event_time_ms}.json")
    }

    fn from_file_name(name: &str, bytes: u64) -> Option<Self> {
        let mut parts = name.strip_suffix(".json")?.split('_');
        let waiting = Self {
            number: parts.next()?.parse().ok()?,
            city_id: parts.next()?.parse().ok()?,
            event_time_ms: parts.next()?.parse().ok()?,
            bytes,
            unwritten: None,
        };
        (waiting.file_name() == name).then_some(waiting)
    }
}

/// A queue on disk with one writer and one reader, used by one process.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: Arc<Path>,
    bytes_max: u64,
    state: Mutex<SpoolState>,
    /// Notified when a message arrives, or the spool is closed.
    changed: Notify,
    /// What waits, as metrics show it.
    pub(crate) messages_gauge: Gauge,
    /// Bytes of the waiting messages.
    pub(crate) bytes_gauge: Gauge,
    /// The operating system releases the lock when the process ends, in whatever way.
    _lock: File,
}

#[derive(Debug, Default)]
struct SpoolState {
    waiting: VecDeque<SpooledMessage>,
    bytes: u64,
    next: u64,
    is_closed: bool,
}

impl Spool {
    /// Opens the spool in `directory`, with the messages of an earlier process. Creates the
    /// directory if it is missing.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process uses it.
    pub(crate) fn open(directory: &Path, bytes_max: u64) -> Result<Self, Error> {
        let failed = |source| Error::Spool {
            path: directory.to_owned(),
            source,
        };
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = File::create(directory.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::SpoolTaken {
                path: directory.to_owned(),
            },
            TryLockError::Error(source) => failed(source),
        })?;
        let waiting = load_spooled(directory).map_err(failed)?;
        let spool = Self {
            directory: directory.into(),
            bytes_max,
            state: Mutex::new(SpoolState {
                bytes: waiting.iter().map(|waiting| waiting.bytes).sum(),
                next: waiting.back().map_or(0, |last| last.number + 1),
                waiting,
                is_closed: false,
            }),
            changed: Notify::new(),
            messages_gauge: Gauge::default(),
            bytes_gauge: Gauge::default(),
            _lock: lock,
        };
        spool.change(|_| ());
        Ok(spool)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The number of waiting messages.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// The reason why no more messages should be fetched, if there is one. The spool still accepts
    /// messages that were fetched before.
    pub(crate) fn problem(&self) -> Option<String> {
        let spool = self.directory.display();
        if self.unwritten() > 0 {
            return Some(format!(
                "the spool at {spool} cannot be written (produce.spool_path)"
            ));
        }
        let is_full = self.lock().bytes >= self.bytes_max;
        is_full.then(|| format!("the spool at {spool} is full (produce.spool_bytes_max)"))
    }

    /// The number of waiting messages that are not on disk.
    pub(crate) fn unwritten(&self) -> usize {
        let state = self.lock();
        let waiting = state.waiting.iter();
        waiting
            .filter(|waiting| waiting.unwritten.is_some())
            .count()
    }

    /// Adds a message. It is on disk when this returns. If the disk fails, the message waits in
    /// memory, since Kafka may still accept it.
    pub(crate) async fn push(&self, message: Outgoing) {
        let number = self.change(|state| {
            state.next += 1;
            state.next - 1
        });
        let mut waiting = SpooledMessage {
            number,
            city_id: message.city_id,
            event_time_ms: message.event_time_ms,
            bytes: message.value.len() as u64,
            unwritten: None,
        };
        let (directory, name, value) = (
            Arc::clone(&self.directory),
            waiting.file_name(),
            message.value.clone(),
        );
        let written = tokio::task::spawn_blocking(move || write(&directory, &name, &value)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            let spool = self.directory.display();
            error!(%error, %spool, "could not keep a message on disk; it is lost if this process ends before Kafka has it");
            waiting.unwritten = Some(message.value);
        }
        self.change(|state| {
            state.bytes += waiting.bytes;
            state.waiting.push_back(waiting);
        });
        self.changed.notify_one();
    }

    /// Closes the spool: no more messages will be added.
    pub(crate) fn close(&self) {
        self.change(|state| state.is_closed = true);
        self.changed.notify_one();
    }

    /// Waits for the next messages to send, at most `count`. None when the spool is closed and
    /// empty.
    ///
    /// They are the oldest, with at most one of each city, so that a retry cannot reorder the
    /// messages of a city.
    pub(crate) async fn batch(&self, count: usize) -> Option<Vec<SpooledMessage>> {
        loop {
            let (batch, is_closed) = {
                let state = self.lock();
                (first_of_each_city(&state.waiting, count), state.is_closed)
            };
            if !batch.is_empty() {
                return Some(batch);
            }
            if is_closed {
                return None;
            }
            self.changed.notified().await;
        }
    }

    /// Waits until the spool is closed and empty.
    pub(crate) async fn finished(&self) {
        loop {
            {
                let state = self.lock();
                if state.is_closed && state.waiting.is_empty() {
                    return;
                }
            }
            self.changed.notified().await;
        }
    }

    /// The message; none if its file was removed.
    pub(crate) async fn load(&self, waiting: &SpooledMessage) -> Result<Option<Outgoing>, Error> {
        let value = match &waiting.unwritten {
            Some(value) => value.clone(),
            None => {
                let path = self.directory.join(waiting.file_name());
                match tokio::fs::read(&path).await {
                    Ok(value) => value.into(),
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(source) => return Err(Error::Spool { path, source }),
                }
            }
        };
        Ok(Some(Outgoing {
            city_id: waiting.city_id,
            event_time_ms: waiting.event_time_ms,
            value,
        }))
    }

    /// Removes a message that Kafka has confirmed.
    pub(crate) fn remove(&self, waiting: &SpooledMessage) {
        let path = self.directory.join(waiting.file_name());
        match fs::remove_file(&path) {
            Err(error) if waiting.unwritten.is_none() && error.kind() != ErrorKind::NotFound => {
                let path = path.display();
                warn!(%error, %path, "could not remove a message that was sent; the next start will send it again");
            }
            _ => {}
        }
        self.change(|state| {
            let place = state
                .waiting
                .iter()
                .position(|other| other.number == waiting.number);
            if let Some(removed) = place.and_then(|place| state.waiting.remove(place)) {
                state.bytes -= removed.bytes;
            }
        });
    }

    /// Changes the state, and updates the metrics.
    fn change<T>(&self, work: impl FnOnce(&mut SpoolState) -> T) -> T {
        let mut state = self.lock();
        let done = work(&mut state);
        let shown = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.messages_gauge.set(shown(state.waiting.len() as u64));
        self.bytes_gauge.set(shown(state.bytes));
        done
    }

    fn lock(&self) -> MutexGuard<'_, SpoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn first_of_each_city(waiting: &VecDeque<SpooledMessage>, count: usize) -> Vec<SpooledMessage> {
    let (mut cities, mut bytes) = (HashSet::new(), 0);
    let fits = |waiting: &&SpooledMessage| {
        bytes += waiting.bytes;
        cities.insert(waiting.city_id) && (bytes <= BATCH_BYTES_MAX || cities.len() == 1)
    };
    waiting
        .iter()
        .take(count)
        .take_while(fits)
        .cloned()
        .collect()
}

/// The messages in the directory, oldest first. Other files are ignored.
fn load_spooled(directory: &Path) -> io::Result<VecDeque<SpooledMessage>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let of = path.with_extension("json");
        let Some(waiting) = of
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| SpooledMessage::from_file_name(name, entry.metadata().ok()?.len()))
        else {
            continue;
        };
        if path
            .extension()
            .is_some_and(|extension| extension == TEMPORARY)
        {
            fs::remove_file(&path)?;
        } else if path == of {
            found.push(waiting);
        }
    }
    found.sort_by_key(|waiting| waiting.number);
    Ok(found.into())
}

/// Writes a file atomically: under its name it is complete, also after a power failure.
fn write(directory: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let aside: PathBuf = directory.join(name).with_extension(TEMPORARY);
    let mut file = File::create(&aside)?;
    file.write_all(value)?;
    file.sync_all()?;
    fs::rename(&aside, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
