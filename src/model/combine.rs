//! Operators on two values.

use super::functions::{self, order};
use crate::dsl::{Value, syntax::Operator};

/// Of two values by an operator. Whole numbers stay whole where the result is; a whole number and a fraction give a
/// fraction.
///
/// # Errors
/// Why there is no value.
pub fn combine(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    match operator {
        _ if operator.is_arithmetic() => reckon(operator, left, right),
        Operator::Equal | Operator::NotEqual => {
            let comparable = match (left, right) {
                (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => true,
                _ => std::mem::discriminant(left) == std::mem::discriminant(right),
            };
            match comparable {
                true => Ok(Value::Bool(left.same(right) == (operator == Operator::Equal))),
                false => {
                    Err(format!("{left} {} {right} compares {} with {}", operator.symbol(), left.kind(), right.kind()))
                }
            }
        }
        _ => {
            let ordering = order(left, right).ok_or_else(|| {
                let other = if matches!(left, Value::Int(_) | Value::Float(_)) { right } else { left };
                format!("`{}` takes numbers, not {}", operator.symbol(), other.kind())
            })?;
            Ok(Value::Bool(match operator {
                Operator::Less => ordering.is_lt(),
                Operator::LessOrEqual => ordering.is_le(),
                Operator::Greater => ordering.is_gt(),
                _ => ordering.is_ge(),
            }))
        }
    }
}

fn reckon(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    let symbol = operator.symbol();
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        if *b == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
            return Err(format!("{a} {symbol} 0 has no value"));
        }
        let exact = match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            // The one remainder that overflows, by -1, is 0.
            Operator::Remainder => Some(a.wrapping_rem(*b)),
            Operator::Divide if a.wrapping_rem(*b) == 0 => a.checked_div(*b),
            _ => return Ok(Value::Float(*a as f64 / *b as f64)),
        };
        return exact.map(Value::Int).ok_or_else(|| format!("{a} {symbol} {b} is too large a number"));
    }
    let number = |value: &Value| {
        functions::number(value).ok_or_else(|| format!("`{symbol}` takes numbers, not {}", value.kind()))
    };
    let (a, b) = (number(left)?, number(right)?);
    let result = match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        _ => a % b,
    };
    if result.is_finite() { Ok(Value::Float(result)) } else { Err(format!("{left} {symbol} {right} has no value")) }
}
