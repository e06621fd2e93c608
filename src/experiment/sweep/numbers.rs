//! Numbers between two ends: what ranges, `log` and intervals give. Ends are exactly as they were given, nothing lies
//! outside of them, and what lies between has few digits, but as many as tell neighbours apart.

use super::{Domain, Scale};
use crate::dsl::Value;

/// Most values of one range: more is a slip of the keyboard.
pub const MAX_VALUES: i64 = 10_000;

/// Whole numbers that a float64 holds one by one.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// How many different values an interval has at least before digits are left out.
const STEPS: f64 = 256.0;

/// Digits that say what was meant: 0.001, not 0.0010000000000000002.
const DIGITS: usize = 4;

/// `uniform(low, high)` and its relatives; `None` for what is none of them.
pub fn interval(text: &str) -> Option<Result<Domain, String>> {
    let scales = [("uniform(", Scale::Linear), ("loguniform(", Scale::Logarithmic), ("int(", Scale::Whole)];
    let (arguments, scale) = scales.iter().find_map(|(name, scale)| Some((text.strip_prefix(name)?, *scale)))?;
    let numbers: Option<Vec<f64>> = arguments.strip_suffix(')').and_then(|arguments| {
        arguments.split(',').map(|text| text.trim().parse().ok().filter(|n: &f64| n.is_finite())).collect()
    });
    Some(match numbers.as_deref() {
        Some(&[low, high]) if low >= high => Err("the first end must be below the second".into()),
        Some(&[low, _]) if scale == Scale::Logarithmic && low <= 0.0 => Err("both ends must be above 0".into()),
        Some(&[low, high]) if scale == Scale::Whole && (low.fract() != 0.0 || high.fract() != 0.0) => {
            Err("both ends must be whole numbers".into())
        }
        Some(&[low, high]) if scale == Scale::Whole && low.abs().max(high.abs()) > MAX_WHOLE => {
            Err(format!("whole numbers are drawn up to {MAX_WHOLE}"))
        }
        Some(&[low, high]) if !(high - low).is_finite() => Err("its ends are too far apart".into()),
        Some(&[low, high]) => Ok(Domain::Interval { low, high, scale }),
        _ => Err("it takes two numbers, e.g. loguniform(1e-4, 1e-2)".into()),
    })
}

/// The value of an interval at `share` of the way, from 0 up to, but not including, 1. With `exact`, with all of its
/// digits: where draws with few have been used up.
pub fn between(low: f64, high: f64, scale: Scale, share: f64, exact: bool) -> Value {
    let (value, step) = match scale {
        Scale::Whole => return Value::Int((low + (share * (high - low + 1.0)).floor()).min(high) as i64),
        Scale::Linear => (low + share * (high - low), (high - low) / STEPS),
        Scale::Logarithmic => {
            let value = low * (high / low).powf(share);
            (value, value * (high / low).ln() / STEPS)
        }
    };
    let value = if exact { value } else { rounded(value, step) };
    Value::Float(value.clamp(low, high))
}

/// With four digits, or as many more as it takes to tell apart what is a step away.
fn rounded(value: f64, step: f64) -> f64 {
    let exponent = value.abs().log10().floor();
    if !exponent.is_finite() {
        return value;
    }
    let mut digits = DIGITS;
    // All that a float64 has are 17.
    while digits < 17 && 10f64.powf(exponent + 1.0 - digits as f64) > step {
        digits += 1;
    }
    format!("{value:.*e}", digits - 1).parse().unwrap_or(value)
}

/// `4..9`, `4..=8`, each with `:step`; with a fraction among them, all are numbers.
pub fn range(from: &str, to: &str) -> Result<Vec<Value>, String> {
    let (to, step) = to.split_once(':').unwrap_or((to, "1"));
    let (to, inclusive) = to.strip_prefix('=').map_or((to, false), |to| (to, true));
    if [from, to, step].iter().any(|text| text.contains(['.', 'e', 'E'])) {
        return fractions(from, to, step, inclusive);
    }
    let whole = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("`{text}` is no whole number"));
    let (from, to, step) = (whole(from)?, whole(to)?, whole(step)?);
    if step < 1 {
        return Err("the step of a range must be at least 1".into());
    }
    let last = if inclusive { to } else { to.saturating_sub(1) };
    if last < from {
        return Err("the range is empty".into());
    }
    let count = last.saturating_sub(from) / step;
    if count >= MAX_VALUES {
        return Err(format!("the range has more than {MAX_VALUES} values"));
    }
    Ok((0..=count).map(|index| Value::Int(from + index * step)).collect())
}

fn fractions(from: &str, to: &str, step: &str, inclusive: bool) -> Result<Vec<Value>, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
            .ok_or_else(|| format!("`{text}` is no number"))
    };
    // Sums of decimals have no more places than the longest of them: 0.3, not 0.30000000000000004.
    let places = decimals(from).max(decimals(step));
    let (from, to, step) = (number(from)?, number(to)?, number(step)?);
    if step <= 0.0 {
        return Err("the step of a range must be above 0".into());
    }
    // A step that is no binary fraction does not meet the last value exactly.
    let slack = 1e-9 * step;
    let count = (to - from) / step;
    if !(if inclusive { from <= to } else { from < to - slack }) {
        return Err("the range is empty".into());
    }
    if count.is_nan() || count >= MAX_VALUES as f64 {
        return Err(format!("the range has more than {MAX_VALUES} values"));
    }
    let at = |index: u32| {
        let value = from + f64::from(index) * step;
        match index {
            0 => from,
            _ if (value - to).abs() <= slack => to,
            _ => format!("{value:.places$}").parse().unwrap_or(value),
        }
    };
    let within = |value: &f64| if inclusive { *value <= to } else { *value < to };
    Ok((0..=count.ceil() as u32).map(at).filter(within).map(Value::Float).collect())
}

/// Places behind the point of a number as it is written: 3 of `0.125` and of `5e-3`.
fn decimals(text: &str) -> usize {
    let text = text.trim();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let places = mantissa.split_once('.').map_or(0, |(_, behind)| behind.len()) as i64;
    let exponent: i64 = exponent.parse().unwrap_or(0);
    places.saturating_sub(exponent).clamp(0, 400) as usize
}

/// `from, to, count`: equal ratios, both ends as they are given.
pub fn logarithmic(arguments: &str) -> Result<Vec<Value>, String> {
    let parts: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let [from, to, count] = parts[..] else { return Err("log takes a first and a last value and a count".into()) };
    let number = |text: &str| text.parse::<f64>().ok().filter(|value| *value > 0.0 && value.is_finite());
    let (Some(from), Some(to)) = (number(from), number(to)) else {
        return Err("the ends of log must be numbers above 0".into());
    };
    let count: i64 = count.parse().map_err(|_| format!("`{count}` is no count"))?;
    if !(2..=MAX_VALUES).contains(&count) {
        return Err(format!("the count of log must be from 2 to {MAX_VALUES}"));
    }
    let last = count - 1;
    // What a neighbour is away, as a share of the value; a tenth of that is no longer seen.
    let ratio = (to / from).ln().abs() / last as f64;
    let (least, most) = (from.min(to), from.max(to));
    let at = |index: i64| {
        let value = from * (to / from).powf(index as f64 / last as f64);
        match index {
            0 => from,
            index if index == last => to,
            _ => rounded(value, value * ratio / 10.0).clamp(least, most),
        }
    };
    Ok((0..count).map(|index| Value::Float(at(index))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(values: &[Value]) -> Vec<f64> {
        let number = |value: &Value| match value {
            Value::Float(value) => *value,
            Value::Int(value) => *value as f64,
            _ => panic!("{value}"),
        };
        values.iter().map(number).collect()
    }

    #[test]
    fn ends_are_as_they_are_given() {
        assert_eq!(numbers(&logarithmic("0.12345, 0.2, 2").unwrap()), [0.12345, 0.2]);
        assert_eq!(numbers(&logarithmic("0.9999, 0.99999, 3").unwrap()), [0.9999, 0.999945, 0.99999]);
        assert_eq!(numbers(&logarithmic("1e-2, 1e-4, 3").unwrap()), [0.01, 0.001, 0.0001]);
        assert_eq!(
            numbers(&range("0.123456789012", "=0.33:0.1").unwrap()),
            [0.123456789012, 0.223456789012, 0.323456789012]
        );
        assert_eq!(numbers(&range("0.1", "=0.3:0.1").unwrap()), [0.1, 0.2, 0.3]);
        assert_eq!(numbers(&range("0", "0.3:0.1").unwrap()), [0.0, 0.1, 0.2]);
        assert_eq!(numbers(&range("1e-3", "=3e-3:1e-3").unwrap()), [0.001, 0.002, 0.003]);
        assert_eq!(numbers(&range("0.5", "=0.5:0.1").unwrap()), [0.5]);
    }

    #[test]
    fn few_digits_where_few_tell_the_values_apart() {
        let at = |text: &str, share| match interval(text).unwrap().unwrap() {
            Domain::Interval { low, high, scale } => between(low, high, scale, share, false).to_string(),
            Domain::Values(_) => panic!(),
        };
        assert_eq!(at("uniform(0, 0.5)", 1.0 / 3.0), "0.1667");
        assert_eq!(at("uniform(0.12352, 0.12354)", 0.5), "0.12353");
        assert_eq!(at("uniform(0.12352, 0.12354)", 1.0 / 3.0), "0.12352667");
        assert_eq!(at("loguniform(1e-4, 1e-1)", 1.0 / 3.0), "0.001");
        assert_eq!(at("uniform(0.9998, 0.99999)", 0.999), "0.9999898");
    }

    proptest! {
        #[test]
        fn nothing_lies_outside(low in -1e6..1e6f64, width in 1e-9..1e6f64, share in 0.0..1.0f64) {
            let (high, exact) = (low + width, share > 0.5);
            prop_assume!(low < high);
            for scale in [Scale::Linear, Scale::Logarithmic] {
                if scale == Scale::Logarithmic && low <= 0.0 {
                    continue;
                }
                let Value::Float(value) = between(low, high, scale, share, exact) else { panic!() };
                prop_assert!((low..=high).contains(&value), "{value}");
            }
        }

        /// Of draws that are spread evenly most differ, however narrow the interval is.
        #[test]
        fn narrow_intervals_have_many_values(low in 1e-6..1e3f64, width in 1e-7..1e-1f64) {
            let high = low * (1.0 + width);
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let mut drawn: Vec<u64> = (0..200).map(|index| {
                    let Value::Float(value) = between(low, high, scale, f64::from(index) / 200.0, false) else { panic!() };
                    value.to_bits()
                }).collect();
                drawn.dedup();
                prop_assert!(drawn.len() > 190, "{} of {low}..{high}", drawn.len());
            }
        }

        #[test]
        fn ranges_stay_inside(from in -1000i32..1000, steps in 1..50u32, step in 1u32..1000, places in 0..4usize) {
            let unit = 10f64.powi(-(places as i32));
            let text = |number: f64| format!("{number:.places$}");
            let to = f64::from(from) * unit + f64::from(steps * step) * unit;
            let (from, to, step) = (text(f64::from(from) * unit), text(to), text(f64::from(step) * unit));
            let values = numbers(&range(&from, &format!("={to}:{step}")).unwrap());
            prop_assert_eq!(values.len() as u32, steps + 1);
            prop_assert_eq!(values[0], from.parse::<f64>().unwrap());
            prop_assert_eq!(values[values.len() - 1], to.parse::<f64>().unwrap());
            prop_assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
