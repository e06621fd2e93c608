//! Where trials run. Adding an executor is its file, and a line of [`EXECUTORS`].
//!
//! | file | holds |
//! |---|---|
//! | `config.rs` | what an experiment says of it: its name, the resources of a job |
//! | `local.rs` | processes of this machine |
//! | `packed.rs`, `packed/` | processes of this machine that train several trials at once |
//! | `remote.rs` | jobs of a cluster's engine: handed over once, adopted, looked at politely |
//! | `engine.rs` | what there is to know of an engine |
//! | `worker.rs` | the thread that talks to it |
//! | `slurm.rs`, `ray.rs`, `command.rs` | the engines |

mod command;
mod config;
mod engine;
mod local;
mod packed;
mod ray;
mod remote;
mod slurm;
mod worker;

use std::{ffi::OsString, path::PathBuf};

pub(in crate::experiment) use self::config::{NameOrKeys, name_or_keys};
#[cfg(test)]
pub(crate) use self::packed::{Packed, Room, Scales};
pub use self::{
    config::{ExecutorConfig, ExecutorName, Memory, TimeLimit},
    local::Local,
    packed::PackSize,
};
use super::{Executor, Pool};
use crate::experiment::{ExperimentError, training::Options};

/// An executor, as a user knows it.
pub struct ExecutorEntry {
    /// What `--executor` and `sweep.executor` call it.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Which keys of [`ExecutorConfig`] mean something to it.
    pub takes: &'static [&'static str],
    /// Whether trials share this machine with the sweep.
    pub is_here: bool,
    /// Makes it.
    pub new: fn(ExecutorSetup) -> Result<Box<dyn Executor>, ExperimentError>,
}

/// Every executor. The first is the default.
pub const EXECUTORS: &[ExecutorEntry] = &[local::ENTRY, slurm::ENTRY, ray::ENTRY, command::ENTRY];

/// What an executor is made with.
pub struct ExecutorSetup {
    /// Which one, and the resources of a job.
    pub config: ExecutorConfig,
    /// Of the sweep, absolute.
    pub folder: PathBuf,
    /// Of `vitx trial`, before the directory: as the user gave them, or for processes of this machine as they were resolved.
    pub arguments: Vec<OsString>,
    /// Whether `--threads` is among them. Otherwise the executor says how many cores a job has.
    pub threads_given: bool,
    /// The devices of this machine that its trials share.
    pub pool: Option<Pool>,
    /// Of a trial that is timed on this machine.
    pub options: Options,
}

/// The executor of a name.
pub fn entry(name: &str) -> Option<&'static ExecutorEntry> {
    EXECUTORS.iter().find(|entry| entry.name == name)
}

/// Makes an executor.
///
/// # Errors
/// Resources that it does not take, or that it lacks.
pub fn executor(setup: ExecutorSetup) -> Result<Box<dyn Executor>, ExperimentError> {
    let entry = setup.config.entry();
    setup.config.check(entry)?;
    (entry.new)(setup)
}

/// What is wrong with an executor.
fn refused(message: String, help: Option<&str>) -> ExperimentError {
    ExperimentError::Executor { message, help: help.map(str::to_owned) }
}
