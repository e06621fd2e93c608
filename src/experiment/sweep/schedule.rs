//! Which trial runs next. Several schedulers may work in one directory at once, those of `vitx sweep` and of
//! `vitx worker`: each decides alone, by what the trials' directories say, and a trial's lock tells who trains it.

mod ends;
mod event;
mod places;
mod state;

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

pub use self::event::{End, Event};
use self::{
    places::tell_place,
    state::{State, is_final},
};
use super::{
    Decision, Executor, How, Metric, Planned, Standing, Stopping,
    executor::Ended,
    space::{SEED, name},
};
use crate::{
    experiment::{ExperimentError, training::BUSY},
    train::Interrupt,
    trial::{FailureKind, Lock, RunResult, Stopped, Until},
};

/// How long the scheduler sleeps between two looks at what it has handed over.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 25 });

/// How long it lets a trial alone that another process has, and how often it looks what has become of such ones; longer
/// where looking takes more than a share of that.
const REST: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });
const SHARE: u32 = 20;

/// How often it looks whether a trial has come as far as it was wanted.
const NEAR: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });

/// How often in a row a trial may be killed before it has saved anything more than the last time.
const FRUITLESS: u32 = 3;

/// Exit code of a trial that saved and ended because it was asked to.
const INTERRUPTED: i32 = crate::experiment::training::INTERRUPTED as i32;

/// How trials are run.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Trials at once; with 0, they are all left to other processes.
    pub jobs: usize,
    /// Further attempts for a trial that fails, unless it met NaN, which it would meet again. One
    /// that is killed is resumed in any case.
    pub retries: u32,
    /// Whether the first failure stops the sweep.
    pub fail_fast: bool,
    /// Whether this is one of several schedulers: it leaves failures as they are, and begins anywhere.
    pub worker: bool,
    /// Ends a scheduler that has had nothing to do for so long.
    pub until_idle: Option<Duration>,
    /// From then on no trial begins, or is begun again; what runs comes to its end.
    pub deadline: Option<Instant>,
}

impl Policy {
    /// Whether nothing is to begin any more.
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Runs the trials that have no result.
pub struct Schedule<'a> {
    /// In the order in which they begin.
    pub trials: &'a [Planned],
    /// What has become of the trials before this one was told before.
    pub first: usize,
    /// How many at once, and what a failure means.
    pub policy: Policy,
    /// By what rules compare trials.
    pub metric: Metric,
    /// Ends the running trials at their next step.
    pub interrupt: &'a Interrupt,
}

impl Schedule<'_> {
    /// Runs until every trial has ended. With `stopping`, trials run from rung to rung, and the rule says at each which
    /// of them end there.
    ///
    /// # Errors
    /// A directory that cannot be written, or an executor that fails; what runs is asked to save and
    /// end first, and the error is told as a note before that. Failing trials are no error.
    pub fn run(
        &self,
        stopping: Option<Stopping>,
        executor: &mut dyn Executor,
        mut report: impl FnMut(Event),
    ) -> Result<End, ExperimentError> {
        let mut states = self.states();
        let ended = self.until_ended(stopping, &mut states, executor, &mut report);
        let wound_down = self.wind_down(&mut states, executor, ended.as_ref().err(), &mut report);
        let ended = ended?;
        wound_down?;
        Ok(ended)
    }

    /// Of trials of which nothing is known yet but what they are.
    fn states(&self) -> Vec<State> {
        let mut variants: HashMap<String, usize> = HashMap::new();
        let state = |planned: &Planned| {
            let others = planned.variant.iter().filter(|(key, _)| key != SEED).cloned().collect();
            let next = variants.len();
            let variant = *variants.entry(name(&others)).or_insert(next);
            let epochs = planned.definition.experiment.train.epochs;
            State::new(Standing { variant, epochs, ..Standing::default() }, self.metric)
        };
        self.trials.iter().map(state).collect()
    }

    fn until_ended(
        &self,
        stopping: Option<Stopping>,
        states: &mut [State],
        executor: &mut dyn Executor,
        report: &mut impl FnMut(Event),
    ) -> Result<End, ExperimentError> {
        for (index, (planned, state)) in self.trials.iter().zip(states.iter_mut()).enumerate() {
            self.begin(index, planned, state, report)?;
            // Before anything is handed over: what an earlier sweep has handed over counts.
            if !state.standing.finished && executor.adopt(&planned.folder)? {
                state.remember(&planned.folder);
                state.handed_over(Until::read(&planned.folder)?.map(|until| until.epochs));
                tell_place(planned, state, executor, report);
            }
        }
        let mut looked = Instant::now();
        let (mut rest, mut busy) = (REST, Instant::now());
        loop {
            if self.interrupt.requested() {
                return Ok(End::Interrupted);
            }
            if self.policy.fail_fast && states.iter().any(|state| state.standing.failed) {
                return Ok(End::Complete);
            }
            if looked.elapsed() >= rest {
                let begin = Instant::now();
                self.look_around(states, report)?;
                rest = REST.max(begin.elapsed() * SHARE);
                looked = Instant::now();
            }
            let near = |state: &State| state.running && state.until.is_some() && !state.looked_within(NEAR);
            for (planned, state) in self.trials.iter().zip(states.iter_mut()).filter(|(_, state)| near(state)) {
                let failed = state.standing.failed;
                state.look(&planned.folder, self.policy.retries)?;
                // That it fails is told when it has ended.
                state.standing.failed = failed;
            }
            let standings: Vec<Standing> = states.iter().map(|state| state.standing.clone()).collect();
            let decisions = match stopping {
                Some(stopping) => stopping.decide(&standings),
                None => vec![Decision::Train(None); states.len()],
            };
            let over = self.policy.is_over();
            let mut wanted = Vec::new();
            for (index, decision) in decisions.iter().enumerate() {
                let (planned, state) = (&self.trials[index], &mut states[index]);
                match decision {
                    Decision::Stop(epochs, reason) => self.stop(planned, state, *epochs, reason.clone(), report)?,
                    Decision::Wait => {}
                    Decision::Train(until) => {
                        if std::mem::take(&mut state.marked) {
                            Stopped::clear(&planned.folder)?;
                        }
                        if state.lingers() {
                            if !over {
                                self.go_on(planned, state, *until, report)?;
                            }
                        } else if !state.running && !state.ended() {
                            wanted.push((index, *until));
                        }
                    }
                }
            }
            let mut running = states.iter().filter(|state| state.running).count();
            let mut unserved = None;
            if over {
                wanted.clear();
                self.end_lingering(states, executor)?;
            }
            // Many workers that begin at once would all want the first.
            let offset = self.offset(wanted.len());
            for place in 0..wanted.len() {
                let (index, until) = wanted[(place + offset) % wanted.len()];
                let (planned, state) = (&self.trials[index], &mut states[index]);
                if state.rests() {
                    continue;
                }
                if running >= self.policy.jobs || !executor.has_room(&planned.folder)? {
                    unserved = unserved.or(Some(index));
                } else if self.start(planned, state, until, executor, report)? {
                    running += 1;
                }
            }
            executor.let_go();
            if let Some(index) = unserved.filter(|_| self.policy.jobs > 0) {
                self.make_room(states, &decisions, index, executor)?;
            }
            if running == 0 && wanted.is_empty() {
                return Ok(End::Complete);
            }
            if running > 0 {
                busy = Instant::now();
            } else if self.policy.until_idle.is_some_and(|most| busy.elapsed() >= most) {
                return Ok(End::Idle);
            }
            executor.notes().iter().for_each(|note| report(Event::Note(note)));
            report(Event::Tick);
            thread::sleep(PAUSE);
            let mut ended = Vec::new();
            for Ended { folder, how } in executor.poll()? {
                let Some(index) = self.trials.iter().position(|planned| planned.folder == folder) else { continue };
                // All of them, before any is looked at: an error must not leave one to be waited for.
                states[index].running = false;
                ended.push((index, how));
            }
            for (index, how) in ended {
                self.ended(&self.trials[index], &mut states[index], how, report)?;
            }
            for (planned, state) in self.trials.iter().zip(states.iter_mut()).filter(|(_, state)| state.running) {
                if executor.is_queued(&planned.folder) != state.queued {
                    tell_place(planned, state, executor, report);
                }
            }
        }
    }

    /// Where to begin among so many trials that could begin.
    fn offset(&self, count: usize) -> usize {
        // Any number will do that differs between processes.
        let any = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos() / 1009);
        if self.policy.worker { any as usize % count.max(1) } else { 0 }
    }

    /// Makes a trial's directory, and reads what has become of it before.
    fn begin(
        &self,
        index: usize,
        planned: &Planned,
        state: &mut State,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        let folder = &planned.folder;
        planned.write()?;
        state.look(folder, self.policy.retries)?;
        state.marked = Stopped::read(folder)?.is_some();
        let Some(mut failure) = state.failure.clone().filter(|_| index >= self.first) else { return Ok(()) };
        if failure.kind != FailureKind::Nan && failure.attempts > 0 && !self.policy.worker {
            // A sweep that is begun again tries again: those that work beside it see it here.
            failure.attempts = 0;
            failure.write(folder)?;
        }
        state.standing.failed = is_final(&failure, self.policy.retries);
        if state.standing.failed {
            report(Event::Failed(planned, failure.reason.clone()));
        }
        state.failure = Some(failure);
        Ok(())
    }

    /// Looks what others have made of the trials, and how far those have come that are wanted no further for now.
    fn look_around(&self, states: &mut [State], report: &mut impl FnMut(Event)) -> Result<(), ExperimentError> {
        for (planned, state) in self.trials.iter().zip(states) {
            if !state.running && !state.standing.finished {
                self.look_at(planned, state, report)?;
            }
        }
        Ok(())
    }

    /// Looks what others have made of a trial, and tells its end.
    fn look_at(
        &self,
        planned: &Planned,
        state: &mut State,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        let (failed, epochs) = (state.standing.failed, state.standing.curve.len());
        state.look(&planned.folder, self.policy.retries)?;
        match (state.standing.finished, &state.failure) {
            (true, _) => {
                if let Some(result) = RunResult::read(&planned.folder)? {
                    report(Event::Finished(planned, result));
                }
            }
            (false, Some(failure)) if state.standing.failed && !failed => {
                report(Event::Failed(planned, failure.reason.clone()));
            }
            _ if state.standing.curve.len() > epochs && !std::mem::replace(&mut state.waiting, true) => {
                report(Event::Waiting(planned));
            }
            _ => {}
        }
        Ok(())
    }

    /// Starts a trial; false when another process has it, or has just brought it to its end.
    fn start(
        &self,
        planned: &Planned,
        state: &mut State,
        until: Option<u32>,
        executor: &mut dyn Executor,
        report: &mut impl FnMut(Event),
    ) -> Result<bool, ExperimentError> {
        let folder = &planned.folder;
        if !Lock::is_free(folder)? {
            state.rest(REST);
            if !std::mem::replace(&mut state.waiting, true) {
                report(Event::Waiting(planned));
            }
            // Its process may wait for what its own scheduler, which was killed, will never tell.
            state.look(folder, self.policy.retries)?;
            if until.is_none_or(|until| !state.has_reached(until)) && state.has_reached_wanted(folder)? {
                Until::set(folder, until)?;
            }
            return Ok(false);
        }
        self.look_at(planned, state, report)?;
        state.waiting = false;
        if state.ended() || until.is_some_and(|until| state.has_reached(until)) {
            return Ok(false);
        }
        Until::set(folder, until)?;
        state.remember(folder);
        executor.submit(folder)?;
        state.handed_over(until);
        tell_place(planned, state, executor, report);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
