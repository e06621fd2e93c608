use std::fmt;

use super::{BackendError, Engine, EngineOptions, cpu::CpuEngine, reference::ReferenceEngine};
use crate::passes::Lowering;

/// Which backend trains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// The fastest that this machine has
    #[default]
    Auto,
    /// The batch-tiled CPU backend
    Cpu,
    /// luminal's own CPU compiler on the decomposed graph: slow, the oracle of the tests
    Reference,
}

impl Backend {
    /// Compiles a network for this backend.
    ///
    /// # Errors
    /// When the backend cannot start on this machine.
    pub fn engine(self, lowering: Box<Lowering>, options: EngineOptions) -> Result<Box<dyn Engine>, BackendError> {
        Ok(match self {
            Self::Auto | Self::Cpu => Box::new(CpuEngine::new(lowering, options)?),
            Self::Reference => Box::new(ReferenceEngine::new(lowering, options)?),
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Reference => "reference",
        })
    }
}
