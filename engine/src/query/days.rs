//! Which partitions a run computes.

use std::collections::BTreeSet;

use chrono::{NaiveDate, Utc};
use datafusion::common::ScalarValue;

use super::file::QueryFile;
use super::parameters::parse_date;
use super::run::{Runner, key_of};
use crate::error::Error;

/// Which partitions a run computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Days {
    /// The current day in the configured zone.
    Today,
    One(NaiveDate),
    /// From the first to the last, both included.
    Range(NaiveDate, NaiveDate),
    /// Every partition that the input tables have, or that the outputs still have.
    All,
}

impl Runner {
    /// Values of the partition parameter that `days` names; one nameless for a query without.
    pub(super) async fn partitions(
        &self,
        query: &QueryFile,
        days: &Days,
    ) -> Result<Vec<Option<ScalarValue>>, Error> {
        let Some(column) = &query.header.partition else {
            return Ok(vec![None]);
        };
        let date = |date: &NaiveDate| Some(date32(*date));
        Ok(match days {
            Days::Today => vec![date(&Utc::now().with_timezone(&self.zone).date_naive())],
            Days::One(day) => vec![date(day)],
            Days::Range(from, to) => from
                .iter_days()
                .take_while(|day| day <= to)
                .map(|day| date(&day))
                .collect(),
            Days::All => {
                let days = self.every_day(query, column).await?;
                days.iter().map(date).collect()
            }
        })
    }

    /// Every day that the input tables have, or that the outputs still have from an earlier run: where
    /// a day's input has gone, its output goes too.
    async fn every_day(
        &self,
        query: &QueryFile,
        column: &str,
    ) -> Result<BTreeSet<NaiveDate>, Error> {
        let mut tables = self.session.tables_of(&query.statement).await?;
        if let Some(output) = &query.header.output.table {
            tables.push(output.name.parse()?);
        }
        let mut days = BTreeSet::new();
        for table in tables {
            if let Some(snapshot) = self.lake.snapshot(&table).await?
                && snapshot.partition_columns().next() == Some(column)
            {
                let values = snapshot.partition_values().into_iter();
                days.extend(values.filter_map(|value| match value {
                    ScalarValue::Date32(days) => NaiveDate::from_epoch_days(days?),
                    _ => None,
                }));
            }
        }
        if query.header.output.jsonl.is_some() {
            // A query may have no table, and a run may have been killed before it committed to it.
            for directory in self.base_path.directories().await? {
                let day = directory.strip_prefix(column);
                let day = day.and_then(|rest| parse_date(column, rest.strip_prefix('=')?).ok());
                if let Some(day) = day
                    && !days.contains(&day)
                    && self.may_be_published(query, day).await?
                {
                    days.insert(day);
                }
            }
        }
        Ok(days)
    }

    /// Whether an output may still have rows of a day that is in no table. An empty file of JSON Lines tells that
    /// there was such a day, and HBase may not have heard yet that it has gone.
    async fn may_be_published(&self, query: &QueryFile, day: NaiveDate) -> Result<bool, Error> {
        let key = key_of(query, Some(&date32(day)));
        match self.jsonl_location(query, &key) {
            Some(location) if self.hbase.is_some() && query.header.output.hbase.is_some() => {
                Ok(location.head().await?.is_some())
            }
            _ => self.has_lines(query, &key).await,
        }
    }
}

fn date32(day: NaiveDate) -> ScalarValue {
    ScalarValue::Date32(Some(day.to_epoch_days()))
}
