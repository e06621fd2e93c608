/// What can fail while a backend runs.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The loss or an activation is NaN or infinite; epoch and step count from 0, and from 1 in words.
    #[error("the loss is {loss} at epoch {}, step {}: first non-finite values in {operator}", epoch + 1, step + 1)]
    NonFinite { loss: f32, epoch: u32, step: u32, operator: String },
    #[error("state tensor `{name}`: {problem}")]
    State { name: String, problem: String },
    /// Memory that cannot be had.
    #[error("{0}")]
    Memory(String),
    #[error("{0}")]
    Other(String),
}
