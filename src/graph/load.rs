use std::fmt;

use luminal::{
    op::{InputTensor, Operator},
    prelude::{ShapeTracker, Tensor},
};

/// What a step is given anew each time it runs, besides the parameters and the state of their optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepInput {
    /// `[batch, height, width, channels]`, normalised and resized.
    Images,
    /// `[batch]`, class indices held as float32; `[batch, 3]` where targets are mixed of two: the label, the other one, and
    /// the share of the first.
    Labels,
    /// `[RandomState::LEN]`: the step's [`RandomState`](super::ops::RandomState), from which all masks are drawn.
    Random,
    /// The optimizer's numbers of the step, [`Plan::write_scalars`](super::optimizers::Plan::write_scalars).
    Scalars,
    /// `[1]`: the gradient of the loss, with which the backward pass begins.
    LossGradient,
}

impl StepInput {
    /// As listings have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Labels => "labels",
            Self::Random => "random",
            Self::Scalars => "scalars",
            Self::LossGradient => "loss_gradient",
        }
    }

    /// Whether it has an entry, or several, for each image of the batch, which are the first axis.
    pub const fn per_image(self) -> bool {
        match self {
            Self::Images | Self::Labels => true,
            Self::Random | Self::Scalars | Self::LossGradient => false,
        }
    }
}

/// The operator of a node that stands for a tensor from outside, which is set before the graph runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Load {
    /// What a step of a network is given, see [`StepInput`].
    Step(StepInput),
    /// A trainable tensor, by its name.
    Parameter(String),
    /// What the optimizer keeps of a parameter, given by its index.
    Slot {
        /// As the optimizer's rule calls it.
        slot: &'static str,
        /// Its place among the network's parameters.
        parameter: usize,
    },
    /// Of a graph that is no step of a network, by any name.
    Other(String),
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(input) => f.write_str(input.name()),
            Self::Parameter(name) | Self::Other(name) => f.write_str(name),
            Self::Slot { slot, parameter } => write!(f, "optimizer/{slot}/{parameter}"),
        }
    }
}

impl From<StepInput> for Load {
    fn from(input: StepInput) -> Self {
        Self::Step(input)
    }
}

impl From<&str> for Load {
    fn from(name: &str) -> Self {
        Self::Other(name.to_owned())
    }
}

impl Operator for Load {
    fn process(&mut self, _: Vec<(InputTensor, ShapeTracker)>) -> Vec<Tensor> {
        unreachable!("`{self}` must be set before the graph runs")
    }
}
