//! What the programs of a backend will take of this machine's memory, told before any is made.

use super::{Backend, BackendError, EngineOptions, cpu};
use crate::passes::{Lowering, Purpose};

/// What a network is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Whether the program of a training step is there.
    pub trains: bool,
    /// Whether the program of an evaluation is there.
    pub evaluates: bool,
    /// Images at a time.
    pub batch: usize,
}

impl Backend {
    /// Whether this machine's memory is what limits an engine. A device has its own, and what its libraries take of
    /// this machine's is theirs to say.
    pub fn computes_on_host(self) -> bool {
        match self.resolve().0 {
            Self::Auto | Self::Cpu | Self::Reference => true,
            Self::Cuda => false,
            #[cfg(feature = "luminal-cuda")]
            Self::LuminalCuda => false,
        }
    }

    /// Float32 values of the programs' memory, which take turns in it; parameters and the optimizer's state are not
    /// counted. The programs are compiled to know.
    ///
    /// # Errors
    /// A network that cannot be compiled.
    pub fn program_floats(
        self,
        lowering: &Lowering,
        options: &EngineOptions,
        workload: Workload,
    ) -> Result<usize, BackendError> {
        let Workload { trains, evaluates, batch } = workload;
        let (mut arena, mut worker) = (0, 0);
        let train = Purpose::Train(options.optimizer.clone(), options.loss.clone());
        for (purpose, wanted) in [(train, trains), (Purpose::Evaluate, evaluates)] {
            if wanted {
                let program = cpu::compile(lowering, batch, purpose)?;
                (arena, worker) = (arena.max(program.arena_len), worker.max(program.worker_len()));
            }
        }
        let programs = arena + options.threads * worker;
        Ok(match self {
            // The reference keeps every tensor of the graph: an estimate from below.
            Self::Reference => 2 * programs,
            _ => programs,
        })
    }
}
