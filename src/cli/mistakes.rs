//! The images whose class a network is furthest from, to be looked at.

use std::path::Path;

use image::RgbImage;
use miette::miette;
use serde_json::{Value, json};

use super::output;
use crate::{
    data::{BatchPlace, Images, Loaded, Pipeline, Split},
    metrics::{first_largest, rows},
    report::pictures::{Tile, contact_sheet},
};

/// An image that was taken for another class.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// In its split.
    pub index: u32,
    /// What it is.
    pub label: usize,
    /// What it was taken for.
    pub predicted: usize,
    /// The probability of that, by the softmax.
    pub probability: f64,
    /// The cross-entropy.
    pub loss: f64,
}

/// The worst so far, and how many there are.
#[derive(Debug, Default)]
pub struct Mistakes {
    most: usize,
    seen: u32,
    total: usize,
    worst: Vec<Mistake>,
}

impl Mistakes {
    /// So many are kept.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Adds the next batch of a split: logits `[batch, classes]`, labels `[batch]`.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) {
        for (row, label) in rows(logits, labels) {
            let (index, predicted) = (self.seen, first_largest(row));
            self.seen += 1;
            if predicted == label {
                continue;
            }
            self.total += 1;
            let most = f64::from(row[predicted]);
            let sum = most + row.iter().map(|logit| (f64::from(*logit) - most).exp()).sum::<f64>().ln();
            let (loss, probability) = (sum - f64::from(row[label]), (most - sum).exp());
            self.worst.push(Mistake { index, label, predicted, probability, loss });
            if self.worst.len() > 2 * self.most {
                self.keep();
            }
        }
    }

    fn keep(&mut self) {
        // Of equals the first.
        self.worst.sort_by(|a, b| b.loss.total_cmp(&a.loss));
        self.worst.truncate(self.most);
    }

    /// The worst, the highest loss first, and how many mistakes there are.
    pub fn finish(mut self) -> (Vec<Mistake>, usize) {
        self.keep();
        (self.worst, self.total)
    }
}

/// As objects.
pub fn json(mistakes: &[Mistake], split: &Split, name: &dyn Fn(usize) -> String) -> Value {
    let one = |mistake: &Mistake| {
        let Mistake { index, label, predicted, probability, loss } = *mistake;
        let mut object = json!({
            "index": index, "class": name(label), "predicted": name(predicted), "probability": probability, "loss": loss,
        });
        if let (Some(file), Some(object)) = (file(split, index), object.as_object_mut()) {
            object.insert("file".into(), file.into());
        }
        object
    };
    mistakes.iter().map(one).collect()
}

/// Where an image lies, if that is known.
fn file(split: &Split, index: u32) -> Option<String> {
    match &split.images {
        Images::Files(places, _) => places.get(index as usize).map(ToString::to_string),
        Images::Memory(_) => None,
    }
}

/// Draws mistakes as the network saw the images, each with its class and the one that it was taken for.
pub fn draw(
    path: &Path,
    mistakes: &[Mistake],
    split: &Split,
    pipeline: &Pipeline,
    name: &dyn Fn(usize) -> String,
) -> miette::Result<()> {
    let indices: Vec<u32> = mistakes.iter().map(|mistake| mistake.index).collect();
    let mut loaded = Loaded::default();
    pipeline.batch(split, &indices, BatchPlace::default(), None, &mut loaded)?;
    let ([height, width], channels, levels) = (pipeline.size(), pipeline.channels(), pipeline.levels());
    let tile = |(mistake, image): (&Mistake, &[f32])| {
        let pixel = |x: u32, y: u32| {
            let pixel = &image[(y as usize * width + x as usize) * channels..][..channels];
            let at = |channel: usize| levels.byte(channel.min(channels - 1), pixel[channel.min(channels - 1)]);
            image::Rgb([at(0), at(1), at(2)])
        };
        let share = 100.0 * mistake.probability;
        Tile {
            image: RgbImage::from_fn(width as u32, height as u32, pixel),
            lines: vec![
                name(mistake.label),
                format!("taken for {}", name(mistake.predicted)),
                format!("{share:.0}%, loss {:.2}, image {}", mistake.loss, mistake.index),
            ],
        }
    };
    let tiles: Vec<Tile> =
        mistakes.iter().zip(loaded.images.chunks_exact(height * width * channels)).map(tile).collect();
    let sheet = contact_sheet(&tiles).map_err(|error| miette!("the mistakes cannot be drawn: {error}"))?;
    output::write(path, &output::png(&sheet)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_kept() {
        let mut mistakes = Mistakes::new(2);
        // Image 1 is right; the others are wrong by 3, 1, 5 and 3.
        mistakes.add(&[3.0, 0.0, 0.0, 9.0, 1.0, 0.0], &[1, 1, 1]);
        mistakes.add(&[0.0, 5.0, 3.0, 0.0], &[0, 1]);
        let (worst, total) = mistakes.finish();
        assert_eq!((total, worst.iter().map(|one| one.index).collect::<Vec<_>>()), (4, vec![3, 0]));
        assert_eq!((worst[0].label, worst[0].predicted), (0, 1));
        assert!((worst[0].loss - (1.0 + 5_f64.exp()).ln()).abs() < 1e-9, "{worst:?}");
        assert!((worst[0].probability - 1.0 / (1.0 + (-5_f64).exp())).abs() < 1e-9);
    }
}
