//! One network for images of several sizes.

use super::{BackendError, Store};
use crate::{graph::Builder, passes::Lowering};

/// A network's lowerings, one for each size of images, which share their parameters.
pub(crate) struct Lowerings {
    /// With the numbers of an image, its channels counted.
    all: Vec<(usize, Box<Lowering>)>,
}

impl Lowerings {
    /// One, for images of so many numbers.
    pub fn new(lowering: Box<Lowering>, pixels: usize) -> Self {
        Self { all: vec![(pixels, lowering)] }
    }

    /// Adds another of the network whose parameters a store has.
    ///
    /// # Errors
    /// Other parameters, or images of as many numbers as another's.
    pub fn add(&mut self, lowering: Box<Lowering>, store: &Store) -> Result<(), BackendError> {
        let mut builder = Builder::new();
        let pixels = lowering(&mut builder, 1).images.len();
        if self.all.iter().any(|(known, _)| *known == pixels) {
            return Err(BackendError::Other(format!("there is a network on images of {pixels} numbers")));
        }
        let ours = store.parameters().iter().map(|parameter| (&parameter.name, &parameter.shape));
        if !ours.eq(builder.parameters.iter().map(|parameter| (&parameter.name, &parameter.shape))) {
            let message = format!("the network has other parameters on images of {pixels} numbers");
            return Err(BackendError::Other(message));
        }
        self.all.push((pixels, lowering));
        Ok(())
    }

    /// Which is for images of so many numbers; the first where none is.
    pub fn of(&self, pixels: usize) -> usize {
        self.all.iter().position(|(known, _)| *known == pixels).unwrap_or(0)
    }

    pub fn get(&self, index: usize) -> &Lowering {
        &self.all[index].1
    }
}
