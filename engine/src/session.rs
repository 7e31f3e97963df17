//! Plans statements over the lake. Only this module builds a session of DataFusion.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use chrono_tz::Tz;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::config::SpillCompression;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, ParamValues};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::source_as_provider;
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use lake::{Lake, Snapshot, TableName, TableSchema};

use crate::error::Error;
use crate::functions;
use crate::rules::{self, JoinPairs};
use crate::runtime::Runtime;
use crate::scan::LakeTable;
use crate::sql::{self, Statement, names};
use crate::system::{SYSTEM, SystemSchema};
use crate::wide_constants;

/// Catalog and schema that unqualified table names are looked up in.
pub const CATALOG: &str = "isobar";
pub const SCHEMA: &str = "lake";

/// The zone of every session.
const UTC: &str = "UTC";

/// SQL over the lake: reads only, every statement on the newest version of each table.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    tables: Arc<LakeSchema>,
    runtime: Arc<Runtime>,
    join_pairs: Arc<JoinPairs>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session over `lake`, for calendar days in `zone`, that shares `runtime` with others.
    pub fn new(lake: &Arc<Lake>, zone: Tz, runtime: &Arc<Runtime>) -> Result<Self, Error> {
        let mut config = SessionConfig::new()
            .with_target_partitions(runtime.threads())
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true);
        let options = config.options_mut();
        // Each scan decides by itself, see `scan::late`.
        options.execution.parquet.pushdown_filters = false;
        options.execution.parquet.reorder_filters = true;
        // Older writers store instants as INT96, which holds any year. Read as nanoseconds, an
        // instant before 1677 or after 2262 would be another one.
        options.execution.parquet.coerce_int96 = Some("us".to_owned());
        options.execution.parquet.coerce_int96_tz = Some("UTC".to_owned());
        options.execution.collect_statistics = true;
        // Tables have string views, which each output casts by itself: the planner would plan large
        // strings.
        options.optimizer.expand_views_at_output = false;
        // The filter drops the side of a column that is null in a file: `min(a), max(b)` loses
        // values (apache/datafusion#25147, #24816).
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        // The schemas differ in what may be null, after rewrites that know more of it: a check that
        // fails a right plan.
        options.execution.skip_physical_aggregate_schema_check = true;
        options.execution.spill_compression = SpillCompression::Lz4Frame;
        let environment = runtime.environment()?;
        lake.register(&environment);
        let tables = Arc::new(LakeSchema {
            lake: Arc::clone(lake),
            names: RwLock::default(),
            declared: RwLock::default(),
        });
        let catalog = MemoryCatalogProvider::new();
        catalog
            .register_schema(SCHEMA, Arc::clone(&tables) as Arc<dyn SchemaProvider>)
            .map_err(Error::plan)?;
        let system = Arc::new(SystemSchema {
            lake: Arc::clone(lake),
        });
        catalog
            .register_schema(SYSTEM, system)
            .map_err(Error::plan)?;
        let builder = builder_of(config).with_runtime_env(environment);
        let join_pairs = Arc::default();
        let state = rules::register(builder, runtime, &join_pairs).build();
        let context = SessionContext::new_with_state(state);
        context.register_catalog(CATALOG, Arc::new(catalog));
        functions::register(&context, zone).map_err(Error::plan)?;
        Ok(Self {
            context,
            tables,
            runtime: Arc::clone(runtime),
            join_pairs,
        })
    }

    /// Plans one statement of a user or a client: a query, `EXPLAIN`, `SHOW` or `DESCRIBE`.
    ///
    /// # Errors
    /// When it is not SQL, names what is not there, or would change anything.
    pub async fn query(&self, statement: &Statement) -> Result<DataFrame, Error> {
        if statement.lists_tables() {
            self.tables.refresh().await?;
        }
        let plan = self.plan(statement).await?;
        self.context
            .execute_logical_plan(plan)
            .await
            .map_err(Error::plan)
    }

    /// Plans `statement` with `parameters` in place of its `$name`s.
    pub async fn query_with(
        &self,
        statement: &Statement,
        parameters: ParamValues,
    ) -> Result<DataFrame, Error> {
        let bound = self.query(statement).await?;
        bound.with_param_values(parameters).map_err(Error::plan)
    }

    /// A plan of an earlier [`Session::query`], to be run as of now.
    pub fn frame(&self, plan: LogicalPlan) -> DataFrame {
        DataFrame::new(self.context.state(), plan)
    }

    /// Whether planning its statement again would give an equal `plan`: it reads only tables of the
    /// lake, and none of them has a newer version.
    pub async fn is_current(&self, plan: &LogicalPlan) -> Result<bool, Error> {
        let Some(snapshots) = snapshots_of(plan).map_err(Error::plan)? else {
            return Ok(false);
        };
        for snapshot in snapshots {
            let newest = self.tables.lake.snapshot(snapshot.name()).await?;
            if newest.is_none_or(|newest| !Arc::ptr_eq(&newest, &snapshot)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The plan of `statement`, proven to read only.
    async fn plan(&self, statement: &Statement) -> Result<LogicalPlan, Error> {
        statement.check_budget()?;
        let plan = names::plan(&self.context, statement).await?;
        verify_reads_only(statement, &plan)?;
        Ok(plan)
    }

    /// Names of the lake's tables that `statement` reads, views, common table expressions and table
    /// functions aside.
    pub async fn tables_of(&self, statement: &Statement) -> Result<Vec<TableName>, Error> {
        let state = self.context.state();
        let references = state
            .resolve_table_references(&statement.parsed())
            .map_err(Error::plan)?;
        let functions = state.table_functions();
        Ok(references
            .iter()
            .filter(|reference| !functions.contains_key(reference.table()))
            .filter(|reference| reference.schema().is_none_or(|schema| schema == SCHEMA))
            .filter_map(|reference| reference.table().parse().ok())
            .collect())
    }

    /// Runs a plan to its end; for results that are known to be small.
    pub async fn collect(
        &self,
        state: SessionState,
        plan: LogicalPlan,
    ) -> Result<Vec<RecordBatch>, Error> {
        let rows = async {
            let (plan, context) = executable(DataFrame::new(state, plan)).await?;
            collect(plan, context).await.map_err(Error::execute)
        };
        self.runtime.watched(rows).await
    }

    /// Lets statements be planned over a table that may come later: until the lake has it, it is
    /// empty.
    pub fn declare(&self, name: TableName, schema: &TableSchema) {
        let columns = Arc::clone(&schema.columns);
        let declared = self.tables.declared.write();
        let mut declared = declared.unwrap_or_else(PoisonError::into_inner);
        declared.insert(name, columns);
    }

    /// Refuses joins that would compare more than `pairs_max` pairs of rows, by estimate.
    pub fn limit_join_pairs(&self, pairs_max: u64) {
        self.join_pairs.limit(pairs_max);
    }

    /// The runtime that it shares with other sessions of the process.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    pub fn context(&self) -> &SessionContext {
        &self.context
    }
}

/// Begins a session in which SQL means what it means in all of them.
fn builder_of(mut config: SessionConfig) -> SessionStateBuilder {
    let options = config.options_mut();
    // A literal without an offset is a time in UTC. Only `event_day` knows the zone of days: with
    // it in here DataFusion's functions return other types than they declare, and forms of one
    // literal differ.
    options.execution.time_zone = Some(UTC.to_owned());
    options.sql_parser.map_string_types_to_utf8view = false;
    // A literal with a point is exact; `rules::types::number_types` makes it a DOUBLE beside one.
    options.sql_parser.parse_float_as_decimal = true;
    // Errors of the planner have a position.
    options.sql_parser.collect_spans = true;
    SessionStateBuilder::new()
        .with_config(config)
        .with_expr_planners(functions::planners())
        .with_default_features()
        .with_type_planner(Arc::new(sql::time::TimeTypePlanner))
}

/// The columns of `planned` as its rows will have them.
///
/// The schema of a plan that is not analysed yet is another one: before type coercion a CASE or a
/// UNION has the type of its first branch, so that `CASE WHEN x THEN 1 ELSE 0.5 END` would be
/// described as BIGINT.
///
/// # Errors
/// When types do not fit together, or a parameter without a value leaves them open.
pub fn columns_of(planned: &DataFrame) -> Result<SchemaRef, DataFusionError> {
    let (state, plan) = planned.clone().into_parts();
    if let LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) = plan {
        return Ok(Arc::clone(plan.schema().inner()));
    }
    let analyzer = state.analyzer();
    let analysed = analyzer.execute_and_check(plan, state.config_options(), |_, _| {})?;
    Ok(Arc::clone(analysed.schema().inner()))
}

/// What runs for `planned`, and what to run it with.
pub async fn executable(
    planned: DataFrame,
) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>), Error> {
    let context = planned.task_ctx();
    let plan = planned.create_physical_plan().await.map_err(Error::plan)?;
    let context = wide_constants::context_of(&plan, context).map_err(Error::plan)?;
    Ok((plan, Arc::new(context)))
}

/// The snapshots of the tables that `plan` reads; `None` where it reads anything else, or describes
/// a plan, as EXPLAIN does.
fn snapshots_of(plan: &LogicalPlan) -> Result<Option<Vec<Arc<Snapshot>>>, DataFusionError> {
    let mut snapshots: Vec<Arc<Snapshot>> = Vec::new();
    let mut reads_all_from_tables = true;
    plan.apply_with_subqueries(|node| {
        let snapshot = match node {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                let table = provider.downcast_ref::<LakeTable>();
                table.map(|table| Arc::clone(table.snapshot()))
            }
            LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::DescribeTable(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Extension(_) => None,
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        let Some(snapshot) = snapshot else {
            reads_all_from_tables = false;
            return Ok(TreeNodeRecursion::Stop);
        };
        if !snapshots.iter().any(|known| Arc::ptr_eq(known, &snapshot)) {
            snapshots.push(snapshot);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(reads_all_from_tables.then_some(snapshots))
}

/// The tables of the lake as a DataFusion schema.
#[derive(Debug)]
struct LakeSchema {
    lake: Arc<Lake>,
    /// What `information_schema` and `SHOW TABLES` list, as of the last [`LakeSchema::refresh`];
    /// DataFusion asks for names where it cannot wait for the storage.
    names: RwLock<Vec<String>>,
    /// Tables that are planned for, see [`Session::declare`].
    declared: RwLock<HashMap<TableName, SchemaRef>>,
}

impl LakeSchema {
    async fn refresh(&self) -> Result<(), Error> {
        let tables = self.lake.readable().await?;
        let names = tables
            .iter()
            .map(|table| table.name().to_string())
            .collect();
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        Ok(())
    }

    fn declared(&self, name: &TableName) -> Option<Arc<dyn TableProvider>> {
        let declared = self.declared.read().unwrap_or_else(PoisonError::into_inner);
        let columns = Arc::clone(declared.get(name)?);
        Some(Arc::new(EmptyTable::new(columns)))
    }
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        self.names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let failed = |error| DataFusionError::External(Box::new(error));
        if let Ok(name) = name.parse::<TableName>() {
            let snapshot = self.lake.snapshot(&name).await.map_err(failed)?;
            if let Some(snapshot) = snapshot {
                return Ok(Some(Arc::new(LakeTable::new(snapshot))));
            }
            if let Some(declared) = self.declared(&name) {
                return Ok(Some(declared));
            }
        }
        match self.lake.meant_directory(name).await.map_err(failed)? {
            Some(error) => Err(failed(error)),
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}

/// A session for rows that are being made rather than read: it knows our functions and no table.
///
/// Its plans are run many times, one batch at a time, so they have one partition.
pub fn rows_context(zone: Tz) -> Result<SessionContext, DataFusionError> {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_create_default_catalog_and_schema(true);
    let builder = rules::register_for_rows(builder_of(config));
    let context = SessionContext::new_with_state(builder.build());
    functions::register(&context, zone)?;
    Ok(context)
}

/// Plans the one statement of `text`, which came from `origin`, in a [`rows_context`].
pub async fn plan_messages(
    context: &SessionContext,
    text: &str,
    origin: &str,
) -> Result<LogicalPlan, Error> {
    let statement = sql::parse_one(text, origin)?;
    let plan = context
        .state()
        .statement_to_plan(statement.prepared()?)
        .await
        .map_err(|source| sql::plan_failed(&statement, source))?;
    verify_reads_only(&statement, &plan)?;
    Ok(plan)
}

/// The type that a table stores values of `data_type` as.
pub fn storable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => other.clone(),
    }
}

fn verify_reads_only(statement: &Statement, plan: &LogicalPlan) -> Result<(), Error> {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(plan)
        .map_err(|_| Error::ReadOnly {
            statement: statement.kind(),
        })
}
