//! One run of a query: the selected partitions are computed concurrently and published together.

mod cast_to_schema;
mod partition_selection;
mod publish;
mod runner;
mod stage;
mod staleness;
mod sync_hbase;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use engine::session::{columns_of, storable};
use futures::{StreamExt as _, TryStreamExt as _};
use lake::{CommitOutcome, History, PartitionKey, Table, TableSchema, misnamed};
use tracing::{Instrument as _, info_span};

use self::cast_to_schema::{cast_to_schema, is_scalar};
pub use self::partition_selection::PartitionSelection;
use self::partition_selection::partitions;
use self::publish::publish;
use self::runner::{Computed, RunId, TRIES};
pub use self::runner::{PartitionRun, Published, Report, Runner};
use self::stage::PartitionRows;
use self::staleness::{Freshness, Input};
use self::sync_hbase::{input_time, sync_hbase};
use crate::error::Error;
use crate::outputs::Output;
use crate::query::{ParameterType, QueryFile};
use crate::query::{bind, data_type, parameters};

/// Partitions that are computed at the same time.
const CONCURRENCY: usize = 4;

/// What all partitions of an attempt have in common.
struct Attempt<'a> {
    query: &'a QueryFile,
    arguments: &'a BTreeMap<String, ScalarValue>,
    /// Columns of the outputs.
    schema: SchemaRef,
    /// Whether an earlier attempt of this run ended in a commit conflict.
    is_retry: bool,
    history: History,
}

impl Runner {
    /// Runs `query` for the partitions of `selection` with the parameter values `arguments`, and
    /// calls `progress` after each computed partition. Log lines of the run have the query and an
    /// id in their span.
    ///
    /// Outputs of a partition whose input has not changed are not touched. All changed partitions
    /// of the output table become visible in one commit, after their files of JSON Lines. A killed
    /// run has therefore committed nothing, and the next run repeats it.
    ///
    /// # Errors
    /// When the query cannot be planned or computed, a check of its header fails, a storage or
    /// HBase fails, or other writers win every commit.
    pub async fn run(
        &self,
        query: &QueryFile,
        selection: &PartitionSelection,
        arguments: &BTreeMap<String, String>,
        progress: &(dyn Fn(&PartitionRun) + Sync),
    ) -> Result<Report, Error> {
        let run = self.run_to_commit(query, selection, arguments, progress);
        let span = info_span!("run", query = %query.name, id = %RunId::next());
        run.instrument(span).await
    }

    /// Repeats the run until no other writer commits to its output table meanwhile.
    async fn run_to_commit(
        &self,
        query: &QueryFile,
        selection: &PartitionSelection,
        arguments: &BTreeMap<String, String>,
        progress: &(dyn Fn(&PartitionRun) + Sync),
    ) -> Result<Report, Error> {
        let arguments = parameters(query, arguments)?;
        if let Some(output) = &query.header.output.table
            && let Some(mut table) = self.lake.open(&output.table_name()?).await?
        {
            // Before this run uploads anything. The fence makes a concurrent run compute again.
            table.remove_orphan_files().await?;
        }
        for attempt in 0..TRIES {
            let is_retry = attempt > 0;
            let report = self
                .attempt(query, selection, &arguments, is_retry, progress)
                .await?;
            if let Some(report) = report {
                return Ok(report);
            }
        }
        Err(Error::TooManyRunConflicts {
            query: query.name.to_string(),
            tries: TRIES,
        })
    }

    /// Plans `query` without running it and returns the schema of its output.
    ///
    /// # Errors
    /// When the query cannot run over the current tables.
    pub async fn plan(&self, query: &QueryFile) -> Result<TableSchema, Error> {
        let null = |(name, kind): (&String, &ParameterType)| {
            let value = ScalarValue::try_from(&data_type(*kind)).map_err(engine::Error::plan)?;
            Ok::<_, engine::Error>((name.clone(), value))
        };
        let values = query.header.params.iter().map(null);
        let values = values.collect::<Result<_, _>>()?;
        let schema = self.output_schema(query, &values).await?;
        Ok(table_schema(query, &schema))
    }

    /// One attempt of a run; `None` when its commit to the output table conflicts with another one.
    async fn attempt(
        &self,
        query: &QueryFile,
        selection: &PartitionSelection,
        arguments: &BTreeMap<String, ScalarValue>,
        is_retry: bool,
        progress: &(dyn Fn(&PartitionRun) + Sync),
    ) -> Result<Option<Report>, Error> {
        let values = partitions(self, query, selection).await?;
        let schema = self.output_schema(query, arguments).await?;
        let mut table = self.open_output(query, &schema).await?;
        // Read before the first partition is planned: a later commit to the input has a later time.
        let input_ms = match &query.header.output.hbase {
            Some(_) => Some(input_time(self, query).await?),
            None => None,
        };
        let attempt = Attempt {
            query,
            arguments,
            schema,
            is_retry,
            history: History::default(),
        };
        let computed: Vec<Computed> = futures::stream::iter(values)
            .map(|value| self.compute(&attempt, table.as_ref(), value))
            .buffered(CONCURRENCY)
            .inspect_ok(|computed| progress(&computed.run))
            .try_collect()
            .await?;
        let mut version = None;
        for output in query.header.output.iter() {
            let Some(table) = &mut table else { continue };
            match output {
                // Replaced with the computation of each partition.
                Output::JsonLines(_) => {}
                Output::Table(_) => match publish(self, query, table, &computed, input_ms).await? {
                    Some(CommitOutcome::Conflict) => return Ok(None),
                    Some(CommitOutcome::Committed(committed)) => version = Some(committed),
                    None => {}
                },
                Output::Hbase(hbase) => {
                    let keys = computed.iter().map(|computed| computed.key.clone());
                    sync_hbase(self, query, hbase, table, &keys.collect::<Vec<_>>()).await?;
                }
            }
        }
        let files = computed
            .iter()
            .filter(|computed| computed.run.published != Published::Nothing)
            .filter_map(|computed| query.jsonl_file(&self.base_path, &computed.key))
            .map(|location| location.to_string())
            .collect();
        let partitions = computed.into_iter().map(|computed| computed.run).collect();
        Ok(Some(Report {
            partitions,
            version,
            files,
        }))
    }

    /// The columns of the query's rows, in types that tables can store.
    async fn output_schema(
        &self,
        query: &QueryFile,
        arguments: &BTreeMap<String, ScalarValue>,
    ) -> Result<SchemaRef, Error> {
        // The types of the columns do not depend on the value, so a null of the right type is
        // enough.
        let probe = query.header.partition.as_ref().and_then(|column| {
            let kind = query.header.params.get(column)?;
            ScalarValue::try_from(&data_type(*kind)).ok()
        });
        let planned = self
            .session
            .query_with(&query.statement, bind(query, probe.as_ref(), arguments))
            .await?;
        let fields: Vec<Field> = columns_of(&planned)
            .map_err(engine::Error::plan)?
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
        let outputs = query.header.output.iter();
        let named = outputs.flat_map(|output| output.columns().to_vec());
        let partition = query.header.partition.iter().cloned();
        let checked = query.header.check.not_null.iter().cloned();
        for column in partition.chain(checked).chain(named) {
            if schema.index_of(&column).is_err() {
                return Err(Error::QueryColumn {
                    query: query.name.to_string(),
                    column,
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
        if query.header.output.iter().next().is_none() {
            return Err(Error::NoOutput {
                query: query.name.to_string(),
                path: query.path.clone(),
            });
        }
        let Some(output) = &query.header.output.table else {
            return Ok(None);
        };
        let table = self
            .lake
            .open_or_create(&output.table_name()?, &table_schema(query, schema))
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
            arguments,
            schema,
            is_retry,
            history,
        } = attempt;
        let started = Instant::now();
        let key = query.partition_key(value.as_ref());
        let planned = self
            .session
            .query_with(&query.statement, bind(query, value.as_ref(), arguments))
            .await?;
        let (state, plan) = planned.into_parts();
        let named: Vec<_> = arguments
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .chain([("partition".to_owned(), key.first().to_owned())])
            .collect();
        let input = Input::of(&query.text, &named, self.zone, &plan, &state);
        let input = input.map_err(engine::Error::plan)?;
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
        // An attempt that ended in a conflict may have overwritten the JSON Lines of the winning
        // run with those of an older input. A retry therefore computes fresh partitions too, and
        // compares files.
        if is_fresh && !*is_retry {
            return Ok(done(Published::Unchanged, None));
        }
        let batches = self.session.collect(state, plan).await?;
        let batches = cast_to_schema(query, schema, &key, batches)?;
        // Checked before any output is written.
        let rows = PartitionRows::check(query, &key, batches)?;
        let count = rows.count();
        if count == 0 && !is_fresh && !self.holds_rows(query, table, &key).await? {
            return Ok(done(Published::Nothing, None));
        }
        let stale_table = table.filter(|_| !is_fresh);
        let file = self.stage(query, stale_table, &key, rows).await?;
        let published = if is_fresh {
            Published::Unchanged
        } else {
            Published::Rows(count)
        };
        Ok(done(published, file))
    }

    /// Whether the outputs of this partition exist and were computed from the same input.
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
        if self.is_output_deleted(query, key).await? {
            return Ok(Freshness::Stale);
        }
        let output = table.snapshot();
        input.compare(output, &query.app_id(key), history).await
    }
}

fn table_schema(query: &QueryFile, columns: &SchemaRef) -> TableSchema {
    TableSchema {
        columns: Arc::clone(columns),
        partition: query.header.partition.iter().cloned().collect(),
        description: query.header.description.clone(),
    }
}
