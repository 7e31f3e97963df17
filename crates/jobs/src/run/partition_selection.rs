//! Which partitions a run computes.

use std::collections::BTreeSet;

use super::runner::Runner;
use crate::error::Error;
use crate::outputs::Output;
use crate::outputs::jsonl::has_lines;
use crate::query::{QueryFile, parse_date};
use chrono::{NaiveDate, Utc};
use datafusion::common::ScalarValue;

/// Which partitions a run computes. Partitions are calendar days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionSelection {
    /// The current day in the configured zone.
    Today,
    /// This day.
    One(NaiveDate),
    /// From the first day to the last, both included.
    Range(NaiveDate, NaiveDate),
    /// Every partition that the input tables or the outputs have.
    All,
}

/// Values of the partition parameter that `selection` names; a single `None` for a query without
/// one.
pub(crate) async fn partitions(
    runner: &Runner,
    query: &QueryFile,
    selection: &PartitionSelection,
) -> Result<Vec<Option<ScalarValue>>, Error> {
    let Some(column) = &query.header.partition else {
        return Ok(vec![None]);
    };
    let date = |date: &NaiveDate| Some(date32(*date));
    Ok(match selection {
        PartitionSelection::Today => {
            vec![date(&Utc::now().with_timezone(&runner.zone).date_naive())]
        }
        PartitionSelection::One(day) => vec![date(day)],
        PartitionSelection::Range(from, to) => from
            .iter_days()
            .take_while(|day| day <= to)
            .map(|day| date(&day))
            .collect(),
        PartitionSelection::All => {
            let days = every_day(runner, query, column).await?;
            days.iter().map(date).collect()
        }
    })
}

/// Every day that the input tables have, or that the outputs have from an earlier run. A day whose
/// input was removed is computed as well, which empties its outputs.
async fn every_day(
    runner: &Runner,
    query: &QueryFile,
    column: &str,
) -> Result<BTreeSet<NaiveDate>, Error> {
    let mut tables = runner.session.tables_of(&query.statement).await?;
    let mut has_files = false;
    for output in query.header.output.iter() {
        match output {
            Output::Table(table) => tables.push(table.table_name()?),
            Output::JsonLines(_) => has_files = true,
            // A copy of the table, which has its days.
            Output::Hbase(_) => {}
        }
    }
    let mut days = BTreeSet::new();
    for table in tables {
        if let Some(snapshot) = runner.lake.snapshot(&table).await?
            && snapshot.partition_columns().next() == Some(column)
        {
            let values = snapshot.partition_values().into_iter();
            days.extend(values.filter_map(|value| match value {
                ScalarValue::Date32(days) => NaiveDate::from_epoch_days(days?),
                _ => None,
            }));
        }
    }
    if has_files {
        // The query may have no output table, or an earlier run was killed between its JSON Lines
        // and its commit.
        for directory in runner.base_path.directories().await? {
            let day = directory.strip_prefix(column);
            let day = day.and_then(|rest| parse_date(column, rest.strip_prefix('=')?).ok());
            if let Some(day) = day
                && !days.contains(&day)
                && may_be_published(runner, query, day).await?
            {
                days.insert(day);
            }
        }
    }
    Ok(days)
}

/// Whether an output may still have rows of a day that no table has.
///
/// An empty file of JSON Lines proves that an earlier run emptied the day. HBase may not have
/// received that change, so with HBase an empty file counts as well.
async fn may_be_published(
    runner: &Runner,
    query: &QueryFile,
    day: NaiveDate,
) -> Result<bool, Error> {
    let key = query.partition_key(Some(&date32(day)));
    match query.jsonl_file(&runner.base_path, &key) {
        Some(file) if runner.hbase.is_some() && query.header.output.hbase.is_some() => {
            Ok(file.head().await?.is_some())
        }
        Some(file) => has_lines(&file).await,
        None => Ok(false),
    }
}

fn date32(day: NaiveDate) -> ScalarValue {
    ScalarValue::Date32(Some(day.to_epoch_days()))
}
