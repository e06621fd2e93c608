//! A whole sweep: what is tried, round by round, in a directory that remembers it.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Event, Executor, Plan, Planned, Policy, Rule, Schedule, Search, Space, SpaceArguments, Stopping, Strategy, Variant,
    keys, plan::Planner,
};
use crate::{
    experiment::{Definition, ExperimentError, Stop, trial::Lock, trial::Options},
    train::{
        history,
        kept::{Kept, read, write},
        result::Stopped,
    },
};

/// What the command line says of a sweep. What it leaves out is the experiment's.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub space: SpaceArguments,
    pub strategy: Option<Strategy>,
    pub trials: Option<usize>,
    pub search_seed: Option<u64>,
    pub stopping: Option<Stopping>,
}

/// All that defines a sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The experiment without what is varied.
    base: Definition,
    /// The experiment with all of it, nothing left to a default: its hash is the sweep's.
    pub definition: Definition,
    space: Space,
    strategy: Strategy,
    trials: Option<usize>,
    search_seed: u64,
    stopping: Option<Stopping>,
}

/// How a sweep is run; nothing here changes what comes out.
pub struct Running<'a> {
    pub folder: &'a Path,
    /// Of one trial.
    pub options: Options,
    pub policy: Policy,
    /// Whether combinations that cannot be are left out, instead of refused.
    pub skip_invalid: bool,
    /// Checks and costs the variants of the first round, and no more.
    pub dry_run: bool,
}

/// Sees what happens.
pub trait Watch {
    /// A round has been checked and costed.
    fn plan(&mut self, plan: &Plan);
    fn event(&mut self, event: &Event);
}

/// How a sweep ended.
#[derive(Debug, Default)]
pub struct Ended {
    pub trials: Vec<Planned>,
    pub failed: bool,
    /// Asked to stop; the same command continues.
    pub interrupted: bool,
}

/// `trials.json` in a sweep's directory: which trials are its own, in order.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trials {
    pub trials: Vec<String>,
}

const TRIALS: &str = "trials.json";

impl Kept for Trials {
    /// Names of folders in `trials`, and of none elsewhere.
    fn fault(&self) -> Option<String> {
        let plain =
            |name: &&String| !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) || name.is_empty();
        self.trials.iter().find(plain).map(|name| format!("`{name}` is no name of a trial"))
    }
}

impl Trials {
    /// The trials of a sweep; `None` where the directory is none.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, ExperimentError> {
        Ok(read(&folder.join(TRIALS))?)
    }

    fn of(trials: &[Planned]) -> Self {
        let name = |planned: &Planned| planned.folder.file_name().map(|name| name.to_string_lossy().into_owned());
        Self { trials: trials.iter().filter_map(name).collect() }
    }

    /// Keeps the list. `more` says that it may grow yet: then a longer one that begins like it, of
    /// an earlier time, stays.
    fn keep(self, folder: &Path, more: bool) -> Result<(), ExperimentError> {
        let known = Self::read(folder)?.unwrap_or_default();
        if known == self || more && known.trials.starts_with(&self.trials) {
            return Ok(());
        }
        Ok(write(&folder.join(TRIALS), &self)?)
    }
}

impl Sweep {
    /// The sweep of an experiment.
    ///
    /// # Errors
    /// Keys that are not there, with the nearest name, and what does not fit together.
    pub fn new(experiment: &Definition, given: &Given) -> Result<Self, ExperimentError> {
        let space = Space::new(&experiment.experiment, &given.space)?;
        keys::check(experiment, &space)?;
        let own = experiment.experiment.sweep.clone().unwrap_or_default();
        let strategy = given.strategy.unwrap_or(own.strategy);
        let trials = given.trials.or(own.trials.filter(|_| strategy != Strategy::Grid));
        let search_seed = given.search_seed.unwrap_or(own.search_seed);
        let stopping = given.stopping.or_else(|| own.stop.map(Stop::stopping));
        let base = experiment.with(&[])?;
        let mut definition = base.clone();
        let mut resolved = space.resolved();
        (resolved.strategy, resolved.trials, resolved.search_seed) = (strategy, trials, search_seed);
        resolved.stop = stopping.map(Stop::of);
        definition.experiment.sweep = Some(resolved);
        let sweep = Self { base, definition, space, strategy, trials, search_seed, stopping };
        sweep.search()?;
        Ok(sweep)
    }

    fn search(&self) -> Result<Search<'_>, ExperimentError> {
        Search::new(&self.space, self.strategy, self.trials, self.search_seed)
    }

    /// Checks and costs all variants, runs those that are not finished, and remembers all of it in
    /// the directory.
    ///
    /// # Errors
    /// A directory of another sweep, or one that another process has or that cannot be written;
    /// variants that cannot be.
    pub fn run(
        &self,
        running: &Running,
        executor: &mut dyn Executor,
        watch: &mut dyn Watch,
    ) -> Result<Ended, ExperimentError> {
        let Running { folder, policy, .. } = running;
        // One that another process has is refused before anything is timed.
        let mut lock = match folder.exists() && !running.dry_run {
            true => Some(self.take(folder)?),
            false => None,
        };
        let mut planner = Planner::new(&self.base, folder, running.options.clone());
        let mut search = self.search()?;
        let mut ended = Ended::default();
        let mut seen: HashSet<PathBuf> = HashSet::new();
        loop {
            let points = search.propose()?;
            if points.is_empty() {
                break;
            }
            let mut plan = planner.plan(self.seeded(&points), running.skip_invalid)?;
            if running.options.interrupt.requested() {
                ended.interrupted = true;
                return Ok(ended);
            }
            // A search may come back to where it was.
            plan.trials.retain(|planned| seen.insert(planned.folder.clone()));
            watch.plan(&plan);
            if !plan.invalid.is_empty() && !running.skip_invalid || seen.is_empty() && self.strategy != Strategy::Tpe {
                let variants = self.seeded(&points).len();
                let message = format!("{} of {variants} variants cannot be trained", plan.invalid.len());
                let help = Some("see the reasons above; --skip-invalid leaves them out".to_owned());
                return Err(ExperimentError::Sweep { message, help });
            }
            if running.dry_run {
                break;
            }
            if lock.is_none() {
                lock = Some(self.take(folder)?);
            }
            let first = ended.trials.len();
            ended.trials.extend(plan.trials);
            Trials::of(&ended.trials).keep(folder, true)?;
            // Those that stop by what came before see all of it; the others, their own round.
            let from = match self.stopping.map(|stopping| stopping.rule) {
                Some(Rule::Asha | Rule::Median) => 0,
                _ => first,
            };
            let interrupt = &running.options.interrupt;
            let schedule = Schedule { trials: &ended.trials[from..], first: first - from, policy: *policy, interrupt };
            let failed = &mut ended.failed;
            let complete = schedule.run(self.stopping, executor, |event| {
                *failed |= matches!(event, Event::Failed(..));
                watch.event(&event);
            })?;
            if !complete {
                ended.interrupted = true;
                return Ok(ended);
            }
            if ended.failed && policy.fail_fast {
                return Ok(ended);
            }
            let accuracies: Vec<Option<f64>> =
                points.iter().map(|point| self.accuracy(point, folder)).collect::<Result<_, _>>()?;
            search.tell(&accuracies);
        }
        if lock.is_some() {
            Trials::of(&ended.trials).keep(folder, false)?;
        }
        Ok(ended)
    }

    fn seeded(&self, points: &[Variant]) -> Vec<Variant> {
        points.iter().flat_map(|point| self.space.seeded(point)).collect()
    }

    /// Takes a directory for this sweep, and no other.
    fn take(&self, folder: &Path) -> Result<Lock, ExperimentError> {
        fs::create_dir_all(folder).map_err(ExperimentError::io("create", folder))?;
        if folder.join("config.yaml").exists() {
            let difference = "it is the directory of a single run".into();
            return Err(ExperimentError::Other { folder: folder.to_owned(), difference });
        }
        let lock = Lock::take(folder)?;
        // Another sweep is refused here, before it is mixed with what the folder has.
        match self.definition.write(&folder.join("sweep")) {
            Err(ExperimentError::Other { difference, .. }) => {
                Err(ExperimentError::OtherSweep { folder: folder.to_owned(), difference })
            }
            written => written.map(|()| lock),
        }
    }

    /// How well a point did: the mean over its seeds of the best validation accuracy, as far as they
    /// were trained.
    fn accuracy(&self, point: &Variant, folder: &Path) -> Result<Option<f64>, ExperimentError> {
        let mut accuracies = Vec::new();
        for variant in self.space.seeded(point) {
            // What cannot be has no accuracy.
            let Ok(definition) = self.base.with(&variant) else { return Ok(None) };
            let folder = folder.join("trials").join(definition.identity());
            let mut epochs = history::read(&folder.join("metrics.jsonl"))?;
            if let Some(stopped) = Stopped::read(&folder)? {
                epochs.truncate(stopped.epochs as usize);
            }
            let best = epochs.iter().map(|epoch| epoch.val_accuracy.unwrap_or(epoch.accuracy)).reduce(f64::max);
            accuracies.extend(best);
        }
        Ok((!accuracies.is_empty()).then(|| accuracies.iter().sum::<f64>() / accuracies.len() as f64))
    }
}
