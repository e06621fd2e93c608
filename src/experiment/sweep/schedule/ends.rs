//! How trials end: stopped by a rule, by themselves, or by no will of theirs.

use super::{
    BUSY, Event, FRUITLESS, How, INTERRUPTED, Planned, REST, RunResult, Schedule, Stopped,
    state::{State, is_final, saved, silent},
};
use crate::{
    experiment::ExperimentError,
    trial::{
        Failure, FailureKind,
        events::{SessionEnd, end_session},
    },
};

impl Schedule<'_> {
    /// Says, once, that a trial ends before its last epoch.
    pub(super) fn stop(
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
                end_session(&planned.folder, SessionEnd::Stopped)?;
                report(Event::Stopped(planned, stopped.reason));
            }
        }
        Ok(())
    }

    /// Takes in how the process of a trial ended.
    pub(super) fn ended(
        &self,
        planned: &Planned,
        state: &mut State,
        how: How,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        let folder = &planned.folder;
        state.look(folder, self.policy.retries)?;
        if let Some(result) = RunResult::read(folder)? {
            report(Event::Finished(planned, result));
            return Ok(());
        }
        // What was there when it began is of an earlier attempt.
        let new = state.failure.clone().filter(|failure| Some(failure) != state.before.as_ref());
        let asked = std::mem::take(&mut state.asked);
        let failure = match (new, how) {
            (Some(failure), _) => failure,
            (None, How::Exited(0 | INTERRUPTED) | How::Killed(_)) if asked => {
                return self.paused(planned, state, report);
            }
            (None, How::Exited(0))
                if state.saved != saved(folder, state.standing.curve.len()) || state.has_reached_wanted(folder)? =>
            {
                return self.paused(planned, state, report);
            }
            // Another worker, or the process of a sweep that was killed, was a moment faster.
            (None, How::Exited(code)) if code == i32::from(BUSY) => {
                state.rest(REST);
                return Ok(());
            }
            (None, How::Killed(how)) => return self.killed(planned, state, how, report),
            (None, How::Exited(INTERRUPTED)) => {
                return self.killed(planned, state, "it was asked to end".into(), report);
            }
            (None, How::Exited(code)) => silent(folder, &format!("it ended with exit code {code}")),
            (None, How::Crashed(how)) => silent(folder, &how),
        };
        self.failed(planned, state, failure, report)
    }

    /// A trial has come as far as was wanted, or has made room for another.
    fn paused(
        &self,
        planned: &Planned,
        state: &mut State,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        state.fruitless = 0;
        if !state.stopped {
            report(Event::Paused(planned));
        }
        Ok(())
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
        self.failed(planned, state, Failure::new(FailureKind::Killed, reason), report)
    }

    fn failed(
        &self,
        planned: &Planned,
        state: &mut State,
        mut failure: Failure,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        let before = state.before.as_ref().map_or(0, |failure| failure.attempts);
        failure.attempts = failure.attempts.max(before + 1);
        state.standing.failed = is_final(&failure, self.policy.retries);
        // Shown first: where the disk is full, it cannot be kept.
        match state.standing.failed {
            true => report(Event::Failed(planned, failure.reason.clone())),
            false => {
                let Failure { reason, attempts, .. } = &failure;
                report(Event::Again(planned, format!("{reason} (retry {attempts} of {})", self.policy.retries)));
            }
        }
        // Kept, so that the table can show it at any time, and others count it.
        failure.write(&planned.folder)?;
        state.failure = Some(failure);
        Ok(())
    }
}
