//! The input pipeline: normalise, resize (Keras' `Normalization` and `Resizing`), and, in training,
//! augment.

use super::{
    DataError, Levels, Loaded, Split, Statistics,
    resize::Resize,
    transforms::{Draws, Plan, Scratch},
};

/// Where a batch stands in its epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchPlace {
    /// Of the batch, from 0: what is drawn for it as a whole.
    pub number: u32,
    /// Of its first image in the order of the epoch, from 0: which repetition of it this is.
    pub first: u32,
}

/// Turns bytes into what a network takes.
#[derive(Clone)]
pub struct Pipeline {
    levels: Levels,
    channels: usize,
    from: (usize, usize),
    to: (usize, usize),
    resize: Resize,
    /// What makes whole batches smaller, after all else.
    shrink: Option<Resize>,
}

impl Pipeline {
    /// For images `[height, width, channels]` of one size and an output of another.
    pub fn new(statistics: &Statistics, from: (usize, usize), channels: usize, to: (usize, usize)) -> Self {
        Self {
            levels: Levels::new(statistics, channels),
            channels,
            from,
            to,
            resize: Resize::new(from, to),
            shrink: None,
        }
    }

    /// The same for a network on images of another size, `(height, width)`: what is done to images is done at their own
    /// size, and batches are resized at the end, bilinearly and without antialiasing.
    #[must_use]
    pub fn shrunk(&self, size: (usize, usize)) -> Self {
        Self { shrink: (size != self.to).then(|| Resize::new(self.to, size)), ..self.clone() }
    }

    /// Height and width before and after, and channels.
    pub(crate) fn sizes(&self) -> [(usize, usize); 2] {
        [self.from, self.to]
    }

    /// Of an image.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// What bytes are in its images.
    pub(crate) fn levels(&self) -> &Levels {
        &self.levels
    }

    pub(crate) fn resize(&self) -> &Resize {
        &self.resize
    }

    /// `[height, width]` of what comes out, which [`Augmentation::plan`](super::Augmentation::plan) asks for.
    pub fn size(&self) -> [usize; 2] {
        [self.to.0, self.to.1]
    }

    /// Fills a batch of an epoch with the images of some indices.
    ///
    /// # Errors
    /// A picture that is decoded when it is needed, and cannot be read any more.
    ///
    /// # Panics
    /// On a plan for images of another size.
    pub fn batch(
        &self,
        split: &Split,
        indices: &[u32],
        place: BatchPlace,
        augmentation: Option<(&Plan, Draws)>,
        Loaded { images, labels, mixed }: &mut Loaded,
    ) -> Result<(), DataError> {
        let Self { channels, from, to, .. } = *self;
        let (bytes, values) = (from.0 * from.1 * channels, to.0 * to.1 * channels);
        labels.clear();
        labels.extend(indices.iter().map(|&index| split.labels[index as usize]));
        images.resize(indices.len() * values, 0.0);
        assert!(augmentation.is_none_or(|(plan, _)| plan.size() == self.size()), "a plan for other images");
        let (mut normal, mut between, mut decoded) = (vec![0.0; bytes], Vec::new(), Vec::new());
        let mut scratch = Scratch::default();
        let mut row = vec![0; augmentation.map_or(0, |(plan, _)| plan.words())];
        for ((&index, image), position) in indices.iter().zip(images.chunks_mut(values)).zip(place.first..) {
            let pixels = split.image(index as usize, bytes, &mut decoded)?;
            for (position, (value, &byte)) in normal.iter_mut().zip(pixels).enumerate() {
                *value = self.levels.value(position % channels, byte);
            }
            let mut mirrored = [false; 2];
            if let Some((plan, draws)) = augmentation {
                plan.draw(draws, [index, position % draws.repeats], &mut row);
                mirrored = plan.mirrored(&row);
            }
            let [vertical, horizontal] = mirrored;
            if from == to && !horizontal {
                image.copy_from_slice(&normal);
            } else {
                self.resize.run(&normal, channels, horizontal, &mut between, image);
            }
            if vertical {
                upside_down(image, to.1 * channels);
            }
            if let Some((plan, _)) = augmentation {
                plan.apply(&row, &self.levels, image, &mut scratch);
            }
        }
        match augmentation.and_then(|(plan, draws)| plan.mix(draws, place.number)) {
            Some(mix) => mix.apply(images, [to.1, channels], labels, mixed),
            None => mixed.clear(),
        }
        if let Some(shrink) = &self.shrink {
            let (height, width) = shrink.size();
            let mut smaller = vec![0.0; indices.len() * height * width * channels];
            for (image, smaller) in images.chunks(values).zip(smaller.chunks_mut(height * width * channels)) {
                shrink.run(image, channels, false, &mut between, smaller);
            }
            *images = smaller;
        }
        Ok(())
    }
}

/// Turns an image of rows of so many numbers upside down.
fn upside_down(image: &mut [f32], row: usize) {
    let rows = image.len() / row;
    let (upper, lower) = image.split_at_mut(rows / 2 * row);
    for (upper, lower) in upper.chunks_exact_mut(row).zip(lower.chunks_exact_mut(row).rev()) {
        upper.swap_with_slice(lower);
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::data::Augmentation;

    #[test]
    fn upside_down_is_the_other_way_up() {
        for rows in [1, 2, 5] {
            let mut image: Vec<f32> = (0..rows * 3).map(|value| value as f32).collect();
            let expected: Vec<f32> = image.chunks(3).rev().flatten().copied().collect();
            upside_down(&mut image, 3);
            assert_eq!(image, expected);
        }
    }

    /// The first eight bytes of a digest of one batch with an augmentation, in the form of an experiment's file.
    fn digest(from: (usize, usize), channels: usize, to: (usize, usize), augmentation: &str) -> String {
        let augmentation: Augmentation = serde_yaml::from_str(augmentation).unwrap();
        let count = 13;
        let bytes = count * from.0 * from.1 * channels;
        let pixels = (0..bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let split = Split::new(pixels, (0..count as u32).collect());
        let pipeline = Pipeline::new(&Statistics::of(&split, channels).unwrap(), from, channels, to);
        let mut loaded = Loaded::default();
        let plan = augmentation.plan(pipeline.size());
        let draws = Draws { seed: 42, epoch: 3, repeats: 1 };
        pipeline.batch(&split, &[12, 0, 5, 7, 1], BatchPlace::default(), Some((&plan, draws)), &mut loaded).unwrap();
        let bytes: Vec<u8> = loaded.images.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect();
        Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn batches_are_shrunk_after_all_else() {
        let augmentation: Augmentation = serde_yaml::from_str("[random_crop: 1, random_flip, mixup]").unwrap();
        let (from, to, size) = ((9, 7), (8, 6), (3, 5));
        let pixels: Vec<u8> = (0..7 * 63 * 2_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let split = Split::new(pixels, (0..7).collect());
        let whole = Pipeline::new(&Statistics::of(&split, 2).unwrap(), from, 2, to);
        let plan = augmentation.plan(whole.size());
        let draws = Draws { seed: 42, epoch: 3, repeats: 1 };
        let batch = |pipeline: &Pipeline| {
            let mut loaded = Loaded::default();
            // Buffers are used again.
            for number in [1, 0] {
                let place = BatchPlace { number, first: 5 * number };
                pipeline.batch(&split, &[6, 0, 5, 1, 1], place, Some((&plan, draws)), &mut loaded).unwrap();
            }
            loaded
        };
        let (expected, shrunk) = (batch(&whole), batch(&whole.shrunk(size)));
        assert_eq!((expected.labels, expected.mixed), (shrunk.labels, shrunk.mixed));
        let images = expected.images.chunks(8 * 6 * 2);
        let images: Vec<f32> = images.flat_map(|image| crate::data::resize::resize(image, to, 2, size)).collect();
        assert_eq!(images, shrunk.images);
        assert_eq!(batch(&whole.shrunk(to)).images, expected.images);
    }

    /// What an experiment of the first version trains on. These were written before transforms were a list.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn batches_of_flip_rotation_and_zoom_keep_their_bits() {
        let all = "{ flip: true, rotation: 0.02, zoom: 0.2 }";
        for (from, channels, to, augmentation, expected) in [
            ((32, 32), 3, (72, 72), all, "b14021b397003a1e"),
            ((32, 32), 3, (32, 32), all, "8dfb4f3acfc288fd"),
            ((9, 7), 1, (9, 7), "{ flip: true }", "50f3892221720bf0"),
            ((9, 7), 4, (5, 11), "{ rotation: 0.5 }", "4b0ba5b4c5762a3a"),
            ((9, 7), 2, (9, 7), "{ zoom: 0.9 }", "bcc73e44604fc592"),
            ((9, 7), 3, (9, 7), "{ flip: true, zoom: 0.3 }", "1dc09c5ea41f946d"),
            ((9, 7), 3, (12, 8), "{}", "d61015eb0194c028"),
        ] {
            assert_eq!(digest(from, channels, to, augmentation), expected, "{from:?} {to:?} {augmentation}");
        }
    }
}
