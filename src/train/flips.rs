//! Evaluation of each image together with its mirror image.

use super::FitError;
use crate::{
    backend::{Batch, Engine},
    data::Loader,
    metrics::{Means, Totals, cross_entropy},
};

/// Means over a split, by the logits of the images and by the mean of the logits of each image and its mirror image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flips {
    /// Of the images as they are.
    pub plain: Means,
    /// Of each image with its mirror image.
    pub flips: Means,
}

/// Evaluates a loader's split twice, dropout off: as it is, and mirrored from left to right. The logits of the two are
/// averaged before the softmax, as in Keller Jordan's `airbench` (`infer_mirror`). The averages `[batch, classes]` of each
/// batch are given to `each`, with its labels.
///
/// # Errors
/// As the engine's.
pub fn evaluate_flips(
    engine: &mut dyn Engine,
    loader: &Loader,
    batch_size: usize,
    each: &mut dyn FnMut(&[f32], &[u32]),
) -> Result<Flips, FitError> {
    let indices: Vec<u32> = (0..loader.split.len() as u32).collect();
    let (width, channels) = (loader.pipeline.size()[1], loader.pipeline.channels());
    loader.run(&indices, batch_size, |batches| {
        let (mut plain, mut flips) = (Totals::default(), Totals::default());
        let mut logits = Vec::new();
        while let Some(loaded) = batches.next() {
            let mut loaded = loaded?;
            let labels = &loaded.labels;
            let loss = engine.evaluate(&Batch { images: &loaded.images, labels, mixed: None })?;
            plain.add(loss, engine.logits(), labels);
            logits.clear();
            logits.extend_from_slice(engine.logits());
            mirror(&mut loaded.images, width, channels);
            engine.evaluate(&Batch { images: &loaded.images, labels, mixed: None })?;
            for (mean, mirrored) in logits.iter_mut().zip(engine.logits()) {
                *mean = 0.5 * (*mean + mirrored);
            }
            flips.add(cross_entropy(&logits, labels), &logits, labels);
            each(&logits, labels);
            batches.recycle(loaded);
        }
        Ok(Flips { plain: plain.means(), flips: flips.means() })
    })
}

/// Turns the rows `[width, channels]` of images around, pixel by pixel.
fn mirror(images: &mut [f32], width: usize, channels: usize) {
    for row in images.chunks_mut((width * channels).max(1)) {
        for left in 0..width / 2 {
            let right = width - 1 - left;
            for channel in 0..channels {
                row.swap(left * channels + channel, right * channels + channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        backend::{Backend, EngineOptions, Precision, Regions},
        data::{Pipeline, Split, Statistics},
        dsl::Source,
        graph::{Builder, losses::Loss, optimizers::Optimizer},
        model::{ImageSpec, elaborate},
        train::evaluate,
    };

    #[test]
    fn rows_are_turned_around() {
        let mut images: Vec<f32> = (0..18_u8).map(f32::from).collect();
        mirror(&mut images, 3, 2);
        assert_eq!(images[..12], [4.0, 5.0, 2.0, 3.0, 0.0, 1.0, 10.0, 11.0, 8.0, 9.0, 6.0, 7.0]);
        mirror(&mut images, 3, 2);
        assert!(images.iter().zip(0_u8..).all(|(value, expected)| *value == f32::from(expected)));
    }

    /// A linear network of so many threads on nine images of 3x5 pixels.
    fn evaluated(threads: usize, pixels: &[u8]) -> (Flips, Means) {
        let data = ImageSpec { height: 3, width: 5, channels: 2, num_classes: 4 };
        let text = "model m { flatten dense(7) gelu dense(num_classes) }";
        let architecture = elaborate(&Source::new("m.vitx", text), &BTreeMap::new(), &data).unwrap();
        let options = EngineOptions {
            optimizer: Optimizer::default(),
            loss: Loss::default(),
            seed: 3,
            threads,
            precision: Precision::F32,
            regions: Regions::default(),
        };
        let lowering = Box::new(move |builder: &mut Builder, batch| architecture.lower(builder, batch));
        let mut engine = Backend::Cpu.engine(lowering, options).unwrap();
        let split = Split::new(pixels.to_vec(), (0..9).map(|index| index % 4).collect());
        let statistics = Statistics::of(&split, 2).unwrap();
        let pipeline = &Pipeline::new(&statistics, (3, 5), 2, (3, 5));
        let loader = Loader { pipeline, split: &split, augmentation: None, workers: 1 };
        let plain = evaluate(engine.as_mut(), &loader, 4).unwrap();
        let mut accuracy = 0;
        let mut each = |logits: &[f32], labels: &[u32]| accuracy += crate::metrics::accuracy(logits, labels);
        let flips = evaluate_flips(engine.as_mut(), &loader, 4, &mut each).unwrap();
        assert_eq!(accuracy as f64 / 9.0, flips.flips.accuracy);
        (flips, plain)
    }

    #[test]
    fn the_mean_is_of_an_image_and_its_mirror_image() {
        let pixels: Vec<u8> = (0..9 * 30_u32).map(|index| (index * index % 251) as u8).collect();
        let (flips, plain) = evaluated(1, &pixels);
        assert_eq!(flips.plain, plain);
        assert_ne!(flips.flips.loss, plain.loss);
        assert_eq!(evaluated(2, &pixels).0, flips);
        // All images turned around have the same mean, and are others.
        let mut turned: Vec<f32> = pixels.iter().map(|&byte| f32::from(byte)).collect();
        mirror(&mut turned, 5, 2);
        let turned: Vec<u8> = turned.iter().map(|&value| value as u8).collect();
        let (of_turned, plain_turned) = evaluated(1, &turned);
        assert_eq!(of_turned.flips, flips.flips);
        assert_ne!(plain_turned.loss, plain.loss);
    }

    #[test]
    fn symmetric_images_are_as_they_were() {
        let symmetric = |index: u32| {
            let (row, column, channel) = (index / 10, index / 2 % 5, index % 2);
            (row * 31 + column.min(4 - column) * 57 + channel * 11 + row * row) as u8
        };
        let (flips, plain) = evaluated(1, &(0..270).map(symmetric).collect::<Vec<u8>>());
        assert_eq!(flips.flips.accuracy, plain.accuracy);
        assert!((flips.flips.loss - plain.loss).abs() < 1e-6);
    }
}
