//! Which parts of a picture a class is told by: how much less probable it is where a square is covered (Zeiler and Fergus,
//! "Visualizing and Understanding Convolutional Networks", 2014).

use std::path::Path;

use super::{Classifier, ExperimentError};
use crate::data::{Broken, DataError, names::shown, walk::FORMATS};

/// What covering parts of a picture does.
#[derive(Debug, Clone, PartialEq)]
pub struct Occlusion {
    /// The most probable class of the picture.
    pub class: usize,
    /// Its probability.
    pub probability: f32,
    /// `[height, width, channels]`, as the network is given them.
    pub pixels: Vec<u8>,
    /// Height and width of these.
    pub size: (usize, usize),
    /// Squares in a row and in a column.
    pub grid: usize,
    /// `[grid, grid]`: by how much the probability falls where a square is covered, with half a square around it; below 0
    /// where it rises.
    pub falls: Vec<f32>,
}

impl Classifier {
    /// Covers one square of a picture after the other, `grid` in each row and column, by the mean colour of the training
    /// images.
    ///
    /// # Errors
    /// A picture that cannot be read, and weights that give what is no number.
    pub fn occlusion(&mut self, path: &Path, grid: usize) -> Result<Occlusion, ExperimentError> {
        let pixels = self.decoding.read(&path.to_owned().into()).map_err(|reason| DataError::Pictures {
            folder: None,
            total: 1,
            broken: vec![Broken { name: shown(path.as_os_str()), reason }],
            help: format!("{FORMATS} files are read"),
        })?;
        let (height, width) = (self.input.height, self.input.width);
        let grid = grid.min(height).min(width);
        let whole = self.probabilities(&[&pixels])?.swap_remove(0);
        let largest = |best: usize, class: usize| if whole[class] > whole[best] { class } else { best };
        let class = (0..whole.len()).fold(0, largest);
        let squares: Vec<Vec<u8>> =
            (0..grid * grid).map(|at| self.covered(&pixels, (at / grid, at % grid), grid)).collect();
        let mut falls = Vec::new();
        for some in squares.chunks(self.batch.max(1)) {
            let some: Vec<&[u8]> = some.iter().map(Vec::as_slice).collect();
            falls.extend(self.probabilities(&some)?.iter().map(|probabilities| whole[class] - probabilities[class]));
        }
        Ok(Occlusion { class, probability: whole[class], pixels, size: (height, width), grid, falls })
    }

    /// A picture of which a square is covered, and half a square around it.
    fn covered(&self, pixels: &[u8], (row, column): (usize, usize), grid: usize) -> Vec<u8> {
        let (width, channels) = (self.input.width, self.input.channels);
        let range = |at: usize, side: usize| {
            let half = side.div_ceil(2 * grid);
            (at * side / grid).saturating_sub(half)..((at + 1) * side / grid + half).min(side)
        };
        let mut covered = pixels.to_vec();
        for y in range(row, self.input.height) {
            for x in range(column, width) {
                for (channel, mean) in self.input.statistics.mean.iter().enumerate() {
                    covered[(y * width + x) * channels + channel] = mean.round() as u8;
                }
            }
        }
        covered
    }
}
