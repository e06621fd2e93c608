//! A whole sweep: what is tried, round by round, in a directory that remembers it.

use std::path::{Path, PathBuf};

use super::{
    About, Domain, End, Event, Executor, Former, Metric, Plan, Planned, Planning, Policy, Rule, Schedule, Sweep,
    Trials, constraints,
    directory::{impossible, note_impossible, refuse_others, take},
    keep::Keeper,
    keys,
    plan::Planner,
    search::Verdict,
    together::{Agreed, Taken, join},
};
use crate::{
    dsl::Value,
    experiment::{ExperimentError, definition::MODEL_KEY, training::Options},
    trial::{Failure, RunResult, Stopped, Variant, history},
};

/// Most combinations of a space that are all checked before a search that goes by results begins. Of a larger one,
/// each is when it is proposed.
const CHECKED_BEFORE: usize = 1000;

/// How a sweep is run; nothing here changes what comes out.
pub struct Running<'a> {
    /// The sweep's directory.
    pub folder: &'a Path,
    /// Of one trial.
    pub options: Options,
    /// How many trials at once, and what a failure means.
    pub policy: Policy,
    /// Whether combinations that cannot be are left out, instead of refused.
    pub skip_invalid: bool,
    /// Checks and costs the variants of the first round, and no more.
    pub dry_run: bool,
    /// A sweep whose trials are taken over, where they are trials of this one.
    pub former: Option<&'a Former>,
}

/// Sees what happens.
pub trait Watch {
    /// Planning goes on.
    fn planning(&mut self, planning: Planning);
    /// A round has been checked and costed.
    fn plan(&mut self, plan: &Plan);
    /// Something has happened to a trial.
    fn event(&mut self, event: &Event);
}

/// How a sweep ended.
#[derive(Debug, Default)]
pub struct SweepEnd {
    pub trials: Vec<Planned>,
    /// The directories of all that was tried, in order: those of trials, and of variants that could not be.
    pub folders: Vec<PathBuf>,
    pub failed: bool,
    /// Asked to stop; the same command continues.
    pub interrupted: bool,
    /// A worker that found nothing to do for so long that it ended.
    pub idle: bool,
    /// Trials have not ended because time was up; the same command continues.
    pub out_of_time: bool,
    /// Trials that neither finished, nor failed, nor were stopped by a rule, though nothing ended the sweep early.
    pub unfinished: Vec<Variant>,
    /// What is to be said at the end.
    pub notes: Vec<String>,
}

impl Sweep {
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
    ) -> Result<SweepEnd, ExperimentError> {
        let Running { folder, policy, skip_invalid, former, .. } = running;
        let (interrupt, policy) = (&running.options.interrupt, *policy);
        // A directory that another has is refused before anything is timed.
        let agreed = Agreed { retries: policy.retries, fail_fast: policy.fail_fast, skip_invalid: *skip_invalid };
        let begin = || match policy.worker {
            true => join(folder),
            false => take(folder, &self.definition, &self.models(), agreed),
        };
        let (mut lock, mut keeper): (Option<Taken>, Option<Keeper>) = (None, None);
        if running.dry_run {
            refuse_others(folder, &self.definition)?;
        } else if folder.exists() {
            (lock, keeper) = (Some(begin()?), self.say(folder, policy)?);
        }
        let planner = Planner::new(&self.base, folder, running.options.clone());
        let mut planner = planner.constrained(&self.constraints).after(*former);
        // Where nothing is trained, nothing is timed.
        planner.times = executor.is_here() && !policy.worker && policy.jobs > 0;
        planner.check_read(&self.keys())?;
        let mut search = self.search(*skip_invalid)?;
        let mut ended = SweepEnd::default();
        self.check_all(&mut planner, running, watch)?;
        let (mut tried, mut said) = (0, false);
        for round in 0.. {
            let points = search.propose(&mut |point| {
                let verdict = (!interrupt.requested()).then(|| planner.judge(point));
                watch.planning(Planning::Checked(planner.judged()));
                verdict
            })?;
            // Where the sweep will be refused, nothing is timed.
            let refused = round == 0 && !skip_invalid && planner.any_impossible();
            let costed = if refused { &[] } else { points.as_slice() };
            let seeded = |point: &Variant| self.space.seeded(point);
            let planned = planner.plan(costed, seeded, |planning| watch.planning(planning));
            if interrupt.requested() {
                ended.interrupted = true;
                return Ok(ended);
            }
            let mut plan = planned?;
            if points.is_empty() && round > 0 {
                break;
            }
            tried += points.len();
            if round == 0 {
                let fewer = self.fewer(self.there(&planner, points.len()));
                said = fewer.is_some();
                plan.notes.extend(self.notes(&plan));
                plan.notes.extend(constraints::notes(&self.constraints, planner.left_out()));
                plan.notes.extend(fewer);
                if policy.jobs == 0 {
                    plan.notes.push("`vitx worker` trains, on any machine that has the directory.".into());
                }
            }
            let there = former.map(|former| former.look(&plan.trials)).transpose()?.flatten();
            plan.notes.extend(there);
            // Later on, what cannot be is a trial that failed, and is shown as one.
            let invalid = if round > 0 && !skip_invalid { std::mem::take(&mut plan.invalid) } else { Vec::new() };
            watch.plan(&plan);
            if round == 0 && (!plan.invalid.is_empty() && !skip_invalid || points.is_empty()) {
                return Err(self.none_can_be(&plan, planner.judged(), *skip_invalid));
            }
            if running.dry_run {
                break;
            }
            if lock.is_none() {
                (lock, keeper) = (Some(begin()?), self.say(folder, policy)?);
            }
            let first = ended.trials.len();
            let mut trials = plan.trials.iter().peekable();
            for point in &points {
                let Some((_, error)) = invalid.iter().find(|(invalid, _)| invalid == point) else {
                    // The trials stand in the order of the points, each point's with its seeds.
                    while let Some(own) = trials.next_if(|planned| self.is_of(&planned.variant, point)) {
                        ended.folders.push(own.folder.clone());
                    }
                    continue;
                };
                // One proposal that cannot be does not end the search.
                let reason = format!("cannot be: {error}");
                ended.folders.push(note_impossible(folder, point, &reason)?);
                ended.failed = true;
                watch.event(&Event::Impossible(point, &reason));
            }
            if let Some(former) = former {
                plan.trials.iter().try_for_each(|planned| former.take_over(planned))?;
            }
            ended.trials.extend(plan.trials);
            Trials::of(&ended.folders).keep(folder, true)?;
            // Those that stop by what came before see all of it; the others, their own round.
            let from = match self.stopping.map(|stopping| stopping.rule) {
                Some(Rule::Asha | Rule::Median) => 0,
                _ => first,
            };
            let (trials, metric) = (&ended.trials[from..], self.metric);
            let schedule = Schedule { trials, first: first - from, policy, metric, interrupt };
            let (failed, all, mut kept) = (&mut ended.failed, &ended.trials, Ok(()));
            let end = schedule.run(self.stopping, executor, |event| {
                *failed |= matches!(event, Event::Failed(..));
                if let (Event::Finished(..), Some(keeper), true) = (&event, &mut keeper, kept.is_ok()) {
                    kept = keeper.look(all, false);
                }
                watch.event(&event);
            })?;
            kept?;
            if end != End::Complete {
                (ended.interrupted, ended.idle) = (end == End::Interrupted, end == End::Idle);
                return Ok(ended);
            }
            if ended.failed && policy.fail_fast {
                return Ok(ended);
            }
            ended.unfinished = unfinished(&ended.trials[first..])?;
            if !ended.unfinished.is_empty() {
                ended.out_of_time = policy.is_over();
                return Ok(ended);
            }
            if !self.search.strategy.goes_by_results() {
                continue;
            }
            let scores: Vec<Option<f64>> =
                points.iter().map(|point| self.score(point, folder)).collect::<Result<_, _>>()?;
            let failed = self.metric.of_failure();
            search.tell(&scores.iter().map(|score| score.or(Some(failed))).collect::<Vec<_>>());
        }
        if lock.is_some() {
            Trials::of(&ended.folders).keep(folder, false)?;
            // What failed may be tried again, and others then go on that were stopped.
            keeper.iter_mut().try_for_each(|keeper| keeper.look(&ended.trials, !ended.failed))?;
            ended.notes.extend(self.fewer(tried).filter(|_| !said));
        }
        Ok(ended)
    }

    /// Checks every combination of a space that is not too large before a search by results begins: the others' points
    /// are all known by then.
    fn check_all(
        &self,
        planner: &mut Planner,
        running: &Running,
        watch: &mut dyn Watch,
    ) -> Result<(), ExperimentError> {
        let small = self.space.size().is_some_and(|size| size <= CHECKED_BEFORE);
        if !self.search.strategy.goes_by_results() || !small {
            return Ok(());
        }
        let mut impossible = false;
        for point in self.space.distinct().unwrap_or_default() {
            if running.options.interrupt.requested() {
                return Ok(());
            }
            impossible |= planner.judge(&self.space.at(&point, false)) == Verdict::Impossible;
            watch.planning(Planning::Checked(planner.judged()));
        }
        if impossible && !running.skip_invalid {
            let plan = planner.plan(&[], |_| Vec::new(), |_| ())?;
            watch.plan(&plan);
            return Err(self.none_can_be(&plan, planner.judged(), false));
        }
        Ok(())
    }

    fn none_can_be(&self, plan: &Plan, judged: usize, skip: bool) -> ExperimentError {
        let message = match plan.invalid.len() {
            0 => "no variant meets what the sweep's `where` asks for".to_owned(),
            count if count == judged && skip => "no variant can be trained".to_owned(),
            count => format!("{count} of {judged} variants cannot be trained"),
        };
        let skipping = "see the reasons above; --skip-invalid leaves them out";
        let help = match keys::whole_numbers(&self.base, &self.space) {
            Some(help) => help,
            None if plan.invalid.is_empty() => "see above how many each condition has left out".to_owned(),
            None if skip => "see the reasons above".to_owned(),
            None => skipping.to_owned(),
        };
        ExperimentError::Sweep { message, help: Some(help) }
    }

    /// How many variants a search will try, as far as can be known before.
    fn there(&self, planner: &Planner, proposed: usize) -> usize {
        match self.space.size() {
            _ if !self.search.strategy.goes_by_results() => proposed,
            Some(size) if size <= CHECKED_BEFORE => planner.fine(),
            _ => self.space.distinct().map_or(usize::MAX, |points| points.len()),
        }
    }

    /// What is good to know of a sweep before its first step.
    fn notes(&self, plan: &Plan) -> Vec<String> {
        let mut notes = self.space.fixed.clone();
        let by_accuracy = self.stopping.is_some() || self.search.strategy.goes_by_results();
        if plan.unvalidated && by_accuracy {
            let training = match self.metric {
                Metric::ValAccuracy => "training accuracy",
                Metric::ValTop5Accuracy => "top-5 training accuracy",
                Metric::ValLoss => "training loss",
            };
            notes.push(format!("There are no validation images: what is stopped and tried goes by {training}."));
        }
        let longest = plan.trials.iter().map(|planned| planned.definition.experiment.train.epochs).max().unwrap_or(0);
        if let Some(stopping) = self.stopping.filter(|stopping| stopping.rungs(longest).is_empty()) {
            let first = stopping.min_epochs;
            let word = if longest == 1 { "epoch" } else { "epochs" };
            notes.push(format!(
                "Nothing will be stopped: the first look is after epoch {first}, and no trial has more than {longest} {word}."
            ));
        }
        notes
    }

    /// That a search has fewer points than it was told to try.
    fn fewer(&self, there: usize) -> Option<String> {
        let wanted = self.search.trials.filter(|wanted| there < *wanted)?;
        Some(match there {
            // That nothing can be tried is an error of its own.
            0 => return None,
            1 => format!("{wanted} trials are wanted, but the space has 1 variant."),
            _ => format!("{wanted} trials are wanted, but the space has {there} variants: each is tried once."),
        })
    }

    /// Whether a variant is a point with one of its seeds.
    fn is_of(&self, variant: &Variant, point: &Variant) -> bool {
        variant.starts_with(point) && variant.len() == point.len() + usize::from(self.space.seeds > 1)
    }

    /// The names and texts of the models that are varied.
    fn models(&self) -> Vec<(String, String)> {
        let axes = self.space.groups.iter().flatten().filter(|axis| axis.key == MODEL_KEY);
        let values = axes.flat_map(|axis| match &axis.domain {
            Domain::Values(values) => values.as_slice(),
            Domain::Interval { .. } => &[],
        });
        let text = |value: &Value| match (value, self.base.with(&[(MODEL_KEY.to_owned(), value.clone())])) {
            (Value::Str(name), Ok(definition)) => Some((name.clone(), definition.source.text)),
            // One that cannot be read cannot be trained either.
            _ => None,
        };
        values.filter_map(text).collect()
    }

    /// How well a point did: the mean over its seeds of the best score, as far as they were trained.
    fn score(&self, point: &Variant, folder: &Path) -> Result<Option<f64>, ExperimentError> {
        let mut scores = Vec::new();
        if impossible(folder, point).exists() {
            return Ok(None);
        }
        for variant in self.space.seeded(point) {
            // What cannot be has no score.
            let Ok(definition) = self.base.with(&variant) else { return Ok(None) };
            let folder = folder.join("trials").join(definition.identity());
            scores.extend(self.metric.best(&history::read_counted(&folder)?));
        }
        Ok((!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64))
    }

    /// Says in the directory what the sweep is for; gives what keeps the best weights, if not all are kept.
    fn say(&self, folder: &Path, policy: Policy) -> Result<Option<Keeper>, ExperimentError> {
        if !policy.worker {
            self.about.begin(folder)?;
            About::change(folder, &self.tags, self.note.as_deref())?;
        }
        Ok(About::read(folder)?.keep_best.map(|count| Keeper::new(count, self.metric)))
    }
}

/// Trials of which the directory tells no end.
fn unfinished(trials: &[Planned]) -> Result<Vec<Variant>, ExperimentError> {
    let mut unfinished = Vec::new();
    for Planned { folder, variant, .. } in trials {
        let ended =
            RunResult::read(folder)?.is_some() || Stopped::read(folder)?.is_some() || Failure::read(folder)?.is_some();
        if !ended {
            unfinished.push(variant.clone());
        }
    }
    Ok(unfinished)
}
