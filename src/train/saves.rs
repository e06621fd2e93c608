use std::time::{Duration, Instant};

use super::FitError;
use crate::{
    backend::{BackendError, Engine, StateTensor},
    trial::{
        Directory,
        checkpoint::{self, Progress},
    },
};

/// The longest time whose steps a killed process can lose.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// The checkpoints of a training. The best weights may wait in memory, but not longer than until the last
/// checkpoint is written, which speaks of them: what a killed process loses of them is trained again.
pub struct Saves<'a> {
    directory: Directory<'a>,
    waiting: Option<Best>,
    saved: Instant,
}

/// The best weights, not written yet.
struct Best {
    progress: Progress,
    /// `None` where the engine itself keeps them.
    weights: Option<Vec<StateTensor>>,
}

impl<'a> Saves<'a> {
    pub fn new(directory: Directory<'a>) -> Self {
        Self { directory, waiting: None, saved: Instant::now() }
    }

    /// The weights that the engine has now are the best so far. On a device they may stay there until they are saved,
    /// if they are `to_wait`: many better ones may come until then.
    ///
    /// # Errors
    /// As the engine's.
    pub fn set_best(&mut self, progress: Progress, engine: &mut dyn Engine, to_wait: bool) -> Result<(), BackendError> {
        let stay = match engine.resident() {
            Some(engine) if to_wait => engine.keep_weights()?,
            _ => false,
        };
        let weights = if stay { None } else { Some(engine.weights()?) };
        self.waiting = Some(Best { progress, weights });
        Ok(())
    }

    /// Whether so much has been done since the last checkpoint that it should be saved.
    pub fn due(&self) -> bool {
        self.saved.elapsed() >= SAVE_EVERY
    }

    /// Writes the best weights, if they are not written yet.
    ///
    /// # Errors
    /// A file that cannot be written, or a device that does not give them.
    pub fn keep_best(&mut self, engine: &mut dyn Engine) -> Result<(), FitError> {
        let Some(Best { progress, weights }) = &self.waiting else { return Ok(()) };
        let path = self.directory.best();
        match (weights, engine.resident()) {
            (Some(weights), _) => checkpoint::save(&path, progress, weights)?,
            (None, Some(engine)) => checkpoint::save(&path, progress, &engine.kept_weights()?)?,
            (None, None) => return Err(BackendError::Other("the engine has lost the best weights".into()).into()),
        }
        self.waiting = None;
        Ok(())
    }

    /// Writes both checkpoints.
    ///
    /// # Errors
    /// As [`Saves::keep_best`].
    pub fn save(&mut self, progress: &Progress, engine: &mut dyn Engine) -> Result<(), FitError> {
        self.keep_best(engine)?;
        checkpoint::save(&self.directory.last(), progress, &engine.state()?)?;
        self.saved = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Batch, Inspect, Resident, Step};

    /// An engine of one weight and one moment.
    struct One(f32);

    fn tensor(name: &str, value: f32) -> StateTensor {
        StateTensor { name: name.into(), shape: vec![1], data: vec![value] }
    }

    impl Engine for One {
        fn train_step(&mut self, _: &Batch, _: &Step) -> Result<f32, BackendError> {
            unreachable!("nothing is trained")
        }

        fn evaluate(&mut self, _: &Batch) -> Result<f32, BackendError> {
            unreachable!("nothing is evaluated")
        }

        fn logits(&self) -> &[f32] {
            &[]
        }

        fn tensors(&self) -> Vec<(String, Vec<usize>)> {
            vec![("w".into(), vec![1]), ("optimizer/m/w".into(), vec![1])]
        }

        fn state(&self) -> Result<Vec<StateTensor>, BackendError> {
            Ok(vec![tensor("w", self.0), tensor("optimizer/m/w", -self.0)])
        }

        fn weights(&self) -> Result<Vec<StateTensor>, BackendError> {
            Ok(vec![tensor("w", self.0)])
        }

        fn load_state(&mut self, _: &[StateTensor]) -> Result<(), BackendError> {
            unreachable!("nothing is loaded")
        }

        fn add_size(&mut self, _: Box<crate::passes::Lowering>) -> Result<(), BackendError> {
            unreachable!("there are no images")
        }

        fn resident(&mut self) -> Option<&mut dyn Resident> {
            None
        }

        fn inspect(&mut self) -> &mut dyn Inspect {
            unreachable!("nobody looks")
        }
    }

    #[test]
    fn the_best_weights_are_written_before_the_checkpoint_that_speaks_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::new(folder.path());
        let (last, best) = (directory.last(), directory.best());
        let mut saves = Saves::new(directory);
        let at = |epoch| Progress { epoch, ..Progress::default() };
        saves.set_best(at(1), &mut One(1.0), true).unwrap();
        saves.set_best(at(2), &mut One(2.0), true).unwrap();
        assert!(!best.exists() && !saves.due());
        saves.save(&at(3), &mut One(3.0)).unwrap();
        assert_eq!(checkpoint::load(&best).unwrap(), (at(2), vec![tensor("w", 2.0)]));
        assert_eq!(checkpoint::load(&last).unwrap().1, [tensor("optimizer/m/w", -3.0), tensor("w", 3.0)]);
        std::fs::remove_file(&best).unwrap();
        saves.keep_best(&mut One(4.0)).unwrap();
        assert!(!best.exists(), "written once");
    }
}
