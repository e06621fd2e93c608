use std::time::Duration;

use super::{BackendError, Batch, Engine, StateTensor, Step};

/// Time spent in one operator, summed over the steps since profiling began and over threads.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorTime {
    /// As the listing of the program calls it.
    pub operator: String,
    /// How often it was called.
    pub calls: u64,
    /// Of all calls, added over threads.
    pub time: Duration,
    /// Of all calls; only matrix products count, a multiply-add as two.
    pub flops: u64,
}

/// What benchmarks and tests want of an engine, and training does not.
pub trait Inspect: Engine {
    /// The gradients of one batch by parameter name, without an update and without dropout. For
    /// tests.
    ///
    /// # Errors
    /// As [`Engine::train_step`].
    fn gradients(&mut self, batch: &Batch) -> Result<Vec<StateTensor>, BackendError>;

    /// Does the last step or evaluation again, on the same batch, and waits until it is done: what a benchmark
    /// times. An engine that has the batch where it computes need not take it again.
    ///
    /// # Errors
    /// As [`Engine::train_step`].
    fn repeat(&mut self, batch: &Batch, step: &Step, train: bool) -> Result<(), BackendError> {
        if train { self.train_step(batch, step) } else { self.evaluate(batch) }.map(|_| ())
    }

    /// The speed of large matrix products where it computes, in operations a second; `None` for this process'
    /// threads.
    ///
    /// # Errors
    /// When a device does not work.
    fn matmul_peak(&mut self) -> Result<Option<f64>, BackendError>;

    /// Memory that it holds on a device; `None` if it does not compute on one.
    fn device_bytes(&self) -> Option<u64>;

    /// Starts (and clears) timing by operator. False from an engine that cannot tell its operators apart.
    fn start_profile(&mut self) -> bool;

    /// Times since [`Inspect::start_profile`], longest first.
    fn profile(&self) -> Vec<OperatorTime>;
}
