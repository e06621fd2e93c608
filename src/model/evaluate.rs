//! Arithmetic on the values of the language.

use std::collections::HashMap;

use crate::dsl::{
    Problem, Value,
    syntax::{Expr, ExprKind, Operator},
};

/// Longest list that is kept.
const MAX_LIST: usize = 4096;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    Value(Value),
    /// A tensor by number; `None` when it could not be made, which was reported.
    Tensor(Option<usize>),
}

pub type Scope = HashMap<String, Bound>;

/// The value of an expression.
///
/// # Errors
/// The problem, or `None` where it was reported already.
pub fn value(expr: &Expr, scope: &Scope) -> Result<Value, Option<Problem>> {
    let problem = |message: String, label: &str| Problem::new("vitx::value", message).label(expr.span, label);
    match &expr.kind {
        ExprKind::Literal(value) => Ok(value.clone()),
        ExprKind::Group(inner) => value(inner, scope),
        ExprKind::List(items) if items.len() > MAX_LIST => {
            Err(Some(problem(format!("a list has at most {MAX_LIST} items"), "this one is longer")))
        }
        ExprKind::List(items) => {
            Ok(Value::List(items.iter().map(|item| value(item, scope)).collect::<Result<_, _>>()?))
        }
        ExprKind::Negate(inner) => match value(inner, scope)? {
            Value::Int(number) => number
                .checked_neg()
                .map(Value::Int)
                .ok_or_else(|| Some(problem("the number is too large".into(), "here"))),
            Value::Float(number) => Ok(Value::Float(-number)),
            other => Err(Some(problem(format!("{} has no negative", other.kind()), "expected a number"))),
        },
        ExprKind::Chain { first, rest } => {
            let mut total = value(first, scope)?;
            for (operator, operand) in rest {
                let right = value(operand, scope)?;
                total = combine(*operator, &total, &right)
                    .map_err(|message| Some(problem(message, "in this expression")))?;
            }
            Ok(total)
        }
        ExprKind::Call { name, arguments } if arguments.is_empty() => match scope.get(&name.text) {
            Some(Bound::Value(value)) => Ok(value.clone()),
            Some(Bound::Tensor(_)) => {
                Err(Some(problem(format!("`{}` is a tensor, not a value", name.text), "expected a value")))
            }
            None => {
                let names =
                    scope.iter().filter(|(_, bound)| matches!(bound, Bound::Value(_))).map(|(name, _)| name.as_str());
                let mut names: Vec<&str> = names.collect();
                names.sort_unstable();
                let problem = Problem::new("vitx::name", format!("there is no parameter `{}`", name.text));
                Err(Some(problem.label(name.span, "not defined here").suggest(&name.text, names)))
            }
        },
        _ => Err(Some(problem("a layer is not a value".into(), "expected a value"))),
    }
}

/// Whole numbers stay whole where the result is; a whole number and a fraction give a fraction.
fn combine(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    let symbol = operator.symbol();
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        if *b == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
            return Err(format!("{a} {symbol} 0 has no value"));
        }
        let exact = match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            Operator::Remainder => a.checked_rem(*b),
            Operator::Divide if a.checked_rem(*b) == Some(0) => a.checked_div(*b),
            Operator::Divide => return Ok(Value::Float(*a as f64 / *b as f64)),
        };
        return exact.map(Value::Int).ok_or_else(|| format!("{a} {symbol} {b} is too large a number"));
    }
    let number = |value: &Value| match value {
        Value::Int(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        other => Err(format!("`{symbol}` takes numbers, not {}", other.kind())),
    };
    let (a, b) = (number(left)?, number(right)?);
    let result = match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::Remainder => a % b,
    };
    if result.is_finite() { Ok(Value::Float(result)) } else { Err(format!("{a} {symbol} {b} has no value")) }
}
