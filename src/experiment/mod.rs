//! Experiments: which model, which data, how it is trained; and trials, which train one.
//!
//! | file | holds |
//! |---|---|
//! | [`Experiment`] (`schema.rs`) | the keys of an experiment file |
//! | `read.rs`, `places.rs` | reading one, with diagnostics |
//! | `origins.rs` | where a model's parameters were set, for the model's diagnostics |
//! | [`overrides`] | `--set train.epochs=3` |
//! | [`Definition`] | an experiment with its model's text: what defines a trial |
//! | [`Setup`] | its data, architecture and input pipeline in memory |
//! | [`trial`] | training a trial directory |
//! | [`sweep`] | many trials: spaces, plans, executors |
//! | `builtin.rs` | the experiments that the binary carries |

mod builtin;
mod definition;
mod error;
mod origins;
pub mod overrides;
mod places;
mod read;
mod schema;
mod setup;
pub mod sweep;
pub mod trial;

pub use definition::{Definition, Overrides};
pub use error::ExperimentError;
pub use schema::{Data, Experiment, OneOrMany, Optimizer, Stop, Sweep, Train, Values};
pub use setup::Setup;
