//! Backends: what runs a model's training step and its evaluation.
//!
//! `reference` runs the graph decomposed into luminal's primitives on luminal's own CPU compiler:
//! slow, and the oracle of every test. `cpu` and `cuda` are ours.

mod batch;
mod buffer;
#[cfg(test)]
mod complete;
pub mod cpu;
pub mod cuda;
mod devices;
mod engine;
mod error;
mod extents;
mod inspect;
mod kind;
mod lowerings;
#[cfg(feature = "luminal-cuda")]
pub mod luminal_cuda;
mod memory;
#[cfg(test)]
#[path = "../../tests/support/operators.rs"]
pub(crate) mod operators;
mod plan;
mod program_diagram;
pub mod reference;
mod resident;
mod store;
mod task;

pub use batch::{Batch, Step};
pub use buffer::Buffer;
pub use cuda::{Regions, SharedDevice, launch::Precision, memory_beside, shared_device};
pub use devices::{Device, DeviceLock, DeviceLocks, DeviceSelection, NoDevice, Placed, devices, hidden_devices};
pub use engine::{Engine, EngineOptions, StateTensor};
pub use error::BackendError;
pub use inspect::{Inspect, OperatorTime};
pub use kind::Backend;
pub(crate) use lowerings::Lowerings;
pub use memory::Workload;
pub use resident::{Drawing, ImageSet, Part, Resident};
pub use store::{AVERAGE, Entry, OPTIMIZER, Store};
pub(crate) use task::Task;
