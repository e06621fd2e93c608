//! The directory of a trial: the names of its files, what stands in them, who may write to them, and what counts of
//! them. Nobody else knows a file of it by name.
//!
//! | file | holds | here |
//! |---|---|---|
//! | `config.yaml`, `model.vitx` | the definition | [`CONFIG`], [`MODEL`] |
//! | `model.json`, `model.txt` | the checked network, for programs and for people | [`Network`], [`Directory::model_text`] |
//! | `variant.json`, `prediction.json` | what its sweep changed, and expects | [`variant`], [`Prediction`] |
//! | `input.json` | what a picture needs to be classified, and with which data it began | [`Input`] |
//! | `metrics.jsonl`, `tensorboard/` | one record per epoch | [`history`], [`events`] |
//! | `last.safetensors`, `best.safetensors` | checkpoints | [`checkpoint`] |
//! | `history.csv`, `loss.svg`, `loss.png`, ... | the curves, drawn at the end | [`Directory::curve`] |
//! | `result.json` or `failure.json` | how it ended | [`RunResult`], [`Failure`] |
//! | `test_classes.json` | how well each class of the test images was recognised | [`TestClasses`] |
//! | `until.json`, `stopped.json` | how far its sweep wants it trained, and why no further | [`Until`], [`Stopped`] |
//! | `job.json` | the job of a cluster that trains it | [`Job`] |
//! | `log.txt` | what its process printed | [`Directory::log`] |
//! | `mlflow.json` | which run of an MLflow server it is, and what that has | [`Tracked`] |
//! | `lock`, `lock.json` | held by the process that trains; who it is, on file systems of many machines | [`Lock`] |
//!
//! A sweep's directory has a [`Lock`] as well.

pub mod checkpoint;
mod classes;
mod directory;
mod error;
pub mod events;
pub mod history;
mod hparams;
mod input;
mod job;
mod lock;
mod names;
mod network;
mod prediction;
mod result;
mod tracked;
pub mod variant;

pub use classes::{TestClass, TestClasses};
pub use directory::Directory;
pub use error::TrialError;
pub use history::Epoch;
pub use input::{Input, class_changes};
pub use job::Job;
pub use lock::Lock;
pub use names::{CONFIG, MODEL};
pub use network::{Network, NetworkLayer};
pub use prediction::Prediction;
pub use result::{Failure, FailureKind, RunResult, Stopped, Until};
pub use tracked::Tracked;
pub use variant::Variant;
