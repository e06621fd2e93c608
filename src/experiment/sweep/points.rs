//! Points of a space that are given by hand: `--enqueue depth=2,rate=0.1`.

use std::collections::BTreeMap;

use super::{
    Axis, Domain, Scale, Space,
    conditions::varies,
    space::{known, name, refuse},
    words::{part_values, split},
};
use crate::{dsl::Value, experiment::ExperimentError, trial::Variant};

const HELP: &str =
    "e.g. --enqueue depth=2,train.optimizer.learning_rate=1e-3, with a value for each key that varies there";

/// Reads `key=value,key=value`.
///
/// # Errors
/// [`ExperimentError::Sweep`] for what is no list of these.
pub fn parse(text: &str) -> Result<BTreeMap<String, Value>, ExperimentError> {
    let no = |message: String| refuse(format!("`{text}` is no point: {message}"), HELP);
    let mut point = BTreeMap::new();
    for part in split(text) {
        let part = part.trim();
        let (key, value) = part.split_once('=').ok_or_else(|| no(format!("`{part}` has no `=`")))?;
        let values = part_values(value.trim()).map_err(|message| no(format!("`{part}`: {message}")))?;
        let [value] = &values[..] else { return Err(no(format!("`{part}` has {} values", values.len()))) };
        if point.insert(Axis::named(key), value.clone()).is_some() {
            return Err(no(format!("`{}` stands there twice", Axis::named(key))));
        }
    }
    Ok(point)
}

impl Space {
    /// The variant of a point that is given by hand: its keys in the order of the space, its values as the space has them.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`] for keys that do not vary there, values that they cannot have, and keys without a value.
    pub fn point(&self, given: &BTreeMap<String, Value>) -> Result<Variant, ExperimentError> {
        let axes: Vec<Axis> = self.groups.iter().flatten().cloned().collect();
        let mut all = Variant::new();
        for key in given.keys() {
            known(key, &axes)?;
        }
        for axis in &axes {
            let Some(value) = given.get(&axis.key) else { continue };
            all.push((axis.key.clone(), axis.domain.own(value).ok_or_else(|| outside(axis, value))?));
        }
        let wanted = |key: &str| varies(&self.conditions, key, &all);
        if let Some((key, _)) = all.iter().find(|(key, _)| !wanted(key)) {
            let why = self.conditions.iter().find(|condition| condition.key == *key);
            let why = why.map_or_else(String::new, |condition| format!(", but only with {}", condition.text()));
            return Err(refuse(
                format!("`{key}` does not vary at the point `{}`{why}", name(&all)),
                "leave it out there",
            ));
        }
        if let Some(axis) = axes.iter().find(|axis| wanted(&axis.key) && !given.contains_key(&axis.key)) {
            return Err(refuse(format!("the point `{}` has no `{}`", name(&all), axis.key), HELP));
        }
        self.shares(&all)?;
        Ok(all)
    }

    /// The shares at which a variant lies, as [`Space::at`] takes them.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`] where keys that go through their values together have none in the same place.
    pub fn shares(&self, variant: &Variant) -> Result<Vec<f64>, ExperimentError> {
        let value = |key: &str| variant.iter().find(|(known, _)| known == key).map(|(_, value)| value);
        let mut shares = Vec::new();
        for group in &self.groups {
            let own: Vec<(&Axis, &Value)> = group.iter().filter_map(|axis| Some((axis, value(&axis.key)?))).collect();
            shares.push(match (own.as_slice(), &group[0].domain) {
                ([], _) => 0.5,
                ([(axis, value), ..], Domain::Interval { .. }) => {
                    axis.domain.share(value).ok_or_else(|| outside(axis, value))?
                }
                (own, Domain::Values(first)) => {
                    let there = |index: &usize| {
                        own.iter().all(|(axis, value)| match &axis.domain {
                            Domain::Values(values) => values.get(*index).is_some_and(|known| known.same(value)),
                            Domain::Interval { .. } => false,
                        })
                    };
                    let index = (0..first.len()).find(there).ok_or_else(|| {
                        let own: Variant =
                            own.iter().map(|(axis, value)| (axis.key.clone(), (*value).clone())).collect();
                        refuse(
                            format!("no variant has `{}`", name(&own)),
                            "these keys go through their values together",
                        )
                    })?;
                    (index as f64 + 0.5) / first.len() as f64
                }
            });
        }
        Ok(shares)
    }
}

fn outside(axis: &Axis, value: &Value) -> ExperimentError {
    let help = match &axis.domain {
        Domain::Values(values) => {
            let there: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("its values are {}", there.join(", "))
        }
        Domain::Interval { low, high, scale: Scale::Whole } => format!("it is a whole number from {low} to {high}"),
        Domain::Interval { low, high, .. } => format!("it is between {low} and {high}"),
    };
    refuse(format!("`{}` is never {value}", axis.key), &help)
}

impl Domain {
    /// A value as the domain has it: 1 of an interval of numbers is 1.0. `None` for one that it cannot be.
    fn own(&self, value: &Value) -> Option<Value> {
        match self {
            Self::Values(values) => values.iter().find(|known| known.same(value)).cloned(),
            Self::Interval { scale: Scale::Whole, .. } => value.whole().map(Value::Int).filter(|value| self.has(value)),
            Self::Interval { .. } => match value {
                Value::Int(number) => Some(Value::Float(*number as f64)),
                Value::Float(_) => Some(value.clone()),
                _ => None,
            }
            .filter(|value| self.has(value)),
        }
    }

    /// The share at which a value of an interval lies.
    fn share(&self, value: &Value) -> Option<f64> {
        let Self::Interval { low, high, scale } = *self else { return None };
        let value = match value {
            Value::Int(value) => *value as f64,
            Value::Float(value) => *value,
            _ => return None,
        };
        let share = match scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Logarithmic => (value / low).ln() / (high / low).ln(),
            Scale::Whole => (value - low + 0.5) / (high - low + 1.0),
        };
        (low..=high).contains(&value).then_some(share.clamp(0.0, 1.0 - f64::EPSILON))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Experiment, sweep::SpaceArguments};

    fn space(params: &[&str], zip: &[&str], when: &[&str]) -> Space {
        let experiment = Experiment::parse("a.yaml", "model: m.vitx\ndata: {name: digits}\n").unwrap();
        let [params, zip, when] =
            [params, zip, when].map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        Space::new(&experiment, &SpaceArguments { params, zip, when, seeds: None }).unwrap()
    }

    #[test]
    fn a_point_lies_where_the_space_has_it() {
        let params = ["a=1,2,4", "b=5,6,7", "kind=x,y", "rate=loguniform(1e-4, 1)", "n=int(2, 9)"];
        let space = space(&params, &["a,b"], &["rate:kind=y"]);
        for (text, expected) in [
            ("a=2,b=6,kind=y,rate=0.01,n=9", "a=2 b=6 kind=\"y\" rate=0.01 n=9"),
            ("n=2.0,kind=x,b=7,a=4", "a=4 b=7 kind=\"x\" n=2"),
            ("a=1,b=5,kind=y,rate=1,n=3", "a=1 b=5 kind=\"y\" rate=1.0 n=3"),
            ("params.a=1,b=5,kind=\"y\",rate=1e-4,n=3", "a=1 b=5 kind=\"y\" rate=0.0001 n=3"),
        ] {
            let point = space.point(&parse(text).unwrap()).unwrap();
            assert_eq!(name(&point), expected);
            // Few digits are enough for these.
            assert_eq!(name(&space.at(&space.shares(&point).unwrap(), false)), expected);
        }
    }

    #[test]
    fn what_is_no_point_of_the_space_is_explained() {
        let params = ["a=1,2", "b=5,6", "kind=x,y", "rate=uniform(0, 0.5)", "n=int(2, 9)"];
        let space = space(&params, &["a,b"], &["rate:kind=y"]);
        let mut shown = Vec::new();
        for text in [
            "a",
            "a=1,a=2",
            "a=1..=2",
            "a=,b=5",
            "depth=1",
            "a=3,b=5,kind=x,n=2",
            "a=1,b=6,kind=x,n=2",
            "a=1,b=5,kind=x,rate=0.1,n=2",
            "a=1,b=5,kind=y,n=2",
            "a=1,b=5,kind=y,rate=0.6,n=2",
            "a=1,b=5,kind=x,n=2.5",
        ] {
            let error = parse(text).and_then(|point| space.point(&point)).unwrap_err();
            let help = miette::Diagnostic::help(&error).map(|help| help.to_string()).unwrap_or_default();
            shown.push(format!("{text}\n    {error}\n    {help}"));
        }
        insta::assert_snapshot!(shown.join("\n"));
    }
}
