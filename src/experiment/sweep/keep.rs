//! Which weights a sweep keeps: `--keep-best 3`. Of a trial whose weights are gone, all else stays.

use std::collections::{HashMap, HashSet};

use super::{Metric, Planned};
use crate::{
    experiment::ExperimentError,
    trial::{Directory, RunResult, Stopped, history},
};

/// Removes weights that are no longer among the best.
///
/// A trial that has its result is never begun again, and what is better than it stays better. So its weights can go as soon as there
/// are enough better trials, in whatever order they finish: what is left at the end is the same.
#[derive(Debug)]
pub struct Keeper {
    count: usize,
    metric: Metric,
    /// By the place of a trial: the score of those that have finished.
    scores: HashMap<usize, f64>,
    /// The places of trials whose weights are gone.
    gone: HashSet<usize>,
}

impl Keeper {
    /// Keeps the weights of so many trials.
    pub fn new(count: usize, metric: Metric) -> Self {
        Self { count, metric, scores: HashMap::new(), gone: HashSet::new() }
    }

    /// Looks which trials have finished, and removes the weights of all but the best. Once every trial has `ended`, those of trials
    /// that were stopped can no more be needed either.
    ///
    /// # Errors
    /// A file that cannot be read or removed.
    pub fn look(&mut self, trials: &[Planned], ended: bool) -> Result<(), ExperimentError> {
        for (place, planned) in trials.iter().enumerate() {
            let known = self.scores.contains_key(&place) || !Directory::new(&planned.folder).has_result();
            if known || RunResult::read(&planned.folder)?.is_none() || Stopped::read(&planned.folder)?.is_some() {
                continue;
            }
            if let Some(score) = self.metric.best(&history::read_counted(&planned.folder)?) {
                self.scores.insert(place, score);
            }
        }
        let mut ranked: Vec<(usize, f64)> = self.scores.iter().map(|(place, score)| (*place, *score)).collect();
        // Of equals the first.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut removed: Vec<usize> = ranked.iter().skip(self.count).map(|(place, _)| *place).collect();
        if ended {
            for (place, planned) in trials.iter().enumerate() {
                if Stopped::read(&planned.folder)?.is_some() {
                    removed.push(place);
                }
            }
        }
        for place in removed {
            if self.gone.insert(place) {
                Directory::new(&trials[place].folder).remove_weights()?;
            }
        }
        Ok(())
    }
}
