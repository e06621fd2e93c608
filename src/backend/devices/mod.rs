//! The CUDA devices that this process sees, which of them it is told to use, and who has taken them.

mod lock;
mod selection;

pub use lock::{DeviceLock, DeviceLocks};
pub use selection::{DeviceSelection, NoDevice};

use super::cuda::driver::library;

/// A device as the driver shows it. `CUDA_VISIBLE_DEVICES` has chosen and ordered what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// From 0, among those that are shown.
    pub ordinal: usize,
    /// What it is: `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// `GPU-...`, as nvidia-smi writes it; the same in every process of the machine.
    pub uuid: String,
    /// Major and minor.
    pub compute_capability: (i32, i32),
    /// All of its memory.
    pub bytes: u64,
}

impl Device {
    /// Compute capability 8 is the first with bfloat16.
    pub fn is_usable(&self) -> bool {
        self.compute_capability.0 >= library::OLDEST_DEVICE
    }

    /// `device 3: NVIDIA H100 80GB HBM3 (GPU-...)`
    pub fn described(&self) -> String {
        format!("device {}: {} ({})", self.ordinal, self.name, self.uuid)
    }
}

/// The device that a process computes on. It is held against other processes for as long as this lives.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Which one.
    pub device: Device,
    /// Absent where another process of this program has it, too.
    pub lock: Option<std::sync::Arc<DeviceLock>>,
}

/// What is to be said where `CUDA_VISIBLE_DEVICES` names more devices than the driver shows.
pub fn hidden_devices() -> Option<String> {
    library::hidden()
}

/// All devices that the driver shows.
///
/// # Errors
/// Why there are none, in one line.
pub fn devices() -> Result<Vec<Device>, String> {
    library::devices()
}
