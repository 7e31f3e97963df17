//! Three days of simulated weather, polled as `produce` would and kept as the exporter would.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use ingest::openweather::simulator::{SimulatedClock, Simulator};
use ingest::openweather::{ApiKey, City, Client, Message, Options};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::progress::{Bar, Show};
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
/// Of those days: in January Paris is one hour ahead, all day long.
const PARIS_AHEAD: TimeDelta = TimeDelta::hours(1);
const INTERVAL: TimeDelta = TimeDelta::minutes(10);
const POLLS_PER_FILE: u32 = 36;
const FILES: u32 = DAYS * 4;
/// Decides the weather: every demo shows the same.
const SEED: u64 = 2026;
const KEY: &str = "the simulator's own key";

/// What was made.
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

/// Polls the simulated server and writes export files below `directory`; those that are there stay.
pub(super) async fn export(directory: &Path, show: Show) -> anyhow::Result<Simulated> {
    let clock = SimulatedClock::new(first());
    let shown = clock.clone();
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("could not listen on 127.0.0.1 for the simulated OpenWeather server")?;
    let url: Url = format!("http://{}", listener.local_addr()?).parse()?;
    let shutdown = CancellationToken::new();
    // However this function ends, the server does too.
    let _guard = shutdown.clone().drop_guard();
    let simulator = Simulator::new(SEED, ApiKey::new(KEY), move || shown.now());
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
    let bar = Bar::new(show, "simulating", polls, "polls");
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

/// One message a city, in the order of the cities.
async fn observe(client: &Client, cities: &[City]) -> anyhow::Result<Vec<Message>> {
    let mut observed: Vec<Option<Message>> = cities.iter().map(|_| None).collect();
    let mut results = std::pin::pin!(client.observe_all(cities));
    while let Some((city, result)) = results.next().await {
        let position = cities.iter().position(|known| known == city);
        observed[position.context("a city that nobody asked for")?] = Some(result?.message);
    }
    Ok(observed.into_iter().flatten().collect())
}

fn first() -> DateTime<Utc> {
    FIRST.parse().expect("a constant that is an instant")
}

/// When poll number `poll` is made.
fn instant(poll: u32) -> DateTime<Utc> {
    first() + INTERVAL * i32::try_from(poll).expect("a few hundred polls")
}

/// As the exporter names its files, without the colons that HDFS refuses.
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
    // The message is text already, and stays as it was received.
    Ok(format!("{head},\"value\":{}}}\n", message.to_json()))
}

/// Nobody sees half a file, also when the demo is interrupted.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let aside = path.with_extension("json.part");
    let directory = path.parent().unwrap_or(path);
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&aside, text))
        .and_then(|()| std::fs::rename(&aside, path))
        .with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{DAYS, FILES, POLLS_PER_FILE, file_name, instant};

    #[test]
    fn the_days_are_whole_days_of_paris() {
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
