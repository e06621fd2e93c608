use crate::{metrics::Means, trial::Epoch};

/// Who watches a training: the terminal, a test.
pub trait Observer {
    /// Before the first step, with one line that describes the run.
    fn start(&mut self, description: &str);

    /// After a step: how many of the epoch's `steps` are done, and the epoch's means so far.
    fn step(&mut self, done: usize, steps: usize, means: &Means);

    /// After an epoch of `epochs`.
    fn epoch(&mut self, epoch: &Epoch, epochs: u32);
}
