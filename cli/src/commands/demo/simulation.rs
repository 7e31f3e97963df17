//! Three days of simulated weather, polled as `produce` polls and written as `export` writes.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use pipeline::openweather::simulator::{SimulatedClock, Simulator};
use pipeline::openweather::{ApiKey, City, Client, Message, Options};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::progress::{Bar, ProgressMode};
use crate::text;

const CITIES: [&str; 6] = [
    "Paris",
    "London,GB",
    "Marseille",
    "Tromsø",
    "Sydney",
    "Kathmandu",
];
const DAYS: u32 = 3;
/// Midnight in Paris of the first day, 2026-01-15.
const FIRST: &str = "2026-01-14T23:00:00Z";
/// Offset of Paris on those days: in January it is one hour ahead of UTC.
const PARIS_AHEAD: TimeDelta = TimeDelta::hours(1);
const INTERVAL: TimeDelta = TimeDelta::minutes(10);
const POLLS_PER_FILE: u32 = 36;
const FILES: u32 = DAYS * 4;
/// Seed of the weather, so that every demo prints the same.
const SEED: u64 = 2026;
const KEY: &str = "the simulator's own key";

/// The number of export files, and how many of them are new.
#[derive(Debug)]
pub(super) struct Simulated {
    new: u32,
    files: u32,
}

impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (new, all) = (u64::from(self.new), u64::from(self.files));
        let per_file = u64::from(POLLS_PER_FILE) * CITIES.len() as u64;
        let messages = text::counted(all * per_file, "message");
        write!(
            f,
            "{messages} of {} cities on {DAYS} days, {}",
            CITIES.len(),
            text::counted(all, "file")
        )?;
        match new {
            0 => f.write_str(", all there already"),
            _ => Ok(()),
        }
    }
}

/// Polls the simulated server and writes export files below `directory`. Existing files stay.
pub(super) async fn export(directory: &Path, progress: ProgressMode) -> anyhow::Result<Simulated> {
    let clock = SimulatedClock::new(first());
    let server_clock = clock.clone();
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("could not listen on 127.0.0.1 for the simulated OpenWeather server")?;
    let url: Url = format!("http://{}", listener.local_addr()?).parse()?;
    let shutdown = CancellationToken::new();
    // Ends the server on every return of this function.
    let _guard = shutdown.clone().drop_guard();
    let simulator = Simulator::new(SEED, ApiKey::new(KEY), move || server_clock.now());
    tokio::spawn(simulator.serve(listener, shutdown));

    let mut options = Options::new(url, ApiKey::new(KEY));
    options.calls_per_minute = None;
    options.timeout = Duration::from_secs(30);
    let client = Client::new(options)?;
    let cities: Vec<City> = CITIES
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()?;

    let polls = u64::from(FILES * POLLS_PER_FILE);
    let bar = Bar::new(progress, "simulating", polls, "polls");
    let mut new = 0;
    for file in 0..FILES {
        let path = directory.join(file_name(instant(file * POLLS_PER_FILE)));
        if path.exists() {
            continue;
        }
        let mut lines = String::new();
        for poll in file * POLLS_PER_FILE..(file + 1) * POLLS_PER_FILE {
            clock.set(instant(poll));
            for (position, message) in observe(&client, &cities).await?.iter().enumerate() {
                let offset = poll as usize * CITIES.len() + position;
                lines.push_str(&line(offset, instant(poll), message)?);
            }
            bar.step();
        }
        write_whole(&path, &lines)?;
        new += 1;
    }
    Ok(Simulated { new, files: FILES })
}

/// Polls one message for each city, in the order of the cities.
async fn observe(client: &Client, cities: &[City]) -> anyhow::Result<Vec<Message>> {
    let mut observed: Vec<Option<Message>> = cities.iter().map(|_| None).collect();
    let mut results = std::pin::pin!(client.observe_all(cities));
    while let Some((city, result)) = results.next().await {
        let position = cities.iter().position(|known| known == city);
        observed[position.context("a city that was not polled")?] = Some(result?.message);
    }
    Ok(observed.into_iter().flatten().collect())
}

fn first() -> DateTime<Utc> {
    FIRST.parse().expect("a constant that is an instant")
}

/// The time of poll number `poll`.
fn instant(poll: u32) -> DateTime<Utc> {
    first() + INTERVAL * i32::try_from(poll).expect("a few hundred polls")
}

/// The file name that the exporter would use, without the colons that HDFS refuses.
fn file_name(at: DateTime<Utc>) -> String {
    let local = at + PARIS_AHEAD;
    local
        .format("dt=%Y-%m-%d/weather_%Y%m%dT%H%M%S.json")
        .to_string()
}

/// A line as the exporter writes it: identity, local time, message.
fn line(offset: usize, at: DateTime<Utc>, message: &Message) -> anyhow::Result<String> {
    let local = at + PARIS_AHEAD;
    let head = json!({
        "kafka_partition": 0,
        "kafka_offset": offset,
        "event_time": local.format("%Y-%m-%d %H:%M:%S").to_string(),
    });
    let head = head.to_string();
    let head = head
        .strip_suffix('}')
        .context("an object ends with a brace")?;
    // The message is JSON text already, and is written unchanged.
    Ok(format!("{head},\"value\":{}}}\n", message.to_json()))
}

/// Writes a file by rename, so that no reader sees half of it, even when the demo is interrupted.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension("json.part");
    let directory = path.parent().unwrap_or(path);
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&temporary, text))
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{DAYS, FILES, POLLS_PER_FILE, file_name, instant};

    #[test]
    fn simulated_days_are_whole_days_in_paris() {
        let polls = FILES * POLLS_PER_FILE;
        assert_eq!(polls, DAYS * 144);
        assert_eq!(
            file_name(instant(0)),
            "dt=2026-01-15/weather_20260115T000000.json"
        );
        assert_eq!(
            file_name(instant(polls - 1)),
            "dt=2026-01-17/weather_20260117T235000.json"
        );
    }
}
