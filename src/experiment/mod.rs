//! Experiments: which model, which data, how it is trained; and trials, which train one.
//!
//! ```
//! use vitx::experiment::Experiment;
//!
//! let experiment = Experiment::parse("e.yaml", "
//! model: digits_vit.vitx
//! data: { name: digits }
//! train: { epochs: 3, batch_size: 32 }
//! ")?;
//! assert_eq!(experiment.train.epochs, 3);
//!
//! // Unknown keys are refused, with the nearest valid one.
//! let error = Experiment::parse("e.yaml", "{ model: m.vitx, data: { name: digits }, train: { epoch: 3 } }").unwrap_err();
//! assert!(error.to_string().contains("epoch"));
//! # Ok::<(), vitx::experiment::ExperimentError>(())
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`Experiment`] (`schema.rs`) | the keys of an experiment file |
//! | `read.rs`, `places.rs` | reading one, with diagnostics |
//! | [`Optimizer`] (`optimizer.rs`) | its key `train.optimizer` |
//! | [`Init`] (`init.rs`) | its key `init` |
//! | [`Values`] (`values.rs`) | what a file says of a swept key |
//! | `origins.rs` | where a model's parameters were set, for the model's diagnostics |
//! | [`overrides`] | `--set train.epochs=3` |
//! | [`Definition`] | an experiment with its model's text: what defines a trial |
//! | [`image_size`] | its key `train.image_size`, and the networks on smaller images |
//! | `identity.rs` | by what one is told from another |
//! | [`Setup`] | its data, architecture and input pipeline in memory |
//! | [`Scored`] | what trained weights are evaluated on |
//! | [`Classifier`] | pictures of files, classified by trained weights |
//! | [`Occlusion`] | which parts of a picture a class is told by |
//! | [`training`] | training a trial directory |
//! | [`export`] | a trained network as a file for other programs |
//! | [`extend`] | more epochs for a finished run |
//! | [`needs`] | how much memory a process will need |
//! | [`sweep`] | many trials: spaces, plans, executors |
//! | `repeated.rs` | its key `train.repeated_augmentation` |
//! | [`class_weights`] | its key `train.loss.class_weights` |
//! | [`accumulation`] | whether a training is long enough for an update |
//! | [`averages`] | whether a training is long enough for moving averages |
//! | [`unvalidated`] | what cannot be without validation images |
//! | [`json_schema`] | the schema of experiment files, for editors |
//! | [`begin`] | the files that `vitx new` writes |
//! | [`builtin`] | the experiments that the binary carries, and what a name stands for |

pub(crate) mod accumulation;
pub(crate) mod averages;
pub mod begin;
mod best_weights;
pub mod builtin;
pub mod class_weights;
mod classify;
mod definition;
mod ema;
mod error;
pub mod export;
pub mod extend;
mod foreign;
mod identity;
pub(crate) mod image_size;
pub mod init;
pub mod json_schema;
mod loss;
pub(crate) mod needs;
mod occlusion;
mod optimizer;
mod origins;
pub mod overrides;
mod places;
mod read;
mod repeated;
mod schedule;
mod schema;
mod scored;
mod setup;
mod stop;
pub mod sweep;
pub mod training;
pub(crate) mod unvalidated;
mod values;

pub use best_weights::best_weights;
pub use classify::{Classified, Classifier};
pub use definition::{Definition, Overrides};
pub use error::ExperimentError;
pub use init::Init;
pub use occlusion::Occlusion;
pub use optimizer::Optimizer;
pub use schema::{Data, Experiment, Stop, SweepConfig, Train};
pub use scored::Scored;
pub use setup::Setup;
pub use values::{OneOrMany, Values};
