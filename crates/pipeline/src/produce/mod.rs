//! The producer: polls OpenWeather for each city, once an interval, and sends a message a city to
//! Kafka.
//!
//! [`Producer`] polls. What it fetches goes to the `spool`, and `delivery` sends it from there to
//! the `topic`. `schedule` computes when a poll is due; `status` holds metrics and readiness.
//!
//! A message is on disk before it is sent, until Kafka has confirmed it. A fetched message
//! therefore arrives even if the process is killed or Kafka is unavailable. It arrives twice only
//! if the process is killed between the confirmation and the removal of its file.

mod delivery;
mod schedule;
mod spool;
mod status;
mod topic;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt as _;
use service::error_chain;
use service::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::schedule::Schedule;
use self::spool::{Outgoing, Spool};
use self::status::Status;
pub use self::topic::Topic;
use crate::error::Error;
use crate::openweather::{self, City, Client, Observation};

/// Calls of the API for one poll of a city whose location is known.
const CALLS_PER_CITY: u64 = 3;

/// Options of a producer.
#[derive(Debug)]
pub struct Options {
    /// Address and account of the API.
    pub openweather: openweather::Options,
    /// The cities to poll.
    pub cities: Vec<City>,
    /// Time between two polls.
    pub interval: Duration,
    /// Brokers and topic to send to.
    pub topic: Topic,
    /// Directory of the messages that wait for Kafka.
    pub spool: PathBuf,
    /// Size of the spool from which on polls are skipped.
    pub spool_bytes_max: u64,
    /// Time limit after `shutdown` for cities being polled and messages being sent.
    pub shutdown_deadline: Duration,
}

/// A producer that is ready to poll.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    cities: Vec<City>,
    interval: Duration,
    topic: Topic,
    spool: Spool,
    shutdown_deadline: Duration,
    status: Status,
}

/// What a producer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// Messages that Kafka confirmed, including those of an earlier process.
    pub delivered: u64,
    /// Messages that are left in the spool.
    pub waiting: usize,
}

/// The result of a poll of all cities.
#[derive(Debug, Default)]
struct Polled {
    observed: usize,
    failures: Vec<openweather::Error>,
}

impl Producer {
    /// Opens the spool. Sends no request yet.
    ///
    /// # Errors
    /// When the spool or the base address cannot be used.
    pub fn open(options: Options) -> Result<Self, Error> {
        warn_of_too_many_calls(&options);
        Ok(Self {
            client: Client::new(options.openweather)?,
            cities: options.cities,
            interval: options.interval,
            topic: options.topic,
            spool: Spool::open(&options.spool, options.spool_bytes_max)?,
            shutdown_deadline: options.shutdown_deadline,
            status: Status::default(),
        })
    }

    /// Registers its metrics.
    pub fn register(&self, metrics: &Metrics) {
        self.status
            .register(metrics, &self.spool, self.client.counters());
    }

    /// The reason why it is not ready, if it is not.
    pub fn problem(&self) -> Option<String> {
        self.status.problem()
    }

    /// Polls at once and then each interval, and sends what it fetches, until `shutdown`. Then it
    /// starts no more cities, and ends when the messages of the running poll are sent, or at the
    /// deadline. Messages that were not sent stay in the spool.
    ///
    /// # Errors
    /// When the first poll shows that the key or a city is wrong, or the topic cannot be created.
    /// Later errors are retried.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<Produced, Error> {
        let ending = shutdown.child_token();
        let polling = async {
            let polled = self.poll_each_interval(&ending).await;
            ending.cancel();
            self.spool.close();
            polled
        };
        let sending = async {
            let sent = delivery::deliver(&self.spool, &self.topic, &self.status, &ending).await;
            ending.cancel();
            sent
        };
        let (polled, sent) = tokio::join!(
            self.by_deadline(&ending, polling),
            self.by_deadline(&ending, sending)
        );
        sent.unwrap_or(Ok(())).and(polled.unwrap_or(Ok(())))?;
        self.check_unwritten()?;
        Ok(self.produced())
    }

    /// Messages that wait and are not on disk are lost when this process ends.
    fn check_unwritten(&self) -> Result<(), Error> {
        let lost = self.spool.unwritten();
        if lost > 0 {
            let path = self.spool.directory().to_owned();
            return Err(Error::Unwritten { lost, path });
        }
        Ok(())
    }

    /// Drops `work` at the deadline after `ending`. Messages in the spool are kept.
    async fn by_deadline<T>(
        &self,
        ending: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let deadline = async {
            ending.cancelled().await;
            tokio::time::sleep(self.shutdown_deadline).await;
        };
        tokio::select! {
            done = work => Some(done),
            () = deadline => None,
        }
    }

    /// Polls once, and sends what it fetched and everything in the spool.
    ///
    /// # Errors
    /// When a city could not be polled, though the others were sent, or when Kafka did not confirm
    /// everything. Unconfirmed messages stay in the spool.
    pub async fn once(&self, shutdown: &CancellationToken) -> Result<Produced, Error> {
        let polled = self.poll_unless_full(shutdown).await;
        self.spool.close();
        let sending = delivery::connect_and_send(&self.spool, &self.topic, &self.status, shutdown);
        let sent = tokio::time::timeout(self.shutdown_deadline, sending).await;
        let source = match sent {
            Ok(Err(error @ Error::CreateTopic { .. })) => return Err(error),
            Ok(sent) => sent.err(),
            Err(_elapsed) => Some(Error::Unanswered {
                limit: self.shutdown_deadline,
            }),
        };
        self.check_unwritten()?;
        let produced = self.produced();
        if produced.waiting > 0 {
            return Err(Error::NotDelivered {
                waiting: produced.waiting,
                spool: self.spool.directory().to_owned(),
                source: source.map(Box::new),
            });
        }
        let refused = self.status.refused();
        if refused > 0 {
            return Err(Error::Refused { refused });
        }
        let failed = polled.failures.len();
        match polled.failures.into_iter().next() {
            None => Ok(produced),
            Some(source) => Err(Error::Cities {
                failed,
                cities: self.cities.len(),
                source,
            }),
        }
    }

    async fn poll_each_interval(&self, ending: &CancellationToken) -> Result<(), Error> {
        let schedule = Schedule::new(self.interval);
        let mut last = Utc::now();
        let first = self.poll_unless_full(ending).await;
        if let Some(error) = first.failures.into_iter().find(is_mistake) {
            return Err(error.into());
        }
        loop {
            tokio::select! {
                due = schedule.next(last) => last = due,
                () = ending.cancelled() => return Ok(()),
            }
            self.poll_unless_full(ending).await;
        }
    }

    /// Polls, unless the spool is full or cannot be written: fetched messages are never dropped, so
    /// nothing more is fetched then.
    async fn poll_unless_full(&self, ending: &CancellationToken) -> Polled {
        if let Some(why) = self.spool.problem() {
            self.skip(&why);
            return Polled::default();
        }
        self.poll(ending).await
    }

    /// Polls every city. Starts no more after `ending`, or when the key is refused, which is the
    /// same for all.
    async fn poll(&self, ending: &CancellationToken) -> Polled {
        let mut polled = Polled::default();
        let cities = self.cities.iter().take_while(|_| !ending.is_cancelled());
        let mut observations = pin!(self.client.observe_all(cities));
        while let Some((city, observed)) = observations.next().await {
            match observed {
                Ok(observation) => {
                    self.status.city_polled();
                    self.spool.push(outgoing(&observation)).await;
                    polled.observed += 1;
                }
                Err(failure) => {
                    self.status.city_failed();
                    let error = error_chain(&failure);
                    let is_key = matches!(failure, openweather::Error::InvalidKey { .. });
                    polled.failures.push(failure);
                    if is_key {
                        error!(%city, error, "could not poll any city");
                        break;
                    }
                    warn!(%city, error, "could not poll a city");
                }
            }
        }
        info!(
            cities = polled.observed,
            failed = polled.failures.len(),
            "polled"
        );
        let problem = polled.failures.first().filter(|_| polled.observed == 0);
        self.status
            .polled(problem.map(|failure| error_chain(failure)));
        polled
    }

    /// Skips a poll.
    fn skip(&self, why: &str) {
        let waiting = self.spool.waiting();
        if self.status.skipped(why) {
            error!(
                waiting,
                "{why}: nothing is polled until Kafka takes messages again"
            );
        }
    }

    fn produced(&self) -> Produced {
        Produced {
            delivered: self.status.delivered(),
            waiting: self.spool.waiting(),
        }
    }
}

/// The message for Kafka. Its time is that of the poll and not of the sending: messages that waited
/// for Kafka belong to the day on which they were polled.
fn outgoing(observation: &Observation) -> Outgoing {
    Outgoing {
        city_id: observation.city_id,
        event_time_ms: Utc::now().timestamp_millis(),
        value: observation.message.to_json().into(),
    }
}

/// Whether only the user can correct it.
fn is_mistake(error: &openweather::Error) -> bool {
    matches!(
        error,
        openweather::Error::InvalidKey { .. } | openweather::Error::UnknownCity { .. }
    )
}

fn warn_of_too_many_calls(options: &Options) {
    let Some(per_minute) = options.openweather.calls_per_minute else {
        return;
    };
    let calls = CALLS_PER_CITY * options.cities.len() as u64;
    let takes = Duration::from_secs(60 * calls / u64::from(per_minute.get()));
    if takes > options.interval {
        let (interval, takes) = (options.interval, takes);
        warn!(
            calls,
            per_minute,
            ?takes,
            ?interval,
            "a poll of all cities takes longer than openweather.interval, so that some are left out; raise it, or openweather.calls_per_minute if the plan allows"
        );
    }
}
