//! All that defines a sweep: what the command line says, and what the experiment says where it does not.

use std::collections::BTreeMap;

use super::{
    About, Axis, MOST_ROUND, Metric, Search, SearchSettings, Space, SpaceArguments, Stopping, Strategy, constraints,
    keys, points, rounds,
    space::{SEED, name},
    strategy::ROUND,
};
use crate::{
    dsl::Value,
    experiment::{Definition, ExperimentError, Stop, SweepConfig},
    model::{Architecture, Constraint},
    trial::Variant,
};

/// What the command line says of a sweep. What it leaves out is the experiment's.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Keys with their values.
    pub space: SpaceArguments,
    /// In which order points are tried.
    pub strategy: Option<Strategy>,
    /// How many points a search tries.
    pub trials: Option<usize>,
    /// Seeds what a search draws.
    pub search_seed: Option<u64>,
    /// Points that a search by results proposes before it looks at results again.
    pub round: Option<usize>,
    /// Trials at once, which a round is as wide as where nothing else is said; it is never narrower than usual.
    pub jobs: usize,
    /// Conditions that variants must meet: `dim % heads == 0`.
    pub constraints: Vec<String>,
    /// Points that are tried first: `key=value,key=value`.
    pub enqueue: Vec<String>,
    /// By what trials are compared.
    pub metric: Option<Metric>,
    /// Of so many trials the weights are kept.
    pub keep_best: Option<usize>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What it is for.
    pub note: Option<String>,
    /// Which trials end early.
    pub stopping: Option<Stopping>,
    /// What was set for all variants: `key=value`.
    pub set: Vec<String>,
}

/// All that defines a sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The experiment without what is varied.
    pub(super) base: Definition,
    /// The experiment with all of it, nothing left to a default: its hash is the sweep's.
    pub definition: Definition,
    pub(super) space: Space,
    /// What a variant must meet.
    pub(super) constraints: Vec<Constraint>,
    pub(super) search: SearchSettings,
    /// Whether neither the command line nor the experiment says how wide a round is.
    pub(super) open_round: bool,
    pub(super) metric: Metric,
    /// What defines nothing: what the experiment says of it, and what the command line says instead.
    pub(super) about: About,
    pub(super) tags: Vec<String>,
    pub(super) note: Option<String>,
    pub(super) stopping: Option<Stopping>,
}

impl Sweep {
    /// The sweep of an experiment.
    ///
    /// # Errors
    /// Keys that are not there, with the nearest name, and what does not fit together.
    pub fn new(experiment: &Definition, given: &Given) -> Result<Self, ExperimentError> {
        let space = Space::new(&experiment.experiment, &given.space)?;
        keys::check(experiment, &space)?;
        keys::not_set(&space, &given.set)?;
        let own = experiment.experiment.sweep.clone().unwrap_or_default();
        if let (None, Strategy::Grid, Some(trials)) = (given.strategy, own.strategy, own.trials) {
            let message = format!("the experiment's sweep has `trials: {trials}`, but a grid tries every combination");
            let help = Some("leave it out, or add `strategy: random`".to_owned());
            return Err(ExperimentError::Sweep { message, help });
        }
        let strategy = given.strategy.unwrap_or(own.strategy);
        let trials = given.trials.or(own.trials.filter(|_| strategy != Strategy::Grid));
        let seed = given.search_seed.unwrap_or(own.search_seed);
        let round = rounds::asked(given, &own, strategy)?;
        let first = first_points(&space, given, &own)?;
        let open_round = round.is_none() && strategy.goes_by_results();
        let round = round.unwrap_or(given.jobs.clamp(ROUND, MOST_ROUND));
        let search = SearchSettings { strategy, trials, seed, round, first };
        let stopping = given.stopping.or_else(|| own.stop.map(Stop::stopping));
        if let Some(Stopping { min_epochs, factor, .. }) = stopping.filter(|s| s.min_epochs < 1 || s.factor < 2) {
            let message = format!("a rule cannot stop with min_epochs {min_epochs} and factor {factor}");
            let help = Some("`min_epochs` is at least 1, and `factor` at least 2".to_owned());
            return Err(ExperimentError::Sweep { message, help });
        }
        let metric = given.metric.unwrap_or(own.metric);
        let about =
            About { tags: own.tags.clone(), note: own.note.clone(), keep_best: given.keep_best.or(own.keep_best) };
        let (tags, note) = (given.tags.clone(), given.note.clone());
        let base = experiment.with(&[])?;
        let constraints = constraints::read(experiment, &space, &own, &given.constraints)?;
        for point in &search.first {
            if let Some(unmet) = unmet(experiment, point, &constraints)? {
                let message =
                    format!("the point `{}` is left out: `{}` does not hold there", name(point), unmet.text());
                let help = Some("leave out one of the two".to_owned());
                return Err(ExperimentError::Sweep { message, help });
            }
        }
        let mut definition = base.clone();
        let mut resolved = space.resolved();
        (resolved.strategy, resolved.trials, resolved.search_seed) = (strategy, trials, seed);
        resolved.round = rounds::recorded_round(&search);
        resolved.enqueue = search.first.iter().map(|point| point.iter().cloned().collect()).collect();
        resolved.constraints = constraints::resolved(&constraints);
        resolved.metric = metric;
        resolved.stop = stopping.map(Stop::of);
        definition.experiment.sweep = Some(resolved);
        let sweep =
            Self { base, definition, space, constraints, search, open_round, metric, about, tags, note, stopping };
        sweep.search(false)?;
        Ok(sweep)
    }

    /// By what it compares its trials.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The keys that it varies, that of the seeds included.
    pub fn keys(&self) -> Vec<&str> {
        let axes = self.space.groups.iter().flatten().map(|axis| axis.key.as_str());
        axes.chain((self.space.seeds > 1).then_some(SEED)).collect()
    }

    /// Whether a model uses what is varied of its parameters.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`] with one that has no effect.
    pub fn check_read(&self, model: &Architecture) -> Result<(), ExperimentError> {
        keys::check_read(self.keys(), model)
    }

    pub(super) fn search(&self, skip: bool) -> Result<Search<'_>, ExperimentError> {
        Search::new(&self.space, &self.search, skip)
    }
}

/// The points that are tried first: those of the command line before those of the experiment.
fn first_points(space: &Space, given: &Given, own: &SweepConfig) -> Result<Vec<Variant>, ExperimentError> {
    let given = given.enqueue.iter().map(|text| points::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let named =
        |point: &BTreeMap<String, Value>| point.iter().map(|(key, value)| (Axis::named(key), value.clone())).collect();
    let mut first = Vec::new();
    for point in given.into_iter().chain(own.enqueue.iter().map(named)) {
        let point = space.point(&point)?;
        if !first.contains(&point) {
            first.push(point);
        }
    }
    Ok(first)
}

/// The first of the conditions that a point does not meet.
fn unmet<'c>(
    base: &Definition,
    point: &Variant,
    constraints: &'c [Constraint],
) -> Result<Option<&'c Constraint>, ExperimentError> {
    for constraint in constraints {
        if !constraints::holds(base, point, constraint)? {
            return Ok(Some(constraint));
        }
    }
    Ok(None)
}
