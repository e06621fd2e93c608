use std::collections::BTreeMap;

use super::{super::ExperimentError, Axis, Domain};
use crate::{
    dsl::Value,
    experiment::{Experiment, OneOrMany, Sweep, Values},
};

/// Most variants of a sweep.
const MAX_VARIANTS: usize = 100_000;

/// The key that repeated seeds vary.
const SEED: &str = "train.seed";

/// What one trial changes of the experiment.
pub type Variant = Vec<(String, Value)>;

/// What the command line says of a space.
#[derive(Debug, Clone, Default)]
pub struct SpaceArguments {
    /// `key=VALUES`
    pub params: Vec<String>,
    /// `key,key`: these go through their values together.
    pub zip: Vec<String>,
    /// `key:other=VALUES`: the key varies only where the other has one of these values.
    pub when: Vec<String>,
    pub seeds: Option<u32>,
}

/// All that a sweep may try.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Space {
    /// Those of one group go through their values together; most groups are of one.
    pub groups: Vec<Vec<Axis>>,
    /// A key that varies only where another has one of these values.
    pub conditions: Vec<Condition>,
    /// How many seeds each point is trained with.
    pub seeds: u32,
    first_seed: u64,
}

/// `key` varies only where `other` is one of `values`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub key: String,
    pub other: String,
    pub values: Vec<Value>,
}

fn refuse(message: String, help: &str) -> ExperimentError {
    ExperimentError::Sweep { message, help: Some(help.to_owned()) }
}

impl Space {
    /// The axes of an experiment's `sweep`, where the command line does not give them anew, then
    /// those of the command line.
    ///
    /// # Errors
    /// [`ExperimentError::Axis`], or [`ExperimentError::Sweep`] for what does not fit together.
    pub fn new(experiment: &Experiment, given: &SpaceArguments) -> Result<Self, ExperimentError> {
        let sweep = experiment.sweep.clone().unwrap_or_default();
        let own = given.params.iter().map(|text| Axis::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let mut axes = axes_of(sweep.params, &own)?;
        axes.extend(own);
        if let Some(key) = axes.iter().enumerate().find_map(|(i, a)| axes[..i].iter().find(|b| a.key == b.key)) {
            return Err(refuse(format!("`{}` is given twice", key.key), "give each key once, with all its values"));
        }
        let seeds = given.seeds.or(sweep.seeds).unwrap_or(1).max(1);
        if seeds > 1 && axes.iter().any(|axis| axis.key == SEED) {
            let help = "leave out one of them";
            return Err(refuse(format!("`{SEED}` is varied, and so are {seeds} seeds"), help));
        }
        if axes.is_empty() && given.seeds.or(sweep.seeds).is_none_or(|seeds| seeds < 2) {
            let help = "e.g. --param patch_size=4,6,8, or `sweep: {params: ...}` in the experiment";
            return Err(refuse("nothing is varied".into(), help));
        }
        let zips: Vec<Vec<String>> = match given.zip.is_empty() {
            true => sweep.zip,
            false => given.zip.iter().map(|zip| zip.split(',').map(Axis::named).collect()).collect(),
        };
        let mut conditions = Vec::new();
        let when = sweep.when.iter().flat_map(|(key, all)| all.all().iter().map(move |condition| (key, condition)));
        let texts = when.map(|(key, condition)| format!("{key}:{condition}"));
        for text in texts.chain(given.when.iter().cloned()) {
            conditions.push(condition(&text, &axes)?);
        }
        let groups = zipped(axes, &zips)?;
        Ok(Self { groups, conditions, seeds, first_seed: experiment.train.seed })
    }

    /// All combinations; the last axis varies fastest.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`] for intervals, and for too many.
    pub fn grid(&self) -> Result<Vec<Variant>, ExperimentError> {
        let mut size = self.seeds as usize;
        for group in &self.groups {
            for axis in group {
                if let Domain::Interval { .. } = axis.domain {
                    let help = "give it values, or search it: --strategy random, sobol or tpe";
                    return Err(refuse(format!("`{}` is an interval, which a grid cannot have", axis.key), help));
                }
            }
            size = size.saturating_mul(steps(group));
        }
        if size > MAX_VARIANTS {
            let help = "leave out values, or search the space: --strategy sobol --trials 50";
            return Err(refuse(format!("the sweep has more than {MAX_VARIANTS} variants"), help));
        }
        let mut points = vec![Vec::new()];
        for group in &self.groups {
            let count = steps(group);
            let with = |point: &Vec<f64>| {
                let point = point.clone();
                (0..count).map(move |step| [&point[..], &[(step as f64 + 0.5) / count as f64]].concat())
            };
            points = points.iter().flat_map(with).collect();
        }
        let mut variants: Vec<Variant> = Vec::new();
        for point in points {
            let variant = self.at(&point);
            // Where a condition does not hold, what differs only in its key is the same.
            if !variants.contains(&variant) || self.conditions.is_empty() {
                variants.push(variant);
            }
        }
        Ok(variants.iter().flat_map(|variant| self.seeded(variant)).collect())
    }

    /// The variant at a point with one share, from 0 to 1, for each group.
    pub fn at(&self, point: &[f64]) -> Variant {
        let axes =
            self.groups.iter().zip(point).flat_map(|(group, share)| group.iter().map(move |axis| (axis, *share)));
        let all: Variant = axes.map(|(axis, share)| (axis.key.clone(), axis.domain.at(share))).collect();
        let varies = |key: &str| self.varies(key, &all, self.conditions.len());
        all.iter().filter(|(key, _)| varies(key)).cloned().collect()
    }

    /// Whether all conditions of a key hold at a point, with what they depend on varying itself.
    /// `depth` bounds a circle of conditions, in which nothing varies.
    fn varies(&self, key: &str, all: &Variant, depth: usize) -> bool {
        self.conditions.iter().filter(|condition| condition.key == key).all(|condition| {
            let other = all.iter().find(|(key, _)| *key == condition.other);
            let holds = other.is_some_and(|(_, value)| condition.values.contains(value));
            holds && depth > 0 && self.varies(&condition.other, all, depth - 1)
        })
    }

    /// The space as an experiment has it, with nothing left to a default.
    pub fn resolved(&self) -> Sweep {
        let axes = || self.groups.iter().flatten();
        let params = axes().map(|axis| (axis.key.clone(), axis.domain.values())).collect();
        let together = self.groups.iter().filter(|group| group.len() > 1);
        let mut when: BTreeMap<String, OneOrMany> = BTreeMap::new();
        for Condition { key, other, values } in &self.conditions {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            let text = format!("{other}={}", values.join(","));
            let all = match when.get(key) {
                Some(earlier) => OneOrMany::Many([earlier.all(), &[text]].concat()),
                None => OneOrMany::One(text),
            };
            when.insert(key.clone(), all);
        }
        Sweep {
            params,
            zip: together.map(|group| group.iter().map(|axis| axis.key.clone()).collect()).collect(),
            when,
            seeds: Some(self.seeds),
            ..Sweep::default()
        }
    }

    /// A variant with each seed.
    pub fn seeded(&self, variant: &Variant) -> Vec<Variant> {
        if self.seeds == 1 {
            return vec![variant.clone()];
        }
        let seed = |index: u32| Value::Int(self.first_seed.wrapping_add(u64::from(index)) as i64);
        let with = |index: u32| variant.iter().cloned().chain([(SEED.to_owned(), seed(index))]).collect();
        (0..self.seeds).map(with).collect()
    }
}

fn axes_of(params: Vec<(String, Values)>, replaced: &[Axis]) -> Result<Vec<Axis>, ExperimentError> {
    let mut axes = Vec::new();
    for (key, values) in params {
        let key = Axis::named(&key);
        if replaced.iter().any(|axis| axis.key == key) {
            continue;
        }
        axes.push(match values {
            Values::Text(text) => Axis::new(&key, &text)?,
            Values::List(values) => {
                let text = format!("{key}: {}", Value::List(values.clone()));
                Axis::of(&key, values).map_err(|message| ExperimentError::Axis { text, message })?
            }
            Values::One(value) => Axis { key, domain: Domain::Values(vec![value]) },
        });
    }
    Ok(axes)
}

/// How many values a group goes through.
fn steps(group: &[Axis]) -> usize {
    group.first().map_or(1, |axis| match &axis.domain {
        Domain::Values(values) => values.len(),
        Domain::Interval { .. } => 1,
    })
}

fn known<'a>(key: &str, axes: &'a [Axis]) -> Result<&'a Axis, ExperimentError> {
    axes.iter().find(|axis| axis.key == key).ok_or_else(|| {
        let names = axes.iter().map(|axis| axis.key.as_str());
        let varied: Vec<&str> = axes.iter().map(|axis| axis.key.as_str()).collect();
        let help = match crate::dsl::nearest(key, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("varied are: {}", varied.join(", ")),
        };
        refuse(format!("`{key}` is not varied"), &help)
    })
}

fn zipped(all: Vec<Axis>, zips: &[Vec<String>]) -> Result<Vec<Vec<Axis>>, ExperimentError> {
    let mut groups = Vec::new();
    let mut axes = all.clone();
    for keys in zips {
        let mut group: Vec<Axis> = Vec::new();
        for key in keys.iter().map(|key| Axis::named(key)) {
            let key = &key;
            let axis = known(key, &all)?.clone();
            if !axes.contains(&axis) {
                return Err(refuse(format!("`{key}` goes together twice"), "name each key once"));
            }
            if let (Domain::Values(values), Some(first)) = (&axis.domain, group.first()) {
                let count = steps(std::slice::from_ref(first));
                if values.len() != count {
                    let message = format!("`{}` has {count} values, `{key}` has {}", first.key, values.len());
                    return Err(refuse(message, "keys that go together need as many values each"));
                }
            } else if matches!(axis.domain, Domain::Interval { .. }) {
                let message = format!("`{key}` is an interval");
                return Err(refuse(message, "only lists of values can go together"));
            }
            axes.retain(|axis| axis.key != *key);
            group.push(axis);
        }
        groups.push(group);
    }
    groups.extend(axes.into_iter().map(|axis| vec![axis]));
    Ok(groups)
}

/// Reads `key:other=VALUES`.
fn condition(text: &str, axes: &[Axis]) -> Result<Condition, ExperimentError> {
    let help = "e.g. --when train.schedule.warmup_epochs:train.schedule.kind=cosine";
    let (key, condition) =
        text.split_once(':').ok_or_else(|| refuse(format!("`{text}` is no condition: there is no `:`"), help))?;
    let condition = Axis::parse(condition)?;
    let Domain::Values(values) = condition.domain else {
        return Err(refuse(format!("`{text}` is no condition: an interval cannot be one"), help));
    };
    let key = Axis::named(key);
    known(&key, axes)?;
    let other = known(&condition.key, axes)?;
    if let (Domain::Values(there), Some(never)) = (&other.domain, values.iter().find(|value| !other.domain.has(value)))
    {
        let there: Vec<String> = there.iter().map(ToString::to_string).collect();
        let help = format!("its values are {}", there.join(", "));
        return Err(refuse(format!("`{}` is never {never}", other.key), &help));
    }
    Ok(Condition { key, other: condition.key, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment(sweep: &str) -> Experiment {
        Experiment::parse("a.yaml", &format!("model: m.vitx\ndata: {{name: digits}}\n{sweep}\n")).unwrap()
    }

    fn arguments(params: &[&str], zip: &[&str], when: &[&str], seeds: Option<u32>) -> SpaceArguments {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        SpaceArguments { params: own(params), zip: own(zip), when: own(when), seeds }
    }

    fn shown(space: &Space) -> Vec<String> {
        let name = |variant: &Variant| {
            variant.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        space.grid().unwrap().iter().map(name).collect()
    }

    #[test]
    fn the_command_line_replaces_axes_of_the_file() {
        let experiment = experiment("sweep: {params: {depth: 1..3, patch_size: [2, 4]}, seeds: 2}");
        let space = Space::new(&experiment, &arguments(&["depth=5"], &[], &[], None)).unwrap();
        let expected = ["2 depth=5 train.seed=42", "2 depth=5 train.seed=43", "4 depth=5 train.seed=42"];
        assert_eq!(shown(&space)[..3], expected.map(|rest| format!("patch_size={rest}")));
        assert_eq!(shown(&space).len(), 4);
    }

    #[test]
    fn zipped_keys_go_together() {
        let given = arguments(&["a=1,2", "b=3,4", "c=5,6"], &["a,c"], &[], None);
        let space = Space::new(&experiment(""), &given).unwrap();
        assert_eq!(shown(&space), ["a=1 c=5 b=3", "a=1 c=5 b=4", "a=2 c=6 b=3", "a=2 c=6 b=4"]);
        let file = experiment("sweep: {params: {a: [1, 2], c: [5, 6]}, zip: [[a, c]]}");
        assert_eq!(shown(&Space::new(&file, &SpaceArguments::default()).unwrap()), ["a=1 c=5", "a=2 c=6"]);
    }

    #[test]
    fn conditional_keys_vary_only_where_they_matter() {
        let given = arguments(&["kind=constant,cosine", "warmup=0,5"], &[], &["warmup:kind=cosine"], None);
        let space = Space::new(&experiment(""), &given).unwrap();
        assert_eq!(shown(&space), ["kind=\"constant\"", "kind=\"cosine\" warmup=0", "kind=\"cosine\" warmup=5"]);
        // What depends on a key that does not vary does not vary either, and neither does a circle.
        let chain = arguments(&["a=1,2", "b=1,2", "c=1,2"], &[], &["b:a=1", "c:b=1"], None);
        assert_eq!(
            shown(&Space::new(&experiment(""), &chain).unwrap()),
            ["a=1 b=1 c=1", "a=1 b=1 c=2", "a=1 b=2", "a=2"]
        );
        let circle = arguments(&["a=1,2", "b=1,2"], &[], &["b:a=1", "a:b=1"], None);
        assert_eq!(shown(&Space::new(&experiment(""), &circle).unwrap()), [""]);
        let file = experiment("sweep: {params: {kind: [a, b], warmup: [0, 5]}, when: {warmup: kind=b}}");
        assert_eq!(shown(&Space::new(&file, &SpaceArguments::default()).unwrap()).len(), 3);
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        let plain = experiment("");
        for given in [
            arguments(&[], &[], &[], None),
            arguments(&["a=1", "a=2"], &[], &[], None),
            arguments(&["a=1,2", "b=1"], &["a,b"], &[], None),
            arguments(&["a=1,2", "b=1,2"], &["a,bb"], &[], None),
            arguments(&["a=1,2", "b=uniform(0, 1)"], &["a,b"], &[], None),
            arguments(&["a=1,2"], &[], &["a"], None),
            arguments(&["a=1,2"], &[], &["a:b=1"], None),
            arguments(&["a=1,2", "b=1"], &[], &["b:a=3"], None),
            arguments(&["a=1,2", "b=1,2"], &["a,a"], &[], None),
        ] {
            assert!(matches!(Space::new(&plain, &given), Err(ExperimentError::Sweep { .. })), "{given:?}");
        }
        for given in [["a=1..9999", "b=1..9999"], ["a=1", "b=uniform(0, 1)"]] {
            let space = Space::new(&plain, &arguments(&given, &[], &[], None)).unwrap();
            assert!(matches!(space.grid(), Err(ExperimentError::Sweep { .. })), "{given:?}");
        }
    }
}
