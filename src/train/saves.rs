use std::time::{Duration, Instant};

use crate::{
    backend::StateTensor,
    files::FileError,
    trial::{
        Directory,
        checkpoint::{self, Progress},
    },
};

/// The longest time whose steps a killed process can lose.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// The checkpoints of a training. The best weights may wait in memory, but not longer than until the last
/// checkpoint is written, which speaks of them.
pub struct Saves<'a> {
    directory: Directory<'a>,
    waiting: Option<(Progress, Vec<StateTensor>)>,
    saved: Instant,
}

impl<'a> Saves<'a> {
    pub fn new(directory: Directory<'a>) -> Self {
        Self { directory, waiting: None, saved: Instant::now() }
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
    pub fn keep_best(&mut self) -> Result<(), FileError> {
        if let Some((progress, weights)) = &self.waiting {
            checkpoint::save(&self.directory.best(), progress, weights)?;
            self.waiting = None;
        }
        Ok(())
    }

    /// Writes both checkpoints.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&mut self, progress: &Progress, state: &[StateTensor]) -> Result<(), FileError> {
        self.keep_best()?;
        checkpoint::save(&self.directory.last(), progress, state)?;
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
        let directory = Directory::new(folder.path());
        let (last, best) = (directory.last(), directory.best());
        let mut saves = Saves::new(directory);
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
