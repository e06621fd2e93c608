//! The input pipeline: normalise, resize (Keras' `Normalization` and `Resizing`), and, in training,
//! augment.

use super::{
    Split, Statistics,
    augment::{Augmentation, Draws},
    resize::Resize,
};

/// Turns bytes into what a network takes.
pub struct Pipeline {
    /// `(byte - mean) / deviation` by channel and byte.
    table: Vec<f32>,
    channels: usize,
    from: (usize, usize),
    to: (usize, usize),
    resize: Resize,
}

impl Pipeline {
    /// For images `[height, width, channels]` of one size and an output of another.
    pub fn new(statistics: &Statistics, from: (usize, usize), channels: usize, to: (usize, usize)) -> Self {
        let normal = |channel: usize, byte: usize| {
            ((byte as f64 - statistics.mean[channel]) / statistics.deviation(channel)) as f32
        };
        let table = (0..channels).flat_map(|channel| (0..256).map(move |byte| normal(channel, byte))).collect();
        Self { table, channels, from, to, resize: Resize::new(from, to) }
    }

    /// Height and width before and after, and channels.
    pub(crate) fn sizes(&self) -> [(usize, usize); 2] {
        [self.from, self.to]
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// The value of each channel's bytes, `[channels, 256]`.
    pub(crate) fn normal(&self) -> &[f32] {
        &self.table
    }

    pub(crate) fn resize(&self) -> &Resize {
        &self.resize
    }

    /// Fills `images` `[indices, height, width, channels]` and `labels` `[indices]`.
    pub fn batch(
        &self,
        split: &Split,
        indices: &[u32],
        augmentation: Option<(Augmentation, Draws)>,
        images: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) {
        let Self { channels, from, to, .. } = *self;
        let (bytes, values) = (from.0 * from.1 * channels, to.0 * to.1 * channels);
        labels.clear();
        labels.extend(indices.iter().map(|&index| split.labels[index as usize]));
        images.resize(indices.len() * values, 0.0);
        let (mut normal, mut between) = (vec![0.0; bytes], Vec::new());
        for (&index, image) in indices.iter().zip(images.chunks_mut(values)) {
            let pixels = &split.pixels[index as usize * bytes..][..bytes];
            for (position, (value, &byte)) in normal.iter_mut().zip(pixels).enumerate() {
                *value = self.table[position % channels * 256 + usize::from(byte)];
            }
            let drawn = augmentation.map(|(augmentation, draws)| augmentation.draw(draws, index));
            let mirrored = drawn.is_some_and(|drawn| drawn.mirrored);
            if from == to && !mirrored {
                image.copy_from_slice(&normal);
            } else {
                self.resize.run(&normal, channels, mirrored, &mut between, image);
            }
            if let Some(drawn) = drawn {
                drawn.apply([to.0, to.1, channels], image, &mut between);
            }
        }
    }
}
