use std::collections::HashSet;

use super::{
    super::{ExperimentError, Values},
    numbers::{self, interval},
    space::MAX_VARIANTS,
    words::{part_values, split},
};
use crate::dsl::Value;

/// One swept key: a parameter of the model, or a dotted key of the experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// `patch_size`, `train.optimizer.learning_rate`.
    pub key: String,
    /// What it can be.
    pub domain: Domain,
}

/// What a swept key can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// One of these.
    Values(Vec<Value>),
    /// Anything between two ends, which only searches can take values from.
    Interval {
        /// The least value.
        low: f64,
        /// The largest value.
        high: f64,
        /// How values between them are spread.
        scale: Scale,
    },
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
            (Self::Values(values), _) => values.iter().any(|known| known.same(value)),
            (Self::Interval { low, high, .. }, Value::Int(value)) => (*low..=*high).contains(&(*value as f64)),
            (Self::Interval { low, high, scale }, Value::Float(value)) => {
                (*low..=*high).contains(value) && (*scale != Scale::Whole || value.fract() == 0.0)
            }
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

    /// How many values it has; an endless number between two numbers.
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::Values(values) => Some(values.len()),
            Self::Interval { low, high, scale: Scale::Whole } => Some((high - low + 1.0) as usize),
            Self::Interval { .. } => None,
        }
    }

    /// The value at `share` of the way through, from 0 up to, but not including, 1; one of an interval with few digits,
    /// or with all of them.
    pub fn at(&self, share: f64, exact: bool) -> Value {
        match self {
            Self::Values(values) => {
                let index = ((share * values.len() as f64) as usize).min(values.len() - 1);
                values[index].clone()
            }
            Self::Interval { low, high, scale } => numbers::between(*low, *high, *scale, share, exact),
        }
    }
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
            if values.len() > MAX_VARIANTS {
                return Err(refuse(format!("it has more than {MAX_VARIANTS} values")));
            }
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
        let mut seen = HashSet::new();
        if let Some(value) = values.iter().find(|value| !seen.insert(value.to_string())) {
            return Err(format!("{value} stands there twice"));
        }
        Ok(Self { key: key.to_owned(), domain: Domain::Values(values) })
    }
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
        let at = |text: &str, share: f64| Axis::parse(text).unwrap().domain.at(share, false).to_string();
        assert_eq!(at("dropout=uniform(0, 0.5)", 0.5), "0.25");
        assert_eq!(at("lr=loguniform(1e-4, 1e-2)", 0.5), "0.001");
        let depths: Vec<String> = (0..6).map(|i| at("depth=int(2, 4)", f64::from(i) / 6.0)).collect();
        assert_eq!(depths, ["2", "2", "3", "3", "4", "4"]);
        assert_eq!(at("depth=2,8", 0.6), "8");
    }
}
