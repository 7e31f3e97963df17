//! `+ - * / %` and unary minus on whole numbers, decimals and spans of time: exact, or an error.
//!
//! DataFusion's operators wrap: `9223372036854775807 + 1` is negative, in constants that the
//! optimizer folds, in projections, join filters and window frames alike. Its physical operator can
//! be set to fail, but only where each plan node that holds one is rebuilt, and not where constants
//! are folded. So the analyzer puts these functions in place of the operators once, and everything
//! behind it computes with them. Decimals are checked against their precision, which Arrow's
//! kernels leave out, and quotients of decimals are rounded.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, ArrowNativeTypeOp as _, AsArray as _, Decimal128Array};
use arrow::array::{Datum, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, FieldRef, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

const DIGITS_MAX: u8 = 38;
/// Fraction digits that a quotient of decimals has where its type has room.
const QUOTIENT_SCALE: i16 = 16;
/// Fraction digits that it has at the least.
const QUOTIENT_SCALE_MIN: i16 = 6;

/// `left op right`, checked.
pub(crate) fn call(left: Expr, op: Operator, right: Expr) -> Expr {
    ScalarUDF::from(Arithmetic::new(op)).call(vec![left, right])
}

/// `-operand`, checked.
pub(crate) fn negate(operand: Expr) -> Expr {
    ScalarUDF::from(Negation::new()).call(vec![operand])
}

/// The decimals that a division of decimals is computed with, or none if it is none.
pub(crate) fn exact_operands(
    dividend: &DataType,
    divisor: &DataType,
) -> Option<(DataType, DataType)> {
    let exact = |data_type: &DataType| match data_type {
        DataType::Decimal128(..) => Some(data_type.clone()),
        DataType::Int8 | DataType::UInt8 => Some(DataType::Decimal128(3, 0)),
        DataType::Int16 | DataType::UInt16 => Some(DataType::Decimal128(5, 0)),
        DataType::Int32 | DataType::UInt32 => Some(DataType::Decimal128(10, 0)),
        DataType::Int64 => Some(DataType::Decimal128(19, 0)),
        DataType::UInt64 => Some(DataType::Decimal128(20, 0)),
        _ => None,
    };
    let some = dividend.is_decimal() || divisor.is_decimal();
    some.then_some(())?;
    Some((exact(dividend)?, exact(divisor)?))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    op: Operator,
    signature: Signature,
}

impl Arithmetic {
    fn new(op: Operator) -> Self {
        Self {
            op,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &'static str {
        match self.op {
            Operator::Plus => "+",
            Operator::Minus => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            _ => "%",
        }
    }

    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        Ok(self.written(operands.iter().map(Expr::schema_name)))
    }

    fn display_name(&self, operands: &[Expr]) -> Result<String> {
        Ok(self.written(operands.iter()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, operands: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = operands else {
            return plan_err!("'{}' has two operands", self.op);
        };
        if self.op == Operator::Divide
            && let Some((left, right)) = exact_operands(left, right)
        {
            return Ok(vec![left, right]);
        }
        let (left, right) = BinaryTypeCoercer::new(left, &self.op, right).get_input_types()?;
        Ok(vec![left, right])
    }

    fn return_type(&self, operands: &[DataType]) -> Result<DataType> {
        match (self.op, operands) {
            (
                Operator::Divide,
                [
                    DataType::Decimal128(digits, scale),
                    DataType::Decimal128(_, divisor_scale),
                ],
            ) => Ok(quotient_type(*digits, *scale, *divisor_scale)),
            (_, [left, right]) => BinaryTypeCoercer::new(left, &self.op, right).get_result_type(),
            _ => plan_err!("'{}' has two operands", self.op),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let fields = arguments.arg_fields;
        let types: Vec<_> = fields.iter().map(|f| f.data_type().clone()).collect();
        let nullable = fields.iter().any(|field| field.is_nullable());
        let name = self.name();
        Ok(arrow::datatypes::Field::new(name, self.return_type(&types)?, nullable).into())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = arguments.args.as_slice() else {
            return exec_err!("'{}' has two operands", self.op);
        };
        let to = arguments.return_field.data_type();
        let (op, from) = (self.op, (left.data_type(), right.data_type()));
        apply(left, right, |left, right| match (op, &from, to) {
            (
                Operator::Divide,
                (DataType::Decimal128(..), DataType::Decimal128(..)),
                DataType::Decimal128(..),
            ) => divide(left, right, to),
            (Operator::Plus | Operator::Minus | Operator::Multiply, _, to) if to.is_integer() => {
                whole(op, left, right)
            }
            _ => {
                let result = kernel(op)(left, right)?;
                if may_leave_its_precision(op, &from.0, &from.1) {
                    validate(&result)?;
                }
                Ok(result)
            }
        })
    }
}

impl Arithmetic {
    /// As the operator is written, so that columns keep their names.
    fn written(&self, operands: impl Iterator<Item = impl fmt::Display>) -> String {
        let operands: Vec<_> = operands.map(|operand| operand.to_string()).collect();
        operands.join(&format!(" {} ", self.op))
    }
}

/// The type of a quotient: four more fraction digits than the dividend, and up to 16 where 38
/// digits have room.
fn quotient_type(digits: u8, scale: i8, divisor_scale: i8) -> DataType {
    let whole = i16::from(digits) - i16::from(scale) + i16::from(divisor_scale);
    let room = i16::from(DIGITS_MAX) - whole;
    let scale = (i16::from(scale) + 4)
        .max(QUOTIENT_SCALE.min(room))
        .clamp(QUOTIENT_SCALE_MIN, i16::from(DIGITS_MAX));
    let digits = (whole + scale).clamp(scale.max(1), i16::from(DIGITS_MAX));
    DataType::Decimal128(
        u8::try_from(digits).unwrap_or(DIGITS_MAX),
        i8::try_from(scale).unwrap_or_default(),
    )
}

fn kernel(op: Operator) -> fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError> {
    match op {
        Operator::Plus => numeric::add,
        Operator::Minus => numeric::sub,
        Operator::Multiply => numeric::mul,
        Operator::Divide => numeric::div,
        _ => numeric::rem,
    }
}

/// Whether the digits of the exact result may be more than 38.
fn may_leave_its_precision(op: Operator, left: &DataType, right: &DataType) -> bool {
    let (&DataType::Decimal128(p1, s1), &DataType::Decimal128(p2, s2)) = (left, right) else {
        return false;
    };
    let digits = match op {
        Operator::Multiply => i16::from(p1) + i16::from(p2) + 1,
        _ => {
            let whole = (i16::from(p1) - i16::from(s1)).max(i16::from(p2) - i16::from(s2));
            whole + i16::from(s1.max(s2)) + 1
        }
    };
    digits > i16::from(DIGITS_MAX)
}

fn validate(result: &ArrayRef) -> Result<(), ArrowError> {
    match result.data_type() {
        DataType::Decimal128(precision, _) => result
            .as_primitive::<Decimal128Type>()
            .validate_decimal_precision(*precision),
        _ => Ok(()),
    }
}

/// The quotient of decimals, rounded half away from zero as PostgreSQL does; Arrow cuts it.
fn divide(left: &dyn Datum, right: &dyn Datum, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let ((left, left_is_scalar), (right, right_is_scalar), &DataType::Decimal128(digits, scale)) =
        (left.get(), right.get(), to)
    else {
        return Err(ArrowError::ComputeError(format!("a quotient is no {to}")));
    };
    let (left, right) = (
        left.as_primitive::<Decimal128Type>(),
        right.as_primitive::<Decimal128Type>(),
    );
    let shift = i16::from(scale) - i16::from(left.scale()) + i16::from(right.scale());
    let rows = if left_is_scalar {
        right.len()
    } else {
        left.len()
    };
    let at = |row: usize, is_scalar: bool| if is_scalar { 0 } else { row };
    let quotient = |row: usize| {
        let (l, r) = (at(row, left_is_scalar), at(row, right_is_scalar));
        if left.is_null(l) || right.is_null(r) {
            return Ok(None);
        }
        rounded_quotient(left.value(l), right.value(r), shift).map(Some)
    };
    let values: Decimal128Array = (0..rows).map(quotient).collect::<Result<_, ArrowError>>()?;
    let values = values.with_precision_and_scale(digits, scale)?;
    values.validate_decimal_precision(digits)?;
    Ok(Arc::new(values))
}

/// `dividend * 10^shift / divisor`.
fn rounded_quotient(dividend: i128, divisor: i128, shift: i16) -> Result<i128, ArrowError> {
    if divisor == 0 {
        return Err(ArrowError::DivideByZero);
    }
    let up = u32::try_from(shift).unwrap_or_default();
    let down = u32::try_from(-shift).unwrap_or_default();
    let small = 10_i128
        .checked_pow(up)
        .and_then(|factor| dividend.checked_mul(factor))
        .zip(
            10_i128
                .checked_pow(down)
                .and_then(|factor| divisor.checked_mul(factor)),
        );
    if let Some((dividend, divisor)) = small {
        let (quotient, rest) = (dividend / divisor, dividend % divisor);
        let away = i128::from((dividend < 0) == (divisor < 0)) * 2 - 1;
        let half = rest.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2);
        return Ok(if half { quotient + away } else { quotient });
    }
    let ten = i256::from_i128(10);
    let dividend = i256::from_i128(dividend).mul_checked(ten.pow_checked(up)?)?;
    let divisor = i256::from_i128(divisor).mul_checked(ten.pow_checked(down)?)?;
    let (quotient, rest) = (
        dividend.div_checked(divisor)?,
        dividend.mod_checked(divisor)?,
    );
    let away = if (dividend < i256::ZERO) == (divisor < i256::ZERO) {
        i256::ONE
    } else {
        i256::MINUS_ONE
    };
    let half = rest.wrapping_abs().mul_checked(i256::from_i128(2))? >= divisor.wrapping_abs();
    let rounded = if half {
        quotient.add_checked(away)?
    } else {
        quotient
    };
    rounded.to_i128().ok_or_else(|| {
        ArrowError::ArithmeticOverflow(format!(
            "Overflow happened on: {dividend} / {divisor}: over {DIGITS_MAX} digits"
        ))
    })
}

/// A whole number that says whether it has left its type.
trait Whole: Copy {
    fn overflowing(self, op: Operator, other: Self) -> (Self, bool);
}

macro_rules! whole {
    ($($native:ty),*) => {$(
        impl Whole for $native {
            #[inline(always)]
            fn overflowing(self, op: Operator, other: Self) -> (Self, bool) {
                match op {
                    Operator::Plus => self.overflowing_add(other),
                    Operator::Minus => self.overflowing_sub(other),
                    _ => self.overflowing_mul(other),
                }
            }
        }
    )*};
}
whole!(i8, i16, i32, i64, u8, u16, u32, u64);

fn whole(op: Operator, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    match left.get().0.data_type() {
        DataType::Int8 => typed_whole::<Int8Type>(op, left, right),
        DataType::Int16 => typed_whole::<Int16Type>(op, left, right),
        DataType::Int32 => typed_whole::<Int32Type>(op, left, right),
        DataType::Int64 => typed_whole::<Int64Type>(op, left, right),
        DataType::UInt8 => typed_whole::<UInt8Type>(op, left, right),
        DataType::UInt16 => typed_whole::<UInt16Type>(op, left, right),
        DataType::UInt32 => typed_whole::<UInt32Type>(op, left, right),
        DataType::UInt64 => typed_whole::<UInt64Type>(op, left, right),
        _ => kernel(op)(left, right),
    }
}

/// Computes a whole batch before it looks whether a value overflowed, which the compiler makes
/// vector instructions of.
///
/// The slots of nulls hold any value: if one overflows, Arrow's kernel, which leaves them out,
/// decides.
fn typed_whole<T>(op: Operator, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError>
where
    T: ArrowPrimitiveType,
    T::Native: Whole,
{
    let ((l, l_is_scalar), (r, r_is_scalar)) = (left.get(), right.get());
    let null_scalar = (l_is_scalar && l.null_count() > 0) || (r_is_scalar && r.null_count() > 0);
    if null_scalar || (l_is_scalar && r_is_scalar) {
        return kernel(op)(left, right);
    }
    let (l, r) = (l.as_primitive::<T>(), r.as_primitive::<T>());
    let computed = match op {
        Operator::Plus => batch(l, l_is_scalar, r, r_is_scalar, |a, b| {
            a.overflowing(Operator::Plus, b)
        }),
        Operator::Minus => batch(l, l_is_scalar, r, r_is_scalar, |a, b| {
            a.overflowing(Operator::Minus, b)
        }),
        _ => batch(l, l_is_scalar, r, r_is_scalar, |a, b| {
            a.overflowing(Operator::Multiply, b)
        }),
    };
    match computed {
        Some(values) => Ok(Arc::new(values)),
        None => kernel(op)(left, right),
    }
}

#[inline(always)]
fn batch<T: ArrowPrimitiveType>(
    left: &PrimitiveArray<T>,
    left_is_scalar: bool,
    right: &PrimitiveArray<T>,
    right_is_scalar: bool,
    op: impl Fn(T::Native, T::Native) -> (T::Native, bool),
) -> Option<PrimitiveArray<T>> {
    let mut overflowed = false;
    let mut one = |a, b| {
        let (value, overflow) = op(a, b);
        overflowed |= overflow;
        value
    };
    let (l, r) = (left.values(), right.values());
    let values: Vec<T::Native> = match (left_is_scalar, right_is_scalar) {
        (true, _) => {
            let l = l[0];
            r.iter().map(|r| one(l, *r)).collect()
        }
        (false, true) => {
            let r = r[0];
            l.iter().map(|l| one(*l, r)).collect()
        }
        (false, false) => l.iter().zip(r).map(|(l, r)| one(*l, *r)).collect(),
    };
    let nulls = match (left_is_scalar, right_is_scalar) {
        (true, _) => right.nulls().cloned(),
        (false, true) => left.nulls().cloned(),
        (false, false) => NullBuffer::union(left.nulls(), right.nulls()),
    };
    (!overflowed).then(|| PrimitiveArray::new(values.into(), nulls))
}

/// Unary minus: DataFusion's wraps at the smallest value of a type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Negation {
    signature: Signature,
}

impl Negation {
    fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Negation {
    fn name(&self) -> &'static str {
        "negate"
    }

    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        let operands: Vec<_> = operands
            .iter()
            .map(|o| o.schema_name().to_string())
            .collect();
        Ok(format!("(- {})", operands.concat()))
    }

    fn display_name(&self, operands: &[Expr]) -> Result<String> {
        let operands: Vec<_> = operands.iter().map(ToString::to_string).collect();
        Ok(format!("(- {})", operands.concat()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, operands: &[DataType]) -> Result<Vec<DataType>> {
        Ok(operands.to_vec())
    }

    fn return_type(&self, operands: &[DataType]) -> Result<DataType> {
        Ok(operands[0].clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match &arguments.args[0] {
            ColumnarValue::Array(values) => Ok(ColumnarValue::Array(numeric::neg(values)?)),
            ColumnarValue::Scalar(value) => {
                let negated = numeric::neg(&value.to_array()?)?;
                let negated = ScalarValue::try_from_array(&negated, 0)?;
                Ok(ColumnarValue::Scalar(negated))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{quotient_type, rounded_quotient};
    use arrow::datatypes::DataType;

    #[test]
    fn quotients_are_rounded_half_away_from_zero() {
        for (dividend, divisor, shift, expected) in [
            (1, 3, 4, 3333),
            (2, 3, 4, 6667),
            (-2, 3, 4, -6667),
            (1, 2, 0, 1),
            (-1, 2, 0, -1),
            (1, -2, 0, -1),
            (5, 10, 0, 1),
            (4, 10, 0, 0),
            // By Python: the dividend needs more than 128 bits on the way.
            (
                99_999_999_999_999_999_999_999_999_999_999_999_999,
                99_999_999_999_999_999_999,
                6,
                1_000_000_000_000_000_000_010_000,
            ),
        ] {
            let found = rounded_quotient(dividend, divisor, shift).expect("it fits");
            assert_eq!(found, expected, "{dividend} e{shift} / {divisor}");
        }
        assert!(rounded_quotient(1, 0, 4).is_err());
        assert!(rounded_quotient(i128::MAX, 1, 30).is_err());
    }

    #[test]
    fn quotients_have_as_many_digits_as_there_is_room_for() {
        for ((digits, scale, divisor_scale), expected) in [
            ((10, 2, 2), (26, 16)),
            ((19, 0, 1), (36, 16)),
            ((38, 4, 4), (38, 8)),
            ((38, 0, 0), (38, 6)),
        ] {
            let found = quotient_type(digits, scale, divisor_scale);
            assert_eq!(found, DataType::Decimal128(expected.0, expected.1));
        }
    }
}
