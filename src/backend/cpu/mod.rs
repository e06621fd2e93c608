//! The CPU backend: a training graph becomes one [`Program`], a static list of kernel calls over a
//! planned arena.
//!
//! Consecutive operators that treat every image alike form a *region*. A region runs depth-first:
//! a tile of images goes through all of its operators before the next tile starts, so activations
//! stay in a core's cache. Sums over the batch (weight gradients) are taken per *lane*, a fixed
//! share of the batch, and the lanes are added in order: the number of threads changes no bit. Updates of parameters
//! run beside the regions, on threads that would otherwise wait, as soon as their gradients are there.

mod compile;
mod crew;
mod engine;
mod kernel;
pub mod kernels;
mod listing;
pub(super) mod ops;
mod peak;
mod program;
mod run;
mod watch;

pub use compile::compile;
pub use engine::CpuEngine;
pub use listing::{ProgramListing, RegionListing, StepListing};
pub use peak::matmul_flops;
pub use program::Program;
