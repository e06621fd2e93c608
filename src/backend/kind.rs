use std::fmt;

use super::{
    BackendError, Engine, EngineOptions,
    cpu::CpuEngine,
    cuda::{
        CudaEngine,
        driver::{Driver, library},
    },
    reference::ReferenceEngine,
};
use crate::{choice::Choice, passes::Lowering};

/// Which backend trains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// The fastest that this machine has: cuda, or else cpu
    #[default]
    Auto,
    /// The batch-tiled CPU backend
    Cpu,
    /// An NVIDIA device, by the driver, NVRTC and cuBLASLt of CUDA 12 or 13
    Cuda,
    /// luminal's own CPU compiler on the decomposed graph: slow, the oracle of the tests
    Reference,
    /// luminal's own CUDA compiler on the decomposed graph: a baseline
    #[cfg(feature = "luminal-cuda")]
    LuminalCuda,
}

impl Choice for Backend {
    const CHOICES: &[(Self, &str, &str)] = &[
        (Self::Auto, "auto", "The fastest that this machine has: cuda, or else cpu"),
        (Self::Cpu, "cpu", "The batch-tiled CPU backend"),
        (Self::Cuda, "cuda", "An NVIDIA device, by the driver, NVRTC and cuBLASLt of CUDA 12 or 13"),
        (
            Self::Reference,
            "reference",
            "luminal's own CPU compiler on the decomposed graph: slow, the oracle of the tests",
        ),
        #[cfg(feature = "luminal-cuda")]
        (Self::LuminalCuda, "luminal-cuda", "luminal's own CUDA compiler on the decomposed graph: a baseline"),
    ];
}

impl Backend {
    /// The backend that `auto` stands for on this machine, and when that is not a CUDA device, why.
    pub fn resolve(self) -> (Self, Option<String>) {
        match (self, library::available()) {
            (Self::Auto, Ok(())) => (Self::Cuda, None),
            (Self::Auto, Err(reason)) => (Self::Cpu, Some(reason)),
            (other, _) => (other, None),
        }
    }

    /// Compiles a network for this backend, on the first device.
    ///
    /// # Errors
    /// When the backend cannot start on this machine.
    pub fn engine(self, lowering: Box<Lowering>, options: EngineOptions) -> Result<Box<dyn Engine>, BackendError> {
        self.engine_on(lowering, options, 0)
    }

    /// As [`Backend::engine`], on one of the devices that the driver shows, counted from 0. Only `cuda` has devices.
    ///
    /// # Errors
    /// As [`Backend::engine`].
    pub fn engine_on(
        self,
        lowering: Box<Lowering>,
        options: EngineOptions,
        device: usize,
    ) -> Result<Box<dyn Engine>, BackendError> {
        Ok(match self {
            Self::Auto => return self.resolve().0.engine_on(lowering, options, device),
            Self::Cpu => Box::new(CpuEngine::new(lowering, options)?),
            Self::Cuda => Box::new(CudaEngine::new(lowering, options, Driver::new(device)?)?),
            Self::Reference => Box::new(ReferenceEngine::new(lowering, options)?),
            #[cfg(feature = "luminal-cuda")]
            Self::LuminalCuda => Box::new(super::luminal_cuda::engine(lowering, options)?),
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
