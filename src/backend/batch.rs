/// One batch, ready for the network.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[batch, height, width, channels]`, normalised and resized.
    pub images: &'a [f32],
    /// `[batch]`, class indices.
    pub labels: &'a [u32],
}

/// Where in training a step stands, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// From 0.
    pub epoch: u32,
    /// Within the epoch, from 0.
    pub step: u32,
    /// Optimizer steps taken before this one, over the whole training.
    pub iteration: u64,
    pub learning_rate: f32,
}

impl Step {
    /// A step that neither updates nor draws.
    pub const STILL: Self = Self { epoch: 0, step: 0, iteration: 0, learning_rate: 0.0 };
}
