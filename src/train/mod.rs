//! The training loop, metrics, checkpoints.
