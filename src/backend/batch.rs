#[cfg(doc)]
use crate::graph::losses::Loss;

use super::BackendError;
use crate::data::Mixed;

/// One batch, ready for the network.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[batch, height, width, channels]`, normalised and resized.
    pub images: &'a [f32],
    /// `[batch]`, class indices.
    pub labels: &'a [u32],
    /// `[batch]`, where images are mixed of two: their other labels. Only a loss that is [`Loss::mixed`] takes them.
    pub mixed: Option<&'a [Mixed]>,
}

impl Batch<'_> {
    /// The label of each image, the other one, and the share of the first: where a loss takes mixed targets, an image that
    /// is none has its own label alone.
    ///
    /// # Errors
    /// Mixed labels for a loss that takes none, or not one for each image.
    pub(crate) fn targets(&self, mixed: bool) -> Result<impl Iterator<Item = (u32, u32, f32)> + '_, BackendError> {
        let count = self.labels.len();
        let fault = match self.mixed {
            Some(_) if !mixed => Some("labels of mixed images for a loss without".to_owned()),
            Some(others) if others.len() != count => Some(format!("{} other labels of {count} images", others.len())),
            _ => None,
        };
        match fault {
            Some(fault) => Err(BackendError::Other(fault)),
            None => Ok(self.labels.iter().enumerate().map(|(at, &label)| match self.mixed {
                Some(others) => (label, others[at].label, others[at].weight),
                None => (label, label, 1.0),
            })),
        }
    }
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
    /// Of this step, as the schedule has it.
    pub learning_rate: f32,
}

impl Step {
    /// A step that neither updates nor draws.
    pub const STILL: Self = Self { epoch: 0, step: 0, iteration: 0, learning_rate: 0.0 };
}
