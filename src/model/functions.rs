//! Functions of numbers: a line each.

use std::cmp::Ordering;

use crate::dsl::Value;

/// A function of the language.
#[derive(Debug)]
pub struct NumberFunction {
    pub name: &'static str,
    /// How it is called, and what it gives.
    pub about: &'static str,
    /// How many numbers it takes; `None` for two or more.
    arguments: Option<usize>,
    /// Of as many numbers as that.
    call: fn(&[Value]) -> Option<Value>,
}

/// All functions, by name.
pub const FUNCTIONS: &[NumberFunction] = &[
    NumberFunction {
        name: "ceil",
        about: "`ceil(x)` is the least whole number that is not less than x",
        arguments: Some(1),
        call: |x| whole(&x[0], f64::ceil),
    },
    NumberFunction {
        name: "floor",
        about: "`floor(x)` is the greatest whole number that is not greater than x",
        arguments: Some(1),
        call: |x| whole(&x[0], f64::floor),
    },
    NumberFunction {
        name: "max",
        about: "`max(x, y, ..)` is the greatest of two or more numbers",
        arguments: None,
        call: |x| extreme(x, Ordering::Greater),
    },
    NumberFunction {
        name: "min",
        about: "`min(x, y, ..)` is the least of two or more numbers",
        arguments: None,
        call: |x| extreme(x, Ordering::Less),
    },
    NumberFunction {
        name: "round",
        about: "`round(x)` is the nearest whole number, halves away from zero",
        arguments: Some(1),
        call: |x| whole(&x[0], f64::round),
    },
    NumberFunction {
        name: "sqrt",
        about: "`sqrt(x)` is the square root of a number that is not negative",
        arguments: Some(1),
        call: |x| number(&x[0]).map(f64::sqrt).filter(|root| root.is_finite()).map(Value::Float),
    },
];

/// The function of a name.
pub fn function(name: &str) -> Option<&'static NumberFunction> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

impl NumberFunction {
    /// What it gives.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    pub fn call(&self, values: &[Value]) -> Result<Value, String> {
        let name = self.name;
        let fits = self.arguments.map_or(values.len() >= 2, |arguments| values.len() == arguments);
        if !fits {
            let wanted = match self.arguments {
                Some(1) => "one number",
                _ => "two numbers at least",
            };
            return Err(format!("`{name}` takes {wanted}, not {}", values.len()));
        }
        if let Some(other) = values.iter().find(|value| number(value).is_none()) {
            return Err(format!("`{name}` takes numbers, not {}", other.kind()));
        }
        (self.call)(values).ok_or_else(|| {
            let shown: Vec<String> = values.iter().map(Value::to_string).collect();
            format!("`{name}({})` has no value", shown.join(", "))
        })
    }
}

/// The number that a value is.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

/// How two numbers are ordered; whole numbers exactly.
pub fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        _ => number(a)?.partial_cmp(&number(b)?),
    }
}

fn whole(value: &Value, rounding: fn(f64) -> f64) -> Option<Value> {
    match value {
        Value::Float(number) => Value::Float(rounding(*number)).whole().map(Value::Int),
        whole => Some(whole.clone()),
    }
}

/// Of equal ones the first.
fn extreme(values: &[Value], wanted: Ordering) -> Option<Value> {
    let (first, others) = values.split_first()?;
    let better = |best: &Value, other: &Value| order(other, best) == Some(wanted);
    Some(others.iter().fold(first, |best, other| if better(best, other) { other } else { best }).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, values: &[Value]) -> String {
        match function(name).unwrap().call(values) {
            Ok(value) => value.to_string(),
            Err(message) => message,
        }
    }

    #[test]
    fn functions_give_what_they_say() {
        use Value::{Float, Int};
        for (name, values, expected) in [
            ("ceil", vec![Float(2.1)], "3"),
            ("ceil", vec![Float(-2.1)], "-2"),
            ("floor", vec![Float(-2.1)], "-3"),
            ("floor", vec![Int(i64::MAX)], "9223372036854775807"),
            ("floor", vec![Float(1e300)], "`floor(1e300)` has no value"),
            ("round", vec![Float(2.5)], "3"),
            ("round", vec![Float(-2.5)], "-3"),
            ("round", vec![Float(2.4999)], "2"),
            ("sqrt", vec![Int(9)], "3.0"),
            ("sqrt", vec![Int(-1)], "`sqrt(-1)` has no value"),
            ("min", vec![Int(3), Float(2.5), Int(7)], "2.5"),
            ("max", vec![Int(i64::MAX - 1), Int(i64::MAX)], "9223372036854775807"),
            ("max", vec![Int(2), Float(2.0)], "2"),
            ("max", vec![Int(2)], "`max` takes two numbers at least, not 1"),
            ("sqrt", vec![Int(2), Int(3)], "`sqrt` takes one number, not 2"),
            ("sqrt", vec![Value::Bool(true)], "`sqrt` takes numbers, not a truth value"),
        ] {
            assert_eq!(call(name, &values), expected, "{name}{values:?}");
        }
        assert!(FUNCTIONS.is_sorted_by_key(|function| function.name));
    }
}
