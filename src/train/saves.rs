use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    TrainError,
    checkpoint::{self, Progress},
};
use crate::backend::StateTensor;

/// The longest time whose steps a killed process can lose.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// The checkpoints of a training. The best weights may wait in memory, but not longer than until the last
/// checkpoint is written, which speaks of them.
pub struct Saves {
    last: PathBuf,
    best: PathBuf,
    waiting: Option<(Progress, Vec<StateTensor>)>,
    saved: Instant,
}

impl Saves {
    pub fn new(last: PathBuf, best: PathBuf) -> Self {
        Self { last, best, waiting: None, saved: Instant::now() }
    }

    /// The best weights so far.
    pub fn set_best(&mut self, progress: Progress, weights: Vec<StateTensor>) {
        self.waiting = Some((progress, weights));
    }

    /// Whether so much has been done since the last checkpoint that it should be saved.
    pub fn due(&self) -> bool {
        self.saved.elapsed() >= SAVE_EVERY
    }

    /// Writes the best weights, if they are not written yet.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn keep_best(&mut self) -> Result<(), TrainError> {
        if let Some((progress, weights)) = &self.waiting {
            checkpoint::save(&self.best, progress, weights)?;
            self.waiting = None;
        }
        Ok(())
    }

    /// Writes both checkpoints.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&mut self, progress: &Progress, state: &[StateTensor]) -> Result<(), TrainError> {
        self.keep_best()?;
        checkpoint::save(&self.last, progress, state)?;
        self.saved = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_weights_are_written_before_the_checkpoint_that_speaks_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let (last, best) = (folder.path().join("last"), folder.path().join("best"));
        let mut saves = Saves::new(last.clone(), best.clone());
        let tensor = |value| vec![StateTensor { name: "w".into(), shape: vec![1], data: vec![value] }];
        saves.set_best(Progress { epoch: 1, ..Progress::default() }, tensor(1.0));
        saves.set_best(Progress { epoch: 2, ..Progress::default() }, tensor(2.0));
        assert!(!best.exists() && !saves.due());
        saves.save(&Progress { epoch: 3, ..Progress::default() }, &tensor(3.0)).unwrap();
        assert_eq!(checkpoint::load(&best).unwrap().1, tensor(2.0));
        assert_eq!(checkpoint::load(&last).unwrap().1, tensor(3.0));
        std::fs::remove_file(&best).unwrap();
        saves.keep_best().unwrap();
        assert!(!best.exists(), "written once");
    }
}
