/// What can fail while a backend runs.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The loss or an activation is NaN or infinite; epoch and step count from 0, and from 1 in words.
    #[error("the loss is {loss} at epoch {}, step {}: first non-finite values in {operator}", epoch + 1, step + 1)]
    NonFinite {
        /// The mean loss of the batch.
        loss: f32,
        /// From 0.
        epoch: u32,
        /// Within the epoch, from 0.
        step: u32,
        /// The first in the program's order whose output is not finite.
        operator: String,
    },
    /// A tensor that an engine's state does not have, or has in another shape.
    #[error("state tensor `{name}`: {problem}")]
    State {
        /// As in [`StateTensor`](super::StateTensor).
        name: String,
        /// Words that follow the name.
        problem: String,
    },
    /// Memory that cannot be had.
    #[error("{0}")]
    Memory(String),
    /// A device that several trials share has failed, for all of them, or has no room for one beside the others: alone, each may do
    /// well.
    #[error("{0}")]
    Shared(String),
    /// What has no kind of its own: a network that cannot be compiled, a device that does not work.
    #[error("{0}")]
    Other(String),
}
