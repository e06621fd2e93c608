//! Sweeps: many trials of one experiment.
//!
//! | file | holds |
//! |---|---|
//! | `axis.rs`, `numbers.rs`, `words.rs` | the values of one swept key, and how they are written |
//! | `space.rs`, `conditions.rs` | all that may be tried: axes that are crossed or zipped, conditions, seeds |
//! | `search.rs`, `tpe.rs` | what is tried: grid, random, Sobol, TPE |
//! | `stopping.rs` | what is ended early: halving, Hyperband, median |
//! | `keys.rs` | whether what is varied is there at all |
//! | `plan.rs` | every variant checked and costed before the first step |
//! | `calibration.rs` | what a variant is expected to take |
//! | `executor.rs`, `local.rs` | where trials run |
//! | `schedule.rs` | which trial runs next |
//! | `run.rs` | all of it together |
//! | `directory.rs` | what a sweep's directory remembers |
//!
//! All state is in the trials' directories: running a sweep again resumes what is unfinished.

mod axis;
mod calibration;
mod conditions;
mod directory;
mod executor;
mod keys;
mod local;
mod numbers;
mod plan;
mod run;
mod schedule;
mod search;
mod space;
mod stopping;
mod tpe;
mod words;

pub use axis::{Axis, Domain, Scale};
pub use conditions::Condition;
pub use directory::{Trials, is_sweep};
pub use executor::{Executor, How};
pub use local::Local;
pub use plan::{Plan, Planned, Planning};
pub use run::{Given, Running, Sweep, Watch};
pub use schedule::{Event, Policy, Schedule};
pub use search::{Search, Strategy};
pub use space::{Space, SpaceArguments};
pub use stopping::{Decision, Rule, Standing, Stopping};
pub use words::split;
