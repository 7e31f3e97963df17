//! One run of a query: chosen partitions are computed side by side, published together.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use futures::{StreamExt as _, TryStreamExt as _};

use super::conform::{conform, is_scalar, refuse_keyless};
use super::days::Days;
use super::file::{ParameterType, QueryFile};
use super::parameters::{bind, data_type, parameters};
use super::publish::{app_id, publish};
use super::staleness::{Freshness, Input};
use crate::error::Error;
use crate::lake::{
    CommitOutcome, DataFile, History, Lake, Location, PartitionKey, Table, TableSchema, encode,
    misnamed, split,
};
use crate::output::hbase::Target;
use crate::output::jsonl;
use crate::session::{Session, columns_of, storable};

/// Partitions that are computed at the same time.
const CONCURRENCY: usize = 4;
/// How often a run is done anew because others committed to its output table meanwhile.
pub(super) const TRIES: usize = 5;

/// What became of one partition.
#[derive(Clone, Debug)]
pub struct PartitionRun {
    /// The partition's value; empty for a query without partitions.
    pub partition: String,
    pub published: Published,
    pub elapsed: Duration,
}

/// Whether a partition's outputs were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The outputs now hold this many rows.
    Rows(usize),
    /// The input has not changed since the outputs were written; they were not touched.
    Unchanged,
    /// There is no input and never was.
    Nothing,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Report {
    pub partitions: Vec<PartitionRun>,
    /// Version of the output table that this run committed.
    pub version: Option<u64>,
    /// Where the files of `output.jsonl` lie, when there are any.
    pub files: Vec<String>,
}

/// Runs queries over one lake.
#[derive(Debug)]
pub struct Runner {
    pub lake: Arc<Lake>,
    pub session: Session,
    /// Directory of `output.jsonl`.
    pub base_path: Location,
    pub zone: Tz,
    /// Where the rows of `output.hbase` go; they go nowhere without it.
    pub hbase: Option<Target>,
}

/// What all partitions of an attempt have in common.
struct Attempt<'a> {
    query: &'a QueryFile,
    given: &'a BTreeMap<String, ScalarValue>,
    schema: SchemaRef,
    /// Whether another one was superseded.
    again: bool,
    history: History,
}

/// A partition computed but not yet visible.
pub(super) struct Computed {
    pub(super) run: PartitionRun,
    pub(super) key: PartitionKey,
    pub(super) input: Input,
    pub(super) freshness: Freshness,
    pub(super) file: Option<DataFile>,
}

impl Runner {
    /// Runs `query` for `days` with `given` parameters; `progress` hears of each partition computed.
    ///
    /// Outputs of a partition whose input has not changed are not touched. All changed partitions of
    /// the output table become visible in one commit, after their files of JSON Lines, so that a run
    /// that is killed is repeated by the next one.
    pub async fn run(
        &self,
        query: &QueryFile,
        days: &Days,
        given: &BTreeMap<String, String>,
        progress: &(dyn Fn(&PartitionRun) + Sync),
    ) -> Result<Report, Error> {
        let given = parameters(query, given)?;
        if let Some(output) = &query.header.output.table
            && let Some(mut table) = self.lake.open(&output.name.parse()?).await?
        {
            // Before this run uploads anything. The fence makes a concurrent run compute again.
            table.remove_orphan_files().await?;
        }
        for attempt in 0..TRIES {
            let again = attempt > 0;
            let report = self.attempt(query, days, &given, again, progress).await?;
            if let Some(report) = report {
                return Ok(report);
            }
        }
        Err(Error::RunContended {
            query: query.name.to_string(),
            tries: TRIES,
        })
    }

    /// Plans `query` without running it: what its rows are, whatever its parameters.
    ///
    /// # Errors
    /// When the query cannot run over the tables there are.
    pub async fn plan(&self, query: &QueryFile) -> Result<TableSchema, Error> {
        let untold = |(name, kind): (&String, &ParameterType)| {
            let value = ScalarValue::try_from(&data_type(*kind)).map_err(Error::plan)?;
            Ok((name.clone(), value))
        };
        let values = query.header.params.iter().map(untold);
        let values = values.collect::<Result<_, _>>()?;
        let schema = self.output_schema(query, &values).await?;
        Ok(table_schema(query, &schema))
    }

    /// One attempt, the first or `again`; `None` when somebody else committed to the output table in
    /// between.
    async fn attempt(
        &self,
        query: &QueryFile,
        days: &Days,
        given: &BTreeMap<String, ScalarValue>,
        again: bool,
        progress: &(dyn Fn(&PartitionRun) + Sync),
    ) -> Result<Option<Report>, Error> {
        let values = self.partitions(query, days).await?;
        let schema = self.output_schema(query, given).await?;
        let mut table = self.open_output(query, &schema).await?;
        // Before the first partition is planned: what is committed meanwhile has a time of its own.
        let input_ms = match &query.header.output.hbase {
            Some(_) => Some(self.input_time(query).await?),
            None => None,
        };
        let attempt = Attempt {
            query,
            given,
            schema,
            again,
            history: History::default(),
        };
        let computed: Vec<Computed> = futures::stream::iter(values)
            .map(|value| self.compute(&attempt, table.as_ref(), value))
            .buffered(CONCURRENCY)
            .inspect_ok(|computed| progress(&computed.run))
            .try_collect()
            .await?;
        let mut version = None;
        if let Some(table) = &mut table {
            match publish(query, table, &computed, input_ms).await? {
                Some(CommitOutcome::Conflict) => return Ok(None),
                Some(CommitOutcome::Committed(committed)) => version = Some(committed),
                None => {}
            }
            let keys: Vec<_> = computed
                .iter()
                .map(|computed| computed.key.clone())
                .collect();
            self.mirror(query, table, &keys).await?;
        }
        let files = computed
            .iter()
            .filter(|computed| computed.run.published != Published::Nothing)
            .filter_map(|computed| self.jsonl_location(query, &computed.key))
            .map(|location| location.to_string())
            .collect();
        let partitions = computed.into_iter().map(|computed| computed.run).collect();
        Ok(Some(Report {
            partitions,
            version,
            files,
        }))
    }

    /// The columns of the query's rows, of types that tables can hold.
    async fn output_schema(
        &self,
        query: &QueryFile,
        given: &BTreeMap<String, ScalarValue>,
    ) -> Result<SchemaRef, Error> {
        // Any value of the right type will do to know the types of the columns.
        let probe = query.header.partition.as_ref().and_then(|column| {
            let kind = query.header.params.get(column)?;
            ScalarValue::try_from(&data_type(*kind)).ok()
        });
        let planned = self
            .session
            .query_with(&query.statement, bind(query, probe.as_ref(), given))
            .await?;
        let fields: Vec<Field> = columns_of(&planned)
            .map_err(Error::plan)?
            .fields()
            .iter()
            .map(|field| Field::new(field.name(), storable(field.data_type()), true))
            .collect();
        if let Some(field) = fields.iter().find(|field| !is_scalar(field.data_type())) {
            return Err(Error::QueryColumnType {
                query: query.name.to_string(),
                column: field.name().clone(),
                data_type: field.data_type().to_string(),
            });
        }
        let mut names = HashSet::new();
        if let Some(field) = fields.iter().find(|field| !names.insert(field.name())) {
            return Err(Error::QueryColumnTwice {
                query: query.name.to_string(),
                column: field.name().clone(),
            });
        }
        let schema = Arc::new(Schema::new(fields));
        let fills_table = query.header.output.table.is_some();
        if let Some(fault) = misnamed(&schema).filter(|_| fills_table) {
            return Err(Error::QueryColumnName {
                query: query.name.to_string(),
                fault,
            });
        }
        for column in query
            .header
            .partition
            .iter()
            .chain(&query.header.check.not_null)
            .chain(
                query
                    .header
                    .output
                    .hbase
                    .iter()
                    .flat_map(|hbase| &hbase.row_key),
            )
        {
            if schema.index_of(column).is_err() {
                return Err(Error::QueryColumn {
                    query: query.name.to_string(),
                    column: column.clone(),
                });
            }
        }
        Ok(schema)
    }

    async fn open_output(
        &self,
        query: &QueryFile,
        schema: &SchemaRef,
    ) -> Result<Option<Table>, Error> {
        let Some(output) = &query.header.output.table else {
            if query.header.output.jsonl.is_none() {
                return Err(Error::NoOutput {
                    query: query.name.to_string(),
                    path: query.path.clone(),
                });
            }
            return Ok(None);
        };
        let table = self
            .lake
            .open_or_create(&output.name.parse()?, &table_schema(query, schema))
            .await?;
        Ok(Some(table))
    }

    async fn compute(
        &self,
        attempt: &Attempt<'_>,
        table: Option<&Table>,
        value: Option<ScalarValue>,
    ) -> Result<Computed, Error> {
        let Attempt {
            query,
            given,
            schema,
            again,
            history,
        } = attempt;
        let started = Instant::now();
        let key = key_of(query, value.as_ref());
        let planned = self
            .session
            .query_with(&query.statement, bind(query, value.as_ref(), given))
            .await?;
        let (state, plan) = planned.into_parts();
        let named: Vec<_> = given
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .chain([("partition".to_owned(), key.first().to_owned())])
            .collect();
        let input = Input::of(&query.text, &named, self.zone, &plan, &state);
        let input = input.map_err(Error::plan)?;
        let freshness = self.freshness(query, table, &key, &input, history).await?;
        let is_fresh = freshness != Freshness::Stale;
        let done = |published, file| Computed {
            run: PartitionRun {
                partition: key.first().to_owned(),
                published,
                elapsed: started.elapsed(),
            },
            key: key.clone(),
            input,
            freshness,
            file,
        };
        // The attempt that was superseded may have written an older input's JSON Lines over those of
        // the run that came first, so then they are looked at whoever committed the table.
        if is_fresh && !*again {
            return Ok(done(Published::Unchanged, None));
        }
        let batches = self.session.collect(state, plan).await?;
        let batches = conform(query, schema, &key, batches)?;
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 && !is_fresh && !has_rows(table, &key) && !self.has_lines(query, &key).await? {
            return Ok(done(Published::Nothing, None));
        }
        // Before anybody sees a row: here rows of another partition, or without a key, are refused.
        refuse_keyless(query, &key, &batches)?;
        let file = match table {
            Some(table) if rows > 0 && !is_fresh => {
                Some(store(query, table, &key, &batches).await?)
            }
            _ => None,
        };
        if let Some(location) = self.jsonl_location(query, &key) {
            let content = jsonl::encode(&batches).map_err(|source| Error::Encode {
                query: query.name.to_string(),
                source: source.into(),
            })?;
            location.replace_if_changed(content).await?;
        }
        let published = if is_fresh {
            Published::Unchanged
        } else {
            Published::Rows(rows)
        };
        Ok(done(published, file))
    }

    /// Whether the outputs of this partition are there and were computed from the same input.
    async fn freshness(
        &self,
        query: &QueryFile,
        table: Option<&Table>,
        key: &PartitionKey,
        input: &Input,
        history: &History,
    ) -> Result<Freshness, Error> {
        let Some(table) = table else {
            return Ok(Freshness::Stale);
        };
        // Somebody may have removed the file; then it is written again.
        if let Some(location) = self.jsonl_location(query, key)
            && location.head().await?.is_none()
        {
            return Ok(Freshness::Stale);
        }
        let app_id = app_id(query, key);
        let output = table.snapshot();
        input.compare(output, &app_id, history).await
    }

    /// Whether the partition's file of JSON Lines is there and not empty.
    pub(super) async fn has_lines(
        &self,
        query: &QueryFile,
        key: &PartitionKey,
    ) -> Result<bool, Error> {
        let Some(location) = self.jsonl_location(query, key) else {
            return Ok(false);
        };
        Ok(location.head().await?.is_some_and(|file| file.size > 0))
    }

    pub(super) fn jsonl_location(&self, query: &QueryFile, key: &PartitionKey) -> Option<Location> {
        let output = query.header.output.jsonl.as_ref()?;
        let column = query.header.partition.as_ref()?;
        let directory = format!("{column}={}", key.first());
        Some(self.base_path.join(&directory).join(&output.file))
    }
}

fn table_schema(query: &QueryFile, columns: &SchemaRef) -> TableSchema {
    TableSchema {
        columns: Arc::clone(columns),
        partition: query.header.partition.iter().cloned().collect(),
        description: query.header.description.clone(),
    }
}

pub(super) fn key_of(query: &QueryFile, value: Option<&ScalarValue>) -> PartitionKey {
    PartitionKey::of(query.header.partition.as_deref(), value)
}

fn has_rows(table: Option<&Table>, key: &PartitionKey) -> bool {
    table.is_some_and(|table| table.snapshot().data_files(key).next().is_some())
}

async fn store(
    query: &QueryFile,
    table: &Table,
    key: &PartitionKey,
    batches: &[RecordBatch],
) -> Result<DataFile, Error> {
    let partition: Vec<_> = query.header.partition.iter().cloned().collect();
    let failed = |source: parquet::errors::ParquetError| Error::Encode {
        query: query.name.to_string(),
        source: source.into(),
    };
    let mut parts = split(batches, &partition).map_err(|source| failed(source.into()))?;
    let rows = parts.remove(key).unwrap_or_default();
    if let Some(other) = parts.keys().next() {
        return Err(Error::OtherPartition {
            query: query.name.to_string(),
            asked: key.first().to_owned(),
            found: other.first().to_owned(),
        });
    }
    let schema = table.snapshot().file_schema();
    let encoded = tokio::task::spawn_blocking(move || encode(&schema, &rows))
        .await
        .map_err(|source| failed(parquet::errors::ParquetError::External(source.into())))?
        .map_err(failed)?;
    table.store(key, encoded).await
}
