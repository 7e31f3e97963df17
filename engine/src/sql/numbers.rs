//! Number literals that are DOUBLE by their form: with an exponent, or too long for a DECIMAL.
//!
//! The session parses a literal with a point as an exact DECIMAL. That parse forgets the exponent
//! (`1e3` becomes a decimal of scale -3) and refuses more than 76 digits, so such literals are
//! turned into casts before planning.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, Statement, Value, ValueWithSpan,
    visit_expressions_mut,
};

/// Most digits of a DECIMAL.
const DIGITS_MAX: usize = 38;

/// Makes DOUBLE casts of the literals that no DECIMAL can stand for.
pub(super) fn rewrite(statement: &mut Statement) {
    let _: ControlFlow<()> = visit_expressions_mut(statement, |expression| {
        if let Some(double) = double(expression) {
            *expression = double;
        }
        ControlFlow::Continue(())
    });
}

fn double(expression: &Expr) -> Option<Expr> {
    let Expr::Value(ValueWithSpan {
        value: Value::Number(text, _),
        span,
    }) = expression
    else {
        return None;
    };
    if !is_double(text) {
        return None;
    }
    let text = Value::SingleQuotedString(text.replace('_', ""));
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(text.with_span(*span))),
        data_type: DataType::Double(ExactNumberInfo::None),
        array: false,
        format: None,
    })
}

fn is_double(text: &str) -> bool {
    let exponent = text.contains(['e', 'E']);
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let leading = text
        .chars()
        .take_while(|c| matches!(c, '0' | '_'))
        .filter(|c| *c == '0')
        .count();
    exponent || digits - leading > DIGITS_MAX
}

#[cfg(test)]
mod tests {
    use super::is_double;

    #[test]
    fn exponents_and_very_long_literals_are_double() {
        for exact in [
            "1",
            "1.5",
            "00001.5",
            "0.1",
            "12345678901234567890123456789012345678",
        ] {
            assert!(!is_double(exact), "{exact}");
        }
        for double in [
            "1e3",
            "1.5E-3",
            "3.14159265358979323846264338327950288419",
            "123456789012345678901234567890123456789",
        ] {
            assert!(is_double(double), "{double}");
        }
    }
}
