use crate::{
    graph::{losses::Loss, optimizers::Optimizer},
    passes::Purpose,
};

/// What a program of an engine is for; with a batch size, the key of its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    Evaluate,
    Differentiate,
    Train,
}

impl Task {
    /// What the graph of the program is built for.
    pub fn purpose(self, optimizer: &Optimizer, loss: &Loss) -> Purpose {
        match self {
            Self::Evaluate => Purpose::Evaluate,
            Self::Differentiate => Purpose::Differentiate,
            Self::Train => Purpose::Train(optimizer.clone(), loss.clone()),
        }
    }
}
