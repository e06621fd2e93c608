use std::collections::{BTreeMap, HashSet};

use miette::Diagnostic;

use super::{
    super::ExperimentError,
    Axis, Condition, Domain,
    conditions::{no_circle, varies},
};
use crate::{
    dsl::Value,
    experiment::{Experiment, OneOrMany, SweepConfig, Values, schema::Fault},
    trial::Variant,
};

/// Most variants of a sweep.
pub const MAX_VARIANTS: usize = 100_000;

pub use crate::trial::variant::SEED;

/// What the command line says of a space.
#[derive(Debug, Clone, Default)]
pub struct SpaceArguments {
    /// `key=VALUES`
    pub params: Vec<String>,
    /// `key,key`: these go through their values together.
    pub zip: Vec<String>,
    /// `key:other=VALUES`: the key varies only where the other has one of these values.
    pub when: Vec<String>,
    /// How many seeds each point is trained with.
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
    /// Keys that are given values, but cannot vary, with the reason.
    pub fixed: Vec<String>,
}

pub(super) fn refuse(message: String, help: &str) -> ExperimentError {
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
        let given_keys: Vec<String> = own.iter().map(|axis| axis.key.clone()).collect();
        let mut axes = axes_of(sweep.params, &own)?;
        axes.extend(own);
        if let Some(key) = axes.iter().enumerate().find_map(|(i, a)| axes[..i].iter().find(|b| a.key == b.key)) {
            return Err(refuse(format!("`{}` is given twice", key.key), "give each key once, with all its values"));
        }
        let seeds = given.seeds.or(sweep.seeds).unwrap_or(1);
        if seeds == 0 {
            return Err(refuse("each variant needs a seed: `seeds` is 0".into(), "at least 1"));
        }
        let first_seed = experiment.train.seed;
        if seeds > 1 && first_seed.checked_add(u64::from(seeds - 1)).is_none_or(|last| last > i64::MAX as u64) {
            let message = format!("{seeds} seeds from `train.seed: {first_seed}` on are too large");
            return Err(refuse(message, &format!("they go up to {}", i64::MAX)));
        }
        if seeds > 1 && axes.iter().any(|axis| axis.key == SEED) {
            let help = "leave out one of them";
            return Err(refuse(format!("`{SEED}` is varied, and so are {seeds} seeds"), help));
        }
        if axes.is_empty() && seeds < 2 {
            let help = "e.g. --param patch_size=4,6,8, or `sweep: {params: ...}` in the experiment";
            return Err(refuse("nothing is varied".into(), help));
        }
        let mut zips: Vec<Vec<String>> = match given.zip.is_empty() {
            true => sweep.zip,
            false => given.zip.iter().map(|zip| zip.split(',').map(Axis::named).collect()).collect(),
        };
        let mut conditions = Vec::new();
        let when = sweep.when.iter().flat_map(|(key, all)| all.all().iter().map(move |condition| (key, condition)));
        let narrowed = |key: &str| given_keys.iter().any(|given| given == key);
        for (key, condition) in when {
            conditions.push(Condition::parse(&format!("{key}:{condition}"), &axes, narrowed)?);
        }
        for text in &given.when {
            conditions.push(Condition::parse(text, &axes, |_| false)?);
        }
        no_circle(&conditions)?;
        // Where a condition can never hold, its key does not vary, and neither does what depends on that.
        let mut fixed = Vec::new();
        while let Some(never) = conditions
            .iter()
            .position(|condition| condition.values.is_empty() || !axes.iter().any(|axis| axis.key == condition.other))
        {
            let Condition { key, other, .. } = conditions.swap_remove(never);
            conditions.retain(|condition| condition.key != key);
            axes.retain(|axis| axis.key != key);
            zips.iter_mut().for_each(|zip| zip.retain(|zipped| Axis::named(zipped) != key));
            fixed.push(format!("`{key}` does not vary, for `{other}` is never what its condition wants"));
        }
        zips.retain(|zip| zip.len() > 1);
        let groups = zipped(axes, &zips)?;
        Ok(Self { groups, conditions, seeds, first_seed, fixed })
    }

    /// How many combinations there are, seeds and conditions aside; `None` with an interval of numbers among them.
    pub fn size(&self) -> Option<usize> {
        self.groups.iter().try_fold(1, |size: usize, group| Some(size.saturating_mul(steps(group)?)))
    }

    /// Refuses what has more trials than anyone wants, before it takes any memory.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`].
    pub fn within_limit(&self, points: usize) -> Result<(), ExperimentError> {
        if points.saturating_mul(self.seeds as usize) <= MAX_VARIANTS {
            return Ok(());
        }
        let seeds = if self.seeds > 1 { format!(", each with {} seeds", self.seeds) } else { String::new() };
        let help = "leave out values or seeds, or search the space: --strategy sobol --trials 50";
        Err(refuse(format!("the sweep has more than {MAX_VARIANTS} trials: {points} variants{seeds}"), help))
    }

    /// The points of all combinations, each once; the last axis varies fastest.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`] for intervals, and for too many.
    pub fn grid(&self) -> Result<Vec<Vec<f64>>, ExperimentError> {
        for axis in self.groups.iter().flatten() {
            if let Domain::Interval { .. } = axis.domain {
                let help = "give it values, or search it: --strategy random, sobol or tpe";
                return Err(refuse(format!("`{}` is an interval, which a grid cannot have", axis.key), help));
            }
        }
        let size = self.size().unwrap_or(usize::MAX);
        self.within_limit(size)?;
        Ok(self.distinct().unwrap_or_default())
    }

    /// The points of all combinations, each once, in the order of a grid; `None` where there is no end of them, or too
    /// many.
    pub fn distinct(&self) -> Option<Vec<Vec<f64>>> {
        let size = self.size().filter(|size| *size <= MAX_VARIANTS)?;
        let counts: Vec<usize> = self.groups.iter().map(|group| steps(group)).collect::<Option<_>>()?;
        let point = |mut index: usize| {
            let mut point = vec![0.0; counts.len()];
            for (share, count) in point.iter_mut().zip(&counts).rev() {
                *share = ((index % count) as f64 + 0.5) / *count as f64;
                index /= count;
            }
            point
        };
        // Where a condition does not hold, what differs only in its key is the same.
        let mut seen = HashSet::new();
        let new = |point: &Vec<f64>| self.conditions.is_empty() || seen.insert(name(&self.at(point, false)));
        Some((0..size).map(point).filter(new).collect())
    }

    /// The variant at a point with one share, from 0 to 1, for each group; with `exact`, numbers have all their digits.
    pub fn at(&self, point: &[f64], exact: bool) -> Variant {
        let axes =
            self.groups.iter().zip(point).flat_map(|(group, share)| group.iter().map(move |axis| (axis, *share)));
        let all: Variant = axes.map(|(axis, share)| (axis.key.clone(), axis.domain.at(share, exact))).collect();
        all.iter().filter(|(key, _)| varies(&self.conditions, key, &all)).cloned().collect()
    }

    /// The space as an experiment has it, with nothing left to a default.
    pub fn resolved(&self) -> SweepConfig {
        let axes = || self.groups.iter().flatten();
        let params = axes().map(|axis| (axis.key.clone(), axis.domain.values())).collect();
        let together = self.groups.iter().filter(|group| group.len() > 1);
        let mut when: BTreeMap<String, OneOrMany> = BTreeMap::new();
        for condition in &self.conditions {
            let (key, text) = (&condition.key, condition.text());
            let all = match when.get(key) {
                Some(earlier) => OneOrMany::Many([earlier.all(), &[text]].concat()),
                None => OneOrMany::One(text),
            };
            when.insert(key.clone(), all);
        }
        SweepConfig {
            params,
            zip: together.map(|group| group.iter().map(|axis| axis.key.clone()).collect()).collect(),
            when,
            seeds: Some(self.seeds),
            ..SweepConfig::default()
        }
    }

    /// A variant with each seed.
    pub fn seeded(&self, variant: &Variant) -> Vec<Variant> {
        if self.seeds == 1 {
            return vec![variant.clone()];
        }
        // That they are no larger than that was seen to.
        let seed = |index: u32| Value::Int((self.first_seed + u64::from(index)) as i64);
        let with = |index: u32| variant.iter().cloned().chain([(SEED.to_owned(), seed(index))]).collect();
        (0..self.seeds).map(with).collect()
    }
}

fn axes_of(params: Vec<(String, Values)>, replaced: &[Axis]) -> Result<Vec<Axis>, ExperimentError> {
    let mut axes = Vec::new();
    for (key, values) in params {
        let key = Axis::named(&key);
        if !replaced.iter().any(|axis| axis.key == key) {
            axes.push(axis_of(key, values)?);
        }
    }
    Ok(axes)
}

impl SweepConfig {
    /// The first of `params` with values that cannot be.
    pub(in crate::experiment) fn fault(&self) -> Option<Fault> {
        self.params.iter().find_map(|(key, values)| {
            let error = axis_of(Axis::named(key), values.clone()).err()?;
            let help = error.help().map(|help| help.to_string());
            Some(Fault { key: format!("sweep.params.{key}").into(), message: error.to_string(), help })
        })
    }
}

/// An axis as `sweep.params` has it.
///
/// # Errors
/// [`ExperimentError::Axis`].
fn axis_of(key: String, values: Values) -> Result<Axis, ExperimentError> {
    Ok(match values {
        Values::Text(text) => Axis::new(&key, &text)?,
        Values::List(values) => {
            let text = format!("{key}: {}", Value::List(values.clone()));
            Axis::of(&key, values).map_err(|message| ExperimentError::Axis { text, message })?
        }
        Values::One(value) => Axis { key, domain: Domain::Values(vec![value]) },
    })
}

/// How many values a group goes through; `None` for an interval of numbers.
fn steps(group: &[Axis]) -> Option<usize> {
    group.first().map_or(Some(1), |axis| axis.domain.count())
}

/// One text for each variant, and no two alike.
pub fn name(variant: &Variant) -> String {
    variant.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

pub(super) fn known<'a>(key: &str, axes: &'a [Axis]) -> Result<&'a Axis, ExperimentError> {
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
                let count = steps(std::slice::from_ref(first)).unwrap_or(0);
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
        let points = space.grid().unwrap();
        points.iter().flat_map(|point| space.seeded(&space.at(point, false))).map(|variant| name(&variant)).collect()
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
        // What depends on a key that does not vary does not vary either.
        let chain = arguments(&["a=1,2", "b=1,2", "c=1,2"], &[], &["b:a=1", "c:b=1"], None);
        assert_eq!(
            shown(&Space::new(&experiment(""), &chain).unwrap()),
            ["a=1 b=1 c=1", "a=1 b=1 c=2", "a=1 b=2", "a=2"]
        );
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
