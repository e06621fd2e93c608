//! What a scheduler knows of a trial. All of it is read from the trial's directory, to which other processes write as
//! well; what is kept here saves reading it again.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    experiment::{
        ExperimentError,
        sweep::{Metric, Standing},
    },
    trial::{Directory, Failure, FailureKind, RunResult, Until, history},
};

/// A trial as the scheduler sees it.
#[derive(Debug, Default)]
pub struct State {
    pub standing: Standing,
    /// By what it is compared.
    metric: Metric,
    /// This process has handed it over, and has not seen it end.
    pub running: bool,
    /// Of one that runs: the executor has it wait still.
    pub queued: bool,
    /// How far it was wanted when it was handed over, or told to go on.
    pub until: Option<u32>,
    /// It was asked to end, as another trial wants its place.
    pub asked: bool,
    /// It was said to have been stopped.
    pub stopped: bool,
    /// Its directory says that it was stopped.
    pub marked: bool,
    /// It was said that another process trains it.
    pub waiting: bool,
    /// Another process had it, or was faster: until then it is left alone.
    rests: Option<Instant>,
    /// What its directory says of its last failure.
    pub failure: Option<Failure>,
    /// What it said when it was last started.
    pub before: Option<Failure>,
    /// How often in a row it was killed before it had saved anything more.
    pub fruitless: u32,
    /// What it had saved when it was last started: epochs, and when its checkpoint was written.
    pub saved: Option<(usize, SystemTime)>,
    /// The length of its record at the last look, and when that was.
    length: Option<u64>,
    looked: Option<Instant>,
}

impl State {
    pub fn new(standing: Standing, metric: Metric) -> Self {
        Self { standing, metric, ..Self::default() }
    }

    /// Reads how far the trial has come, and whether it has failed more often than it may.
    pub fn look(&mut self, folder: &Path, retries: u32) -> Result<(), ExperimentError> {
        self.looked = Some(Instant::now());
        let length = fs::metadata(history::path(folder)).ok().map(|about| about.len());
        if length != self.length || length.is_none() {
            self.standing.curve = history::read(folder)?.iter().map(|epoch| self.metric.score(epoch)).collect();
            self.length = length;
        }
        let directory = Directory::new(folder);
        self.standing.finished = directory.has_result() && RunResult::read(folder)?.is_some();
        self.failure = if directory.has_failure() { Failure::read(folder)? } else { None };
        self.standing.failed = self.failure.as_ref().is_some_and(|failure| is_final(failure, retries));
        Ok(())
    }

    /// Keeps what it is before it is handed over, to tell what comes of that.
    pub fn remember(&mut self, folder: &Path) {
        self.saved = saved(folder, self.standing.curve.len());
        self.before = self.failure.clone();
    }

    /// It was handed over, to be trained so far.
    pub fn handed_over(&mut self, until: Option<u32>) {
        (self.running, self.asked, self.until) = (true, false, until);
    }

    /// Leaves it alone for a while: another process has it.
    pub fn rest(&mut self, time: Duration) {
        self.rests = Some(Instant::now() + time);
    }

    /// Whether it is left alone.
    pub fn rests(&self) -> bool {
        self.rests.is_some_and(|until| Instant::now() < until)
    }

    /// Whether it was looked at so recently.
    pub fn looked_within(&self, time: Duration) -> bool {
        self.looked.is_some_and(|looked| looked.elapsed() < time)
    }

    /// Whether nothing more comes of it.
    pub fn ended(&self) -> bool {
        self.standing.finished || self.standing.failed
    }

    /// Whether it has come as far as it was wanted: its process waits to be told more, or ends.
    pub fn lingers(&self) -> bool {
        self.running && !self.standing.finished && self.until.is_some_and(|until| self.has_reached(until))
    }

    pub fn has_reached(&self, epoch: u32) -> bool {
        self.standing.curve.len() >= epoch as usize
    }

    /// Whether it has come as far as its directory says that it is wanted.
    pub fn has_reached_wanted(&self, folder: &Path) -> Result<bool, ExperimentError> {
        Ok(Until::read(folder)?.is_some_and(|until| self.has_reached(until.epochs)))
    }
}

/// Whether a trial that has failed so is not tried again: NaN would come again, and any other failure may have gone.
pub fn is_final(failure: &Failure, retries: u32) -> bool {
    failure.kind == FailureKind::Nan || failure.attempts > retries
}

/// What a trial has saved: its epochs, and when its last checkpoint was written.
pub fn saved(folder: &Path, epochs: usize) -> Option<(usize, SystemTime)> {
    Some((epochs, Directory::new(folder).saved_at().ok()?))
}

/// The failure of a trial that could not write it itself: what its log says last.
pub fn silent(folder: &Path, how: &str) -> Failure {
    const LINES: usize = 200;
    let log = fs::read(Directory::new(folder).log()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().rev().take(LINES).map(str::trim).filter(|line| !line.is_empty()).collect();
    if let Some(line) = lines.iter().find(|line| line.starts_with("memory allocation of")) {
        return Failure::new(FailureKind::Memory, format!("out of memory: {line}"));
    }
    // A panic says where, then what, then how to learn more.
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let said = match panic.and_then(|at| Some((lines.get(at)?, lines.get(at.checked_sub(1)?)?))) {
        Some((place, message)) => Some(format!("{place} {message}")),
        None => lines.first().map(|line| (*line).to_owned()),
    };
    let reason = said.map_or_else(|| how.to_owned(), |said| format!("{how}; the end of log.txt: {said}"));
    Failure::new(FailureKind::Error, reason)
}
