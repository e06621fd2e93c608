use std::{collections::HashMap, fs, path::Path, thread, time::Duration};

use super::{
    Decision, Executor, How, Planned, Standing, Stopping,
    executor::Ended,
    space::{SEED, name},
};
use crate::{
    experiment::{ExperimentError, training::BUSY},
    train::Interrupt,
    trial::{Directory, Epoch, Failure, FailureKind, Lock, RunResult, Stopped, Until, Variant, history},
};

/// How long the scheduler sleeps between two looks.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 25 });

/// How often in a row a trial may be killed before it has saved anything more than the last time.
const FRUITLESS: u32 = 3;

/// How trials are run.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Trials at once.
    pub jobs: usize,
    /// Further attempts for a trial that fails, unless it met NaN, which it would meet again. One
    /// that is killed is resumed in any case.
    pub retries: u32,
    /// Whether the first failure stops the sweep.
    pub fail_fast: bool,
}

/// What happens to a trial.
#[derive(Debug)]
pub enum Event<'a> {
    /// Its process has begun, or will where trials are queued; and where, if the executor tells.
    Started(&'a Planned, Option<String>),
    /// The executor has something to say.
    Note(&'a str),
    /// Another process, left over from a sweep that was killed, still trains it.
    Waiting(&'a Planned),
    /// It has its result.
    Finished(&'a Planned, RunResult),
    /// It has no result and will not be tried again, with the reason.
    Failed(&'a Planned, String),
    /// A search proposed what cannot be, with the reason.
    Impossible(&'a Variant, &'a str),
    /// It failed or was killed, with the reason, and will be tried again.
    Again(&'a Planned, String),
    /// Trained as far as was wanted for now.
    Paused(&'a Planned),
    /// Ended before its last epoch, with the reason.
    Stopped(&'a Planned, String),
    /// Time has passed; nothing new.
    Tick,
}

/// Runs the trials that have no result.
pub struct Schedule<'a> {
    /// In the order in which they begin.
    pub trials: &'a [Planned],
    /// What has become of the trials before this one was told before.
    pub first: usize,
    /// How many at once, and what a failure means.
    pub policy: Policy,
    /// Ends the running trials at their next step.
    pub interrupt: &'a Interrupt,
}

/// A trial as the scheduler sees it.
#[derive(Debug, Default)]
struct State {
    standing: Standing,
    running: bool,
    /// It was said to have been stopped.
    stopped: bool,
    /// Its directory says that it was stopped.
    marked: bool,
    /// It was said that another process trains it.
    waiting: bool,
    attempts: u32,
    /// How often in a row it was killed before it had saved anything more.
    fruitless: u32,
    /// What it had saved when it was last started: epochs, and when its checkpoint was written.
    saved: Option<(usize, std::time::SystemTime)>,
}

impl Schedule<'_> {
    /// Runs until every trial has ended; false when it was interrupted. With `stopping`, trials run
    /// from rung to rung, and the rule says at each which of them end there.
    ///
    /// # Errors
    /// A directory that cannot be written, or an executor that fails; what runs is asked to save and
    /// end first. Failing trials are no error.
    pub fn run(
        &self,
        stopping: Option<Stopping>,
        executor: &mut dyn Executor,
        mut report: impl FnMut(Event),
    ) -> Result<bool, ExperimentError> {
        let mut states = self.states();
        let ended = self.until_ended(stopping, &mut states, executor, &mut report);
        let wound_down = self.wind_down(&mut states, executor);
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
            State { standing: Standing { variant, epochs, ..Standing::default() }, ..State::default() }
        };
        self.trials.iter().map(state).collect()
    }

    fn until_ended(
        &self,
        stopping: Option<Stopping>,
        states: &mut [State],
        executor: &mut dyn Executor,
        report: &mut impl FnMut(Event),
    ) -> Result<bool, ExperimentError> {
        for (index, (planned, state)) in self.trials.iter().zip(states.iter_mut()).enumerate() {
            planned.write()?;
            state.look(&planned.folder)?;
            state.marked = Stopped::read(&planned.folder)?.is_some();
            // Before anything is handed over: what an earlier sweep has handed over counts.
            if !state.standing.finished && executor.adopt(&planned.folder)? {
                state.saved = saved(&planned.folder, state.standing.curve.len());
                state.running = true;
                report(Event::Started(planned, executor.place(&planned.folder)));
            }
            // NaN would come again; any other failure may have gone.
            if let Some(Failure { kind: FailureKind::Nan, reason }) = Failure::read(&planned.folder)? {
                state.standing.failed = true;
                if index >= self.first {
                    report(Event::Failed(planned, reason));
                }
            }
        }
        loop {
            if self.interrupt.requested() {
                return Ok(false);
            }
            if self.policy.fail_fast && states.iter().any(|state| state.standing.failed) {
                return Ok(true);
            }
            let standings: Vec<Standing> = states.iter().map(|state| state.standing.clone()).collect();
            let decisions = match stopping {
                Some(stopping) => stopping.decide(&standings),
                None => vec![Decision::Train(None); states.len()],
            };
            let mut running = states.iter().filter(|state| state.running).count();
            let mut idle = 0;
            for ((planned, state), decision) in self.trials.iter().zip(states.iter_mut()).zip(decisions) {
                let until = match decision {
                    Decision::Stop(epochs, reason) => {
                        self.stop(planned, state, epochs, reason, report)?;
                        continue;
                    }
                    Decision::Wait => continue,
                    Decision::Train(until) => until,
                };
                if std::mem::take(&mut state.marked) {
                    Stopped::clear(&planned.folder)?;
                }
                if state.running || state.standing.finished || state.standing.failed {
                    continue;
                }
                idle += 1;
                let room = running < self.policy.jobs && executor.has_room()?;
                if room && self.start(planned, state, until, executor, report)? {
                    running += 1;
                }
            }
            if running == 0 && idle == 0 {
                return Ok(true);
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
        }
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
        if !Lock::is_free(&planned.folder)? {
            if !std::mem::replace(&mut state.waiting, true) {
                report(Event::Waiting(planned));
            }
            return Ok(false);
        }
        if std::mem::take(&mut state.waiting) {
            state.look(&planned.folder)?;
            if let (true, Some(result)) = (state.standing.finished, RunResult::read(&planned.folder)?) {
                report(Event::Finished(planned, result));
                return Ok(false);
            }
            if until.is_some_and(|until| state.standing.curve.len() >= until as usize) {
                return Ok(false);
            }
        }
        Until::set(&planned.folder, until)?;
        Failure::clear(&planned.folder)?;
        state.saved = saved(&planned.folder, state.standing.curve.len());
        executor.submit(&planned.folder)?;
        state.running = true;
        report(Event::Started(planned, executor.place(&planned.folder)));
        Ok(true)
    }

    fn stop(
        &self,
        planned: &Planned,
        state: &mut State,
        epochs: u32,
        reason: String,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        if !std::mem::replace(&mut state.stopped, true) {
            let stopped = Stopped { reason, epochs };
            if Stopped::read(&planned.folder)?.as_ref() != Some(&stopped) {
                stopped.write(&planned.folder)?;
                report(Event::Stopped(planned, stopped.reason));
            }
        }
        Ok(())
    }

    /// Takes in how the process of a trial ended.
    fn ended(
        &self,
        planned: &Planned,
        state: &mut State,
        how: How,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        let folder = &planned.folder;
        state.look(folder)?;
        if let Some(result) = RunResult::read(folder)? {
            report(Event::Finished(planned, result));
            return Ok(());
        }
        let failure = match (Failure::read(folder)?, how) {
            (Some(failure), _) => failure,
            (None, How::Exited(0)) if state.saved != saved(folder, state.standing.curve.len()) => {
                state.fruitless = 0;
                report(Event::Paused(planned));
                return Ok(());
            }
            // The process of a sweep that was killed was a moment faster.
            (None, How::Exited(code)) if code == i32::from(BUSY) => return Ok(()),
            (None, How::Killed(how)) => return self.killed(planned, state, how, report),
            (None, How::Exited(INTERRUPTED)) => {
                return self.killed(planned, state, "it was asked to end".into(), report);
            }
            (None, How::Exited(code)) => silent(folder, &format!("it ended with exit code {code}")),
            (None, How::Crashed(how)) => silent(folder, &how),
        };
        self.failed(planned, state, failure, report)
    }

    /// A trial that was killed loses little, and is resumed; unless it is killed again and again
    /// before it has saved anything.
    fn killed(
        &self,
        planned: &Planned,
        state: &mut State,
        how: String,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        let fruitless = state.saved == saved(&planned.folder, state.standing.curve.len());
        state.fruitless = if fruitless { state.fruitless + 1 } else { 0 };
        if state.fruitless < FRUITLESS {
            report(Event::Again(planned, how));
            return Ok(());
        }
        let reason =
            format!("{how}, {FRUITLESS} times before it saved anything; the system does so when memory runs out");
        self.failed(planned, state, Failure { kind: FailureKind::Killed, reason }, report)
    }

    fn failed(
        &self,
        planned: &Planned,
        state: &mut State,
        failure: Failure,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        state.attempts += 1;
        if state.attempts <= self.policy.retries && failure.kind != FailureKind::Nan {
            let retries = self.policy.retries;
            report(Event::Again(planned, format!("{} (retry {} of {retries})", failure.reason, state.attempts)));
            return Ok(());
        }
        state.standing.failed = true;
        // Shown first: where the disk is full, it cannot be kept.
        report(Event::Failed(planned, failure.reason.clone()));
        // Kept, so that the table can show it at any time.
        Ok(failure.write(&planned.folder)?)
    }

    /// Has all that runs save and end.
    fn wind_down(&self, states: &mut [State], executor: &mut dyn Executor) -> Result<(), ExperimentError> {
        for (planned, _) in self.trials.iter().zip(states.iter()).filter(|(_, state)| state.running) {
            executor.cancel(&planned.folder)?;
        }
        while states.iter().any(|state| state.running) {
            for Ended { folder, .. } in executor.poll()? {
                for (_, state) in self.trials.iter().zip(states.iter_mut()).filter(|(p, _)| p.folder == folder) {
                    state.running = false;
                }
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// Exit code of a trial that saved and ended because it was asked to.
const INTERRUPTED: i32 = crate::experiment::training::INTERRUPTED as i32;

impl State {
    /// Reads how far the trial has come.
    fn look(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.standing.curve = history::read(folder)?.iter().map(Epoch::score).collect();
        self.standing.finished = RunResult::read(folder)?.is_some();
        Ok(())
    }
}

/// What a trial has saved: its epochs, and when its last checkpoint was written.
fn saved(folder: &Path, epochs: usize) -> Option<(usize, std::time::SystemTime)> {
    Some((epochs, Directory::new(folder).saved_at().ok()?))
}

/// The failure of a trial that could not write it itself: what its log says last.
fn silent(folder: &Path, how: &str) -> Failure {
    const LINES: usize = 200;
    let log = fs::read(Directory::new(folder).log()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().rev().take(LINES).map(str::trim).filter(|line| !line.is_empty()).collect();
    if let Some(line) = lines.iter().find(|line| line.starts_with("memory allocation of")) {
        return Failure { kind: FailureKind::Memory, reason: format!("out of memory: {line}") };
    }
    // A panic says where, then what, then how to learn more.
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let said = match panic.and_then(|at| Some((lines.get(at)?, lines.get(at.checked_sub(1)?)?))) {
        Some((place, message)) => Some(format!("{place} {message}")),
        None => lines.first().map(|line| (*line).to_owned()),
    };
    let reason = said.map_or_else(|| how.to_owned(), |said| format!("{how}; the end of log.txt: {said}"));
    Failure { kind: FailureKind::Error, reason }
}

#[cfg(test)]
mod tests;
