//! Sweeps: many trials of one experiment.
//!
//! | file | holds |
//! |---|---|
//! | `axis.rs`, `numbers.rs`, `words.rs` | the values of one swept key, and how they are written |
//! | `space.rs`, `conditions.rs` | all that may be tried: axes that are crossed or zipped, conditions, seeds |
//! | `constraints.rs` | what every variant must meet |
//! | `strategy.rs`, `search.rs` | what is tried: grid, random, Sobol, TPE |
//! | `tpe.rs`, `joint.rs` | the densities that TPE goes by: of each key alone, over all of them |
//! | `stopping.rs` | what is ended early: halving, Hyperband, median |
//! | `points.rs` | points that are given by hand |
//! | `keys.rs` | whether what is varied is there at all |
//! | `plan.rs` | every variant checked and costed before the first step |
//! | `calibration.rs` | what a variant is expected to take |
//! | `executor.rs`, `executors/`, `pool.rs` | where trials run, and on which devices |
//! | `former.rs` | what another sweep has trained already |
//! | `metric.rs`, `keep.rs` | by what trials are compared, and whose weights are kept |
//! | `about.rs` | tags and notes |
//! | `schedule.rs` | which trial runs next |
//! | `rounds.rs` | how wide a round is, and where the sweep that has it lies |
//! | `given.rs` | all that defines a sweep |
//! | `run.rs` | all of it together |
//! | `directory.rs` | what a sweep's directory remembers |
//! | `together.rs` | how several processes work on one sweep |
//!
//! All state is in the trials' directories: running a sweep again resumes what is unfinished.

mod about;
mod axis;
mod calibration;
mod conditions;
mod constraints;
mod directory;
mod executor;
pub mod executors;
mod former;
mod given;
mod joint;
mod keep;
mod keys;
mod metric;
mod numbers;
mod plan;
mod points;
mod pool;
mod rounds;
mod run;
mod schedule;
mod search;
mod space;
mod stopping;
mod strategy;
mod together;
mod tpe;
mod words;

pub use about::About;
pub use axis::{Axis, Domain, Scale};
pub use conditions::Condition;
pub use directory::{Trials, is_sweep, recorded};
pub use executor::{Executor, How};
pub use executors::ExecutorConfig;
pub use former::Former;
pub use given::{Given, Sweep};
pub use metric::Metric;
pub use plan::{Plan, Planned, Planning};
pub use pool::Pool;
pub use run::{Running, Watch};
pub use schedule::{End, Event, Policy, Schedule};
pub use search::{Search, Verdict};
pub use space::{SEED, Space, SpaceArguments};
pub use stopping::{Decision, Rule, Standing, Stopping};
pub use strategy::{MOST_ROUND, SearchSettings, Strategy};
pub use together::Agreed;
pub use words::split;
