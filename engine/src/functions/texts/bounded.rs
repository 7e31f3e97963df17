//! Functions whose result can be far larger than their arguments, with a limit.
//!
//! A function computes a whole batch before anything can stop it or count its memory: `range(0,
//! 10000000000)` takes the machine's memory in one call, `levenshtein` of two texts of a megabyte
//! takes hours. What a call would make is worked out from its arguments first, and refused when it
//! is too much.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::Expr;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature,
};
use settings::ByteSize;

use crate::error::Error;
use crate::functions::texts::output_size::{self, Argument, Measure};

/// Largest value that a function makes.
pub(in crate::functions) const VALUE_MAX: u64 = 64 << 20;
/// Most bytes that one call makes: the values of a batch of rows.
pub(in crate::functions) const BATCH_MAX: u64 = 512 << 20;
/// Most steps of a call of a function that compares each part of one argument with each of another:
/// some seconds. A batch of 8,192 rows may have texts of 780 characters.
const STEPS_MAX: u64 = 5_000_000_000;

/// A function of DataFusion behind a limit.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    measure: Measure,
}

/// Puts each function that needs it behind its limit.
pub(in crate::functions) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for (name, measure) in output_size::MEASURES {
        let Ok(inner) = registry.udf(name) else {
            continue;
        };
        let bounded = Bounded {
            inner,
            measure: *measure,
        };
        registry.register_udf(Arc::new(ScalarUDF::new_from_impl(bounded)))?;
    }
    Ok(())
}

/// That a call of `function` with `arguments` makes no more than it may.
pub(in crate::functions) fn check(
    function: &str,
    measure: Measure,
    arguments: &ScalarFunctionArgs,
) -> Result<()> {
    let rows = arguments.number_rows;
    let found: Vec<Argument> = arguments
        .args
        .iter()
        .map(Argument::new)
        .collect::<Result<_>>()?;
    if measure.is_small(&found, rows) {
        return Ok(());
    }
    let rows = if found.iter().all(Argument::is_constant) {
        rows.min(1)
    } else {
        rows
    };
    let mut whole = 0_u64;
    for row in 0..rows {
        let size = measure.of_row(&found, row).unwrap_or_default();
        whole = whole.saturating_add(size);
        if measure == Measure::Product {
            if whole > STEPS_MAX {
                return Err(refused(Error::FunctionTooSlow {
                    function: function.to_owned(),
                    steps: whole,
                    limit: STEPS_MAX,
                }));
            }
        } else if size > VALUE_MAX || whole > BATCH_MAX {
            let (what, bytes, limit) = if size > VALUE_MAX {
                ("one value", size, VALUE_MAX)
            } else {
                ("the values of one batch of rows", whole, BATCH_MAX)
            };
            return Err(refused(Error::FunctionTooLarge {
                function: function.to_owned(),
                what,
                bytes: ByteSize(bytes >> 20 << 20),
                limit: ByteSize(limit),
            }));
        }
    }
    Ok(())
}

fn refused(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = self.inner.inner().with_updated_config(config)?;
        Some(ScalarUDF::new_from_impl(Self {
            inner: Arc::new(inner),
            measure: self.measure,
        }))
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.name(), self.measure, &args)?;
        self.inner.invoke_with_args(args)
    }

    /// What a function becomes may hold the function as DataFusion has it, without a limit, and so
    /// none becomes anything.
    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Original(args))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.placement(args)
    }
}

/// Bytes that an array holds, whatever part of them its rows use.
pub(in crate::functions) fn bytes_of(array: &ArrayRef) -> u64 {
    array.get_array_memory_size() as u64
}
