//! Places of trials that run: who goes on in his, and who makes room.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Decision, Ended, Event, Executor, Lock, PAUSE, Planned, REST, Schedule, Until, state::State};
use crate::experiment::ExperimentError;

/// How long a sweep that has failed waits for an end of any of its trials.
const LONGEST: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 300 });

impl Schedule<'_> {
    /// Tells a trial that waits in its process how far it is wanted now.
    pub(super) fn go_on(
        &self,
        planned: &Planned,
        state: &mut State,
        until: Option<u32>,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        // One that was asked to end is started again.
        if !state.asked && until.is_none_or(|until| !state.has_reached(until)) {
            Until::set(&planned.folder, until)?;
            state.until = until;
            report(Event::GoesOn(planned));
        }
        Ok(())
    }

    /// Asks a trial that only waits for others to end, where another one could begin in its place.
    pub(super) fn make_room(
        &self,
        states: &mut [State],
        decisions: &[Decision],
        wanting: usize,
        executor: &mut dyn Executor,
    ) -> Result<(), ExperimentError> {
        if states.iter().any(|state| state.running && state.asked) {
            return Ok(());
        }
        let waits = |index: &usize| states[*index].lingers() && decisions[*index] == Decision::Wait;
        let Some(index) = (0..states.len()).rev().find(waits) else { return Ok(()) };
        if !Lock::is_free(&self.trials[wanting].folder)? {
            states[wanting].rest(REST);
            return Ok(());
        }
        states[index].asked = true;
        executor.cancel(&self.trials[index].folder)
    }

    /// Has all that runs save and end. An error that led to it is told first: the end may be long in coming. Where there was
    /// one, trials of which none ends for too long are left, and named.
    pub(super) fn wind_down(
        &self,
        states: &mut [State],
        executor: &mut dyn Executor,
        error: Option<&ExperimentError>,
        report: &mut impl FnMut(Event),
    ) -> Result<(), ExperimentError> {
        if let Some(error) = error.filter(|_| states.iter().any(|state| state.running)) {
            report(Event::Note(&format!("trials are asked to save and end, as the sweep cannot go on: {error}")));
        }
        let mut done = Ok(());
        for (planned, _) in self.trials.iter().zip(states.iter()).filter(|(_, state)| state.running) {
            // One that cannot be asked is no reason not to ask the others.
            let cancelled = executor.cancel(&planned.folder);
            done = done.and(cancelled);
        }
        let mut last = Instant::now();
        while states.iter().any(|state| state.running) {
            let ended = match executor.poll() {
                Ok(ended) => ended,
                Err(error) => return done.and(Err(error)),
            };
            for Ended { folder, .. } in ended {
                for (_, state) in self.trials.iter().zip(states.iter_mut()).filter(|(p, _)| p.folder == folder) {
                    state.running = false;
                }
                last = Instant::now();
            }
            executor.notes().iter().for_each(|note| report(Event::Note(note)));
            if error.is_some() && last.elapsed() >= LONGEST {
                let left = self.trials.iter().zip(states.iter()).filter(|(_, state)| state.running);
                let left: Vec<String> = left.map(|(planned, _)| planned.folder.display().to_string()).collect();
                report(Event::Note(&format!(
                    "no trial has ended for {} s although they were asked to; they are left as they are: {}",
                    LONGEST.as_secs(),
                    left.join(", ")
                )));
                break;
            }
            thread::sleep(PAUSE);
        }
        done
    }

    /// Asks trials that wait at a rung to end: time is up, and none goes on.
    pub(super) fn end_lingering(
        &self,
        states: &mut [State],
        executor: &mut dyn Executor,
    ) -> Result<(), ExperimentError> {
        let waits = |state: &State| state.lingers() && !state.asked;
        for (planned, state) in self.trials.iter().zip(states).filter(|(_, state)| waits(state)) {
            state.asked = true;
            executor.cancel(&planned.folder)?;
        }
        Ok(())
    }
}

/// Tells whether a trial that was handed over has begun or is queued, and where.
pub(super) fn tell_place(
    planned: &Planned,
    state: &mut State,
    executor: &dyn Executor,
    report: &mut impl FnMut(Event),
) {
    state.queued = executor.is_queued(&planned.folder);
    let place = executor.place(&planned.folder);
    report(match state.queued {
        true => Event::Queued(planned, place),
        false => Event::Started(planned, place),
    });
}
