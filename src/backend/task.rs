use crate::{
    graph::{
        losses::Loss,
        optimizers::{Optimizer, Plan},
    },
    passes::Purpose,
};

/// What a program of an engine is for; with a batch size, the key of its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Task {
    Evaluate,
    Differentiate,
    Train,
    /// A step whose gradients wait for an update.
    Accumulate,
}

impl Task {
    /// What the graph of the program is built for.
    pub fn purpose(self, optimizer: &Optimizer, loss: &Loss) -> Purpose {
        match self {
            Self::Evaluate => Purpose::Evaluate,
            Self::Differentiate => Purpose::Differentiate,
            Self::Train => Purpose::Train(optimizer.clone(), loss.clone()),
            Self::Accumulate => Purpose::Accumulate(optimizer.clone(), loss.clone()),
        }
    }

    /// The training step that follows so many.
    pub fn of_step(plan: &Plan, iteration: u64) -> Self {
        if plan.updates_after(iteration) { Self::Train } else { Self::Accumulate }
    }

    /// Whether it is a training step.
    pub fn trains(self) -> bool {
        matches!(self, Self::Train | Self::Accumulate)
    }
}
