use super::{
    super::{ExperimentError, Values},
    words::{part_values, split},
};
use crate::dsl::Value;

/// Most values of one axis: more is a slip of the keyboard.
const MAX_VALUES: i64 = 10_000;

/// One swept key: a parameter of the model, or a dotted key of the experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub key: String,
    pub domain: Domain,
}

/// What a swept key can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// One of these.
    Values(Vec<Value>),
    /// Anything between two ends, which only searches can take values from.
    Interval { low: f64, high: f64, scale: Scale },
}

/// How an interval is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// `uniform(low, high)`
    Linear,
    /// `loguniform(low, high)`
    Logarithmic,
    /// `int(low, high)`, both ends included
    Whole,
}

impl Domain {
    /// Whether it can be a value: an interval can be anything between its ends.
    pub fn has(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Values(values), _) => values.contains(value),
            (Self::Interval { low, high, .. }, Value::Int(value)) => (*low..=*high).contains(&(*value as f64)),
            (Self::Interval { low, high, .. }, Value::Float(value)) => (*low..=*high).contains(value),
            _ => false,
        }
    }

    /// As an experiment has it.
    pub fn values(&self) -> Values {
        match self {
            Self::Values(values) => Values::List(values.clone()),
            Self::Interval { low, high, scale } => {
                let name = match scale {
                    Scale::Linear => "uniform",
                    Scale::Logarithmic => "loguniform",
                    Scale::Whole => "int",
                };
                Values::Text(format!("{name}({low}, {high})"))
            }
        }
    }

    /// The value at `share` of the way through, from 0 up to, but not including, 1.
    pub fn at(&self, share: f64) -> Value {
        match self {
            Self::Values(values) => {
                let index = ((share * values.len() as f64) as usize).min(values.len() - 1);
                values[index].clone()
            }
            Self::Interval { low, high, scale: Scale::Linear } => rounded(low + share * (high - low)),
            Self::Interval { low, high, scale: Scale::Logarithmic } => rounded(low * (high / low).powf(share)),
            Self::Interval { low, high, scale: Scale::Whole } => {
                Value::Int((low + (share * (high - low + 1.0)).floor()).min(*high) as i64)
            }
        }
    }
}

/// Four digits say what was meant: 0.001, not 0.0010000000000000002.
fn rounded(value: f64) -> Value {
    Value::Float(format!("{value:.3e}").parse().unwrap_or(value))
}

impl Axis {
    /// The one name of a key: a parameter of the model needs no `params.` before it.
    pub fn named(key: &str) -> String {
        let key = key.trim();
        key.strip_prefix("params.").unwrap_or(key).to_owned()
    }

    /// Reads `key=VALUES`, see [`Axis::new`].
    ///
    /// # Errors
    /// [`ExperimentError::Axis`].
    pub fn parse(text: &str) -> Result<Self, ExperimentError> {
        let refuse = |message: &str| ExperimentError::Axis { text: text.to_owned(), message: message.to_owned() };
        let (key, values) = text.split_once('=').ok_or_else(|| refuse("there is no `=`"))?;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if key.trim().is_empty() || !key.trim().chars().all(word) {
            return Err(refuse("the name before `=` is no parameter or key"));
        }
        Self::new(&Self::named(key), values)
    }

    /// Reads values separated by commas: literals (`8`, `gelu`, `[128, 64]`, `../a`, `"a,b"`), ranges (`4..9`,
    /// `4..=8:2`, `0.1..=0.5:0.1`), and `log(FROM, TO, COUNT)` for values at equal ratios. Or, for searches, one
    /// interval: `uniform(LOW, HIGH)`, `loguniform(LOW, HIGH)`, `int(LOW, HIGH)`.
    ///
    /// # Errors
    /// [`ExperimentError::Axis`] for an empty or unreadable part, a repeated value, or too many.
    pub fn new(key: &str, text: &str) -> Result<Self, ExperimentError> {
        let refuse = |message: String| ExperimentError::Axis { text: format!("{key}={text}"), message };
        if let Some(domain) = interval(text.trim()) {
            let domain = domain.map_err(refuse)?;
            return Ok(Self { key: key.to_owned(), domain });
        }
        let mut values = Vec::new();
        for part in split(text) {
            values.extend(part_values(part.trim()).map_err(refuse)?);
        }
        Self::of(key, values).map_err(|message| ExperimentError::Axis { text: format!("{key}={text}"), message })
    }

    /// An axis of given values.
    ///
    /// # Errors
    /// What is wrong with them, as [`Axis::new`].
    pub fn of(key: &str, values: Vec<Value>) -> Result<Self, String> {
        if values.is_empty() {
            return Err("it has no values".into());
        }
        if let Some(value) = values.iter().enumerate().find_map(|(i, v)| values[..i].contains(v).then_some(v)) {
            return Err(format!("{value} stands there twice"));
        }
        Ok(Self { key: key.to_owned(), domain: Domain::Values(values) })
    }
}

/// `uniform(low, high)` and its relatives; `None` for what is none of them.
fn interval(text: &str) -> Option<Result<Domain, String>> {
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
        Some(&[low, high]) => Ok(Domain::Interval { low, high, scale }),
        _ => Err("it takes two numbers, e.g. loguniform(1e-4, 1e-2)".into()),
    })
}

/// `4..9`, `4..=8`, each with `:step`; with a fraction among them, all are numbers.
pub(super) fn range(from: &str, to: &str) -> Result<Vec<Value>, String> {
    let (to, step) = to.split_once(':').unwrap_or((to, "1"));
    let (to, inclusive) = to.strip_prefix('=').map_or((to, false), |to| (to, true));
    if [from, to, step].iter().any(|text| text.contains(['.', 'e'])) {
        return fractions(from, to, step, inclusive);
    }
    let whole = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("`{text}` is no whole number"));
    let (from, to, step) = (whole(from)?, whole(to)?, whole(step)?);
    if step < 1 {
        return Err("the step of a range must be at least 1".into());
    }
    let last = if inclusive { to } else { to.saturating_sub(1) };
    let count = last.saturating_sub(from) / step;
    if last < from {
        return Err("the range is empty".into());
    }
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
    let (from, to, step) = (number(from)?, number(to)?, number(step)?);
    if step <= 0.0 {
        return Err("the step of a range must be above 0".into());
    }
    // A step that is no binary fraction does not meet the last value exactly.
    let slack = 1e-9 * step;
    let within = |value: f64| if inclusive { value <= to + slack } else { value < to - slack };
    let count = (to - from) / step;
    if !within(from) {
        return Err("the range is empty".into());
    }
    if count >= MAX_VALUES as f64 {
        return Err(format!("the range has more than {MAX_VALUES} values"));
    }
    let values = (0..=count.ceil() as u32).map(|index| from + f64::from(index) * step);
    Ok(values.filter(|value| within(*value)).map(|value| Value::Float(tidy(value))).collect())
}

/// Without what summing steps adds: 0.3, not 0.30000000000000004.
fn tidy(value: f64) -> f64 {
    format!("{value:.9e}").parse().unwrap_or(value)
}

/// `from, to, count`: equal ratios, both ends included.
pub(super) fn logarithmic(arguments: &str) -> Result<Vec<Value>, String> {
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
    let at = |index: i64| from * (to / from).powf(index as f64 / (count - 1) as f64);
    Ok((0..count).map(|index| rounded(at(index))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> String {
        match Axis::parse(text).unwrap().domain {
            Domain::Values(values) => Value::List(values).to_string(),
            Domain::Interval { .. } => panic!("{text} is an interval"),
        }
    }

    #[test]
    fn reads_lists_ranges_and_ratios() {
        assert_eq!(values("patch_size=4,6,8"), "[4, 6, 8]");
        assert_eq!(values("depth=4..=8:2"), "[4, 6, 8]");
        assert_eq!(values("depth=1..3,8"), "[1, 2, 8]");
        assert_eq!(values("dropout=0.1..=0.3:0.1"), "[0.1, 0.2, 0.3]");
        assert_eq!(values("dropout=0..0.5:0.25"), "[0.0, 0.25]");
        assert_eq!(Axis::parse("params.depth=1").unwrap().key, "depth");
        assert_eq!(values("units=[128, 64],[64]"), "[[128, 64], [64]]");
        assert_eq!(values("activation=gelu,relu"), "[\"gelu\", \"relu\"]");
        assert_eq!(values("train.optimizer.learning_rate=log(1e-4, 1e-2, 3)"), "[0.0001, 0.001, 0.01]");
    }

    #[test]
    fn refuses_what_is_no_set() {
        for text in [
            "depth",
            "=4",
            "depth=",
            "depth=4,,6",
            "depth=4,4",
            "depth=8..4",
            "depth=1..9:0",
            "depth=0..99999999999",
            "dropout=0..1:1e-9",
            "dropout=0.5..0.1:0.1",
            "dropout=0..1:-0.1",
            "lr=log(0,1,3)",
            "lr=log(1,2)",
            "a b=1",
            "depth=[1",
            "lr=loguniform(0, 1)",
            "lr=uniform(2, 1)",
            "depth=int(1.5, 2)",
            "depth=int(1)",
        ] {
            assert!(matches!(Axis::parse(text), Err(ExperimentError::Axis { .. })), "{text}");
        }
    }

    #[test]
    fn intervals_are_covered_evenly() {
        let at = |text: &str, share: f64| Axis::parse(text).unwrap().domain.at(share).to_string();
        assert_eq!(at("dropout=uniform(0, 0.5)", 0.5), "0.25");
        assert_eq!(at("lr=loguniform(1e-4, 1e-2)", 0.5), "0.001");
        let depths: Vec<String> = (0..6).map(|i| at("depth=int(2, 4)", f64::from(i) / 6.0)).collect();
        assert_eq!(depths, ["2", "2", "3", "3", "4", "4"]);
        assert_eq!(at("depth=2,8", 0.6), "8");
    }
}
