//! The schedule of a query.

use chrono::Utc;
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::Deserialize;

/// The `schedule` of a header.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields: minute, hour, day, month, weekday.
    pub cron: String,
    /// IANA name of the zone of the fields; `None` means `time.zone`.
    pub zone: Option<String>,
}

impl Schedule {
    /// The error in the schedule, if any.
    pub(crate) fn fault(&self) -> Option<String> {
        let cron = &self.cron;
        let parsed = match self.times() {
            Ok(parsed) => parsed,
            Err(error) => {
                return Some(format!(
                    "schedule.cron is \"{cron}\", which is no time to run at: {error}; write five fields, minute, hour, day, \
                     month and weekday, such as \"*/10 * * * *\""
                ));
            }
        };
        if parsed.find_next_occurrence(&Utc::now(), false).is_err() {
            return Some(format!(
                "schedule.cron is \"{cron}\", a time that never comes"
            ));
        }
        let zone = self.zone.as_ref()?;
        zone.parse::<Tz>().is_err().then(|| {
            format!("schedule.zone is \"{zone}\", and there is no such zone; write one such as \"Europe/Paris\"")
        })
    }

    /// Parses the cron text: five fields, no seconds and no years.
    fn times(&self) -> Result<Cron, croner::errors::CronError> {
        CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(&self.cron)
    }
}
