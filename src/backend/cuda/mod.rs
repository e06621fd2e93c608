//! The CUDA backend: a training graph becomes one [`Program`](program::Program), a static list of kernel
//! launches and matrix products over planned memory, captured once and run by one launch a step.

mod compile;
pub(crate) mod device;
pub mod driver;
#[cfg(test)]
pub(crate) mod emulated;
#[cfg(test)]
pub(crate) mod emulator;
mod engine;
mod faster;
pub(crate) mod forecast;
pub(crate) mod gemm;
mod images;
pub(crate) mod kernels;
pub(crate) mod launch;
mod layout;
mod lines;
mod listing;
mod merged;
mod metrics;
pub(super) mod ops;
mod pack;
mod peak;
pub(crate) mod program;
mod region;
#[cfg(all(test, target_os = "linux"))]
mod simulator;
mod state;
#[cfg(test)]
mod tests;

pub use driver::memory_beside;
pub use engine::CudaEngine;
pub use forecast::Forecast;
pub use listing::{CallListing, ProgramListing, listing};
pub use pack::{Launches, Pack, SharedDevice, shared_device};
pub use region::Regions;
