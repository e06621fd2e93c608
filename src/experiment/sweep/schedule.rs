use std::{
    collections::{HashSet, VecDeque},
    thread,
    time::Duration,
};

use super::{Curve, Ended, Executor, Planned, Stopping};
use crate::{
    experiment::{ExperimentError, trial::Lock},
    train::{
        Interrupt,
        history::{self, Epoch},
        result::{Failure, FailureKind, RunResult, Stopped, Until},
    },
};

/// How long the scheduler sleeps between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How long trials that were asked to stop may take to save.
const GRACE: Duration = Duration::from_secs(20);

/// How trials are run.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Trials at once.
    pub jobs: usize,
    /// Further attempts for a trial that fails, unless it met NaN, which it would meet again.
    pub retries: u32,
    /// Whether the first failure stops the sweep.
    pub fail_fast: bool,
}

/// What happens to a trial.
#[derive(Debug)]
pub enum Event<'a> {
    Started(&'a Planned),
    /// Another process, left over from a sweep that was killed, still trains it.
    Waiting(&'a Planned),
    Finished(&'a Planned, RunResult),
    Failed(&'a Planned, String),
    /// Trained as far as was wanted for now.
    Paused(&'a Planned),
    /// Ended before its last epoch, with the reason.
    Stopped(&'a Planned, String),
    /// Time has passed; nothing new.
    Tick,
}

/// Runs the trials of a plan that have no result.
pub struct Schedule<'a> {
    pub trials: &'a [Planned],
    pub policy: Policy,
    pub interrupt: &'a Interrupt,
}

impl Schedule<'_> {
    /// Runs until every trial has ended; false when it was interrupted. With `stopping`, trials run
    /// from rung to rung, and the rule says at each which of them end there.
    ///
    /// # Errors
    /// A directory that cannot be written, or an executor that fails. Failing trials are no error.
    pub fn run(
        &self,
        stopping: Option<Stopping>,
        executor: &mut dyn Executor,
        mut report: impl FnMut(Event),
    ) -> Result<bool, ExperimentError> {
        let mut failed = HashSet::new();
        let epochs = self.trials.iter().map(|planned| planned.definition.experiment.train.epochs).max().unwrap_or(0);
        let rungs = stopping.map_or_else(Vec::new, |stopping| stopping.rungs(epochs));
        for planned in self.trials {
            planned.write()?;
        }
        for (stopping, &rung) in stopping.iter().flat_map(|stopping| rungs.iter().map(move |rung| (stopping, rung))) {
            if !self.stage(Some(rung), &mut failed, executor, &mut report)? {
                return Ok(false);
            }
            let curve = |(index, planned): (usize, &Planned)| -> Result<Option<Curve>, ExperimentError> {
                let epochs = history::read(&planned.folder.join("metrics.jsonl"))?;
                let accuracy = |epoch: &Epoch| epoch.val_accuracy.unwrap_or(epoch.accuracy);
                Ok((!failed.contains(&index)).then(|| epochs.iter().map(accuracy).collect()))
            };
            let curves = self.trials.iter().enumerate().map(curve).collect::<Result<Vec<_>, _>>()?;
            for (index, reason) in stopping.stopped(rung, &rungs, &curves) {
                let planned = &self.trials[index];
                if !self.is_done(planned, None)? {
                    Stopped { reason: reason.clone() }.write(&planned.folder)?;
                    report(Event::Stopped(planned, reason));
                }
            }
        }
        self.stage(None, &mut failed, executor, &mut report)
    }

    /// Whether a trial has its result, was stopped, or is as far as is wanted.
    fn is_done(&self, planned: &Planned, until: Option<u32>) -> Result<bool, ExperimentError> {
        let folder = &planned.folder;
        let reached = match until {
            Some(until) => history::read(&folder.join("metrics.jsonl"))?.len() >= until as usize,
            None => false,
        };
        Ok(reached || RunResult::read(folder)?.is_some() || Stopped::read(folder)?.is_some())
    }

    /// Runs every trial until an epoch, or to its end.
    fn stage(
        &self,
        until: Option<u32>,
        failed: &mut HashSet<usize>,
        executor: &mut dyn Executor,
        report: &mut impl FnMut(Event),
    ) -> Result<bool, ExperimentError> {
        let mut queue = VecDeque::new();
        for (index, planned) in self.trials.iter().enumerate() {
            if !failed.contains(&index) && !self.is_done(planned, until)? {
                queue.push_back((index, self.policy.retries));
            }
        }
        let mut running: Vec<(usize, u32)> = Vec::new();
        let mut announced = vec![false; self.trials.len()];
        let mut stop = false;
        loop {
            if self.interrupt.requested() {
                self.wind_down(executor, running.len())?;
                return Ok(false);
            }
            // One look at each waiting trial: those whose lock another process holds go to the back.
            for _ in 0..queue.len() {
                if stop || running.len() >= self.policy.jobs {
                    break;
                }
                let Some((index, retries)) = queue.pop_front() else { break };
                let planned = &self.trials[index];
                if let Some(result) = RunResult::read(&planned.folder)? {
                    report(Event::Finished(planned, result));
                } else if Lock::is_free(&planned.folder)? {
                    Until::set(&planned.folder, until)?;
                    executor.submit(&planned.folder)?;
                    running.push((index, retries));
                    report(Event::Started(planned));
                } else {
                    queue.push_back((index, retries));
                    if !std::mem::replace(&mut announced[index], true) {
                        report(Event::Waiting(planned));
                    }
                }
            }
            for Ended { folder, how } in executor.poll()? {
                let Some(at) = running.iter().position(|(index, _)| self.trials[*index].folder == folder) else {
                    continue;
                };
                let (index, retries) = running.swap_remove(at);
                let planned = &self.trials[index];
                if let Some(result) = RunResult::read(&folder)? {
                    report(Event::Finished(planned, result));
                    continue;
                }
                if self.is_done(planned, until)? {
                    report(Event::Paused(planned));
                    continue;
                }
                let failure = Failure::read(&folder)?;
                let hopeless = failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Nan);
                if retries > 0 && !hopeless && !self.interrupt.requested() {
                    queue.push_back((index, retries - 1));
                    continue;
                }
                let failure = failure.unwrap_or(Failure { kind: FailureKind::Error, reason: how });
                if !self.interrupt.requested() {
                    // Kept, so that the table can show it at any time.
                    failure.write(&folder)?;
                    failed.insert(index);
                    stop |= self.policy.fail_fast;
                    report(Event::Failed(planned, failure.reason));
                }
            }
            if running.is_empty() && (queue.is_empty() || stop) {
                return Ok(true);
            }
            report(Event::Tick);
            thread::sleep(PAUSE);
        }
    }

    /// A terminal's Ctrl-C reaches the trials too, and they save; what still runs after that is
    /// ended.
    fn wind_down(&self, executor: &mut dyn Executor, mut running: usize) -> Result<(), ExperimentError> {
        let mut left = GRACE;
        while running > 0 && !left.is_zero() {
            running = running.saturating_sub(executor.poll()?.len());
            thread::sleep(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
        executor.cancel();
        Ok(())
    }
}
