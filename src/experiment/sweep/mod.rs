//! Sweeps: many trials of one experiment.
//!
//! | file | holds |
//! |---|---|
//! | `axis.rs` | the values of one swept key |
//! | `space.rs` | all variants |
//! | `plan.rs` | every variant checked and costed before the first step |
//! | `executor.rs`, `local.rs` | where trials run |
//! | `schedule.rs` | which trial runs next |
//!
//! All state is in the trials' directories: running a sweep again resumes what is unfinished.

mod axis;
mod executor;
mod local;
mod plan;
mod schedule;
mod space;

pub use axis::Axis;
pub use executor::{Ended, Executor};
pub use local::Local;
pub use plan::{Cost, Plan, Planned};
pub use schedule::{Event, Policy, Schedule};
pub use space::{Space, Variant};
