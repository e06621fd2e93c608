//! Sweeps: many trials of one experiment.
//!
//! | file | holds |
//! |---|---|
//! | `axis.rs` | the values of one swept key |
//! | `space.rs` | all that may be tried: axes that are crossed or zipped, conditions, seeds |
//! | `search.rs`, `tpe.rs` | what is tried: grid, random, Sobol, TPE |
//! | `stopping.rs` | what is ended early: halving, Hyperband, median |
//! | `plan.rs` | every variant checked and costed before the first step |
//! | `prediction.rs` | what a variant is expected to take |
//! | `executor.rs`, `local.rs` | where trials run |
//! | `schedule.rs` | which trial runs next |
//!
//! All state is in the trials' directories: running a sweep again resumes what is unfinished.

mod axis;
mod executor;
mod local;
mod plan;
mod prediction;
mod schedule;
mod search;
mod space;
mod stopping;
mod tpe;

pub use axis::{Axis, Domain, Scale};
pub use executor::{Ended, Executor};
pub use local::Local;
pub use plan::{Cost, Plan, Planned};
pub use prediction::Prediction;
pub use schedule::{Event, Policy, Schedule};
pub use search::{Search, Strategy};
pub use space::{Condition, Space, SpaceArguments, Variant};
pub use stopping::{Curve, Rule, Stopping};
