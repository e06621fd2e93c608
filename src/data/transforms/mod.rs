//! Augmentation: what is drawn anew for every image of every epoch, one transform a file.
//!
//! A new transform is a new file and its line in [`TRANSFORMS`]: name, options with defaults and ranges (from which errors
//! and `docs/AUGMENTATION.md` come), and what it draws. A transform draws numbers for one image; applying them is the same for
//! all of its kind ([`Transform`]), on the host ([`Plan::apply`]) and on a device.

mod affine;
mod augmentation;
mod auto_augment;
mod blur;
pub mod bytes;
mod catalogue;
mod color_jitter;
mod cutmix;
mod cutout;
mod draw;
mod erase;
mod grayscale;
mod mix;
mod mixing;
mod mixup;
mod options;
mod plan;
mod rand_augment;
mod random_crop;
mod random_erasing;
mod random_flip;
mod random_resized_crop;
mod random_rotation;
mod random_translation;
mod random_zoom;
mod read;
mod solarize;
mod three_augment;
mod trivial_augment;
mod write;

use std::fmt::Debug;

use bytes::Applied;

pub use affine::{Affine, Fill};
pub use augmentation::{Augmentation, Keys, Listed};
pub use catalogue::markdown;
pub use draw::{Draw, Draws, MOST_REPEATS};
pub use erase::{Erasure, NORMAL, Paint, quantiles};
pub use mix::{Mix, Mixed};
pub use mixing::MixingOptions;
pub use options::{Options, Range, TransformOption, Value};
pub use plan::{Pass, Plan, Scratch};
pub use read::{FROM_EPOCH, HELP};

/// All transforms.
#[rustfmt::skip] // A line each.
pub const TRANSFORMS: &[&TransformKind] = &[
    &auto_augment::KIND,
    &blur::KIND,
    &color_jitter::KIND,
    &cutmix::KIND,
    &cutout::KIND,
    &grayscale::KIND,
    &mixup::KIND,
    &rand_augment::KIND,
    &random_crop::KIND,
    &random_erasing::KIND,
    &random_flip::KIND,
    &random_resized_crop::KIND,
    &random_rotation::KIND,
    &random_translation::KIND,
    &random_zoom::KIND,
    &solarize::KIND,
    &three_augment::KIND,
    &trivial_augment::KIND,
];

/// A transform's name, its options, and how an instance is made.
#[derive(Debug)]
pub struct TransformKind {
    /// As an experiment calls it.
    pub name: &'static str,
    /// What it does, in one line.
    pub meaning: &'static str,
    /// Whose transform it computes the same as.
    pub source: &'static str,
    /// The first is the one that `name: value` sets.
    pub options: &'static [TransformOption],
    /// Makes an instance. Options are in their ranges; an error is what is wrong with several of them together.
    pub build: fn(&Options) -> Result<Transform, String>,
}

/// The option that `name: value` sets.
pub fn first_option(name: &str) -> Option<&'static str> {
    let kind = TRANSFORMS.iter().find(|kind| kind.name == name)?;
    kind.options.first().map(|option| option.name)
}

/// A transform by what it draws for an image, and so by how that is applied.
#[derive(Debug)]
pub enum Transform {
    /// Turns images over; drawn as two bits.
    Mirror(Box<dyn Mirror>),
    /// Samples images anew; drawn as a matrix.
    Geometric(Box<dyn Geometric>),
    /// Paints over a rectangle; drawn as an [`Erasure`].
    Erasing(Box<dyn Erasing>),
    /// Changes bytes; drawn as operations, see [`Applied`].
    Operating(Box<dyn Operating>),
    /// Mixes images of a batch and their labels; drawn once for a batch.
    Mixing(MixingOptions, Box<dyn Mixing>),
}

/// Turns images upside down, left to right, or both: every pixel keeps its value.
pub trait Mirror: Debug + Send + Sync {
    /// Whether top and bottom change places, and whether left and right do.
    fn draw(&self, random: &mut Draw) -> [bool; 2];
}

/// Moves pixels. Neighbours with one filling are composed, and images sampled once, bilinearly.
pub trait Geometric: Debug + Send + Sync {
    /// What stands outside of the image.
    fn fill(&self) -> Fill;

    /// Where the pixels of an image `[height, width]` come from.
    fn draw(&self, random: &mut Draw, size: [usize; 2]) -> Affine;
}

/// Paints over a rectangle.
pub trait Erasing: Debug + Send + Sync {
    /// The rectangle of an image `[height, width]`; `None` leaves it as it is.
    fn draw(&self, random: &mut Draw, size: [usize; 2]) -> Option<Erasure>;
}

/// Applies operations on bytes. Neighbours are applied at a time.
pub trait Operating: Debug + Send + Sync {
    /// How many operations it applies at most.
    fn most(&self) -> usize;

    /// The operations for an image `[height, width]`.
    fn draw(&self, random: &mut Draw, size: [usize; 2]) -> Vec<Applied>;

    /// Whether it does anything to images of so many channels, 1 or 3.
    ///
    /// # Errors
    /// Why it does not.
    fn takes(&self, channels: usize) -> Result<(), String> {
        let _ = channels;
        Ok(())
    }
}

/// Mixes the images of a batch with one another, and their labels. Stands behind all that is done to an image alone.
pub trait Mixing: Debug + Send + Sync {
    /// How a batch of images `[height, width]` is mixed.
    fn draw(&self, random: &mut Draw, size: [usize; 2]) -> Mix;
}

/// The fillings of Keras' layers, by their names there.
const FILL_MODES: [(&str, Fill); 4] =
    [("reflect", Fill::Reflect), ("constant", Fill::Mean), ("nearest", Fill::Nearest), ("wrap", Fill::Wrap)];

/// The option of Keras' layers for what stands outside.
const FILL_MODE: TransformOption = TransformOption::word(
    "fill_mode",
    &["reflect", "constant", "nearest", "wrap"],
    "reflect",
    "what stands outside: `d c b a | a b c d | d c b a`, the mean of the data, the pixel at the edge, or the image again",
);

/// The option of policies for how images are moved.
const INTERPOLATION: TransformOption =
    TransformOption::word("interpolation", &["nearest", "bilinear"], "bilinear", "how moved images are sampled");

/// The same where torchvision's default is another.
const INTERPOLATION_NEAREST: TransformOption =
    TransformOption::word("interpolation", &["nearest", "bilinear"], "nearest", "how moved images are sampled");

fn fill_mode(options: &Options) -> Fill {
    let word = options.word("fill_mode");
    FILL_MODES.iter().find(|(name, _)| *name == word).map_or(Fill::Reflect, |(_, fill)| *fill)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Levels, Statistics};

    const DRAWS: Draws = Draws { seed: 3, epoch: 5, repeats: 1 };

    /// The plan of a list of one transform, as an experiment's file has it.
    fn plan_of(transform: &str, size: [usize; 2]) -> std::sync::Arc<Plan> {
        serde_yaml::from_str::<Augmentation>(&format!("- {transform}")).unwrap().plan(size)
    }

    /// What a transform does to an image `[height, width, channels]`, by the draw of its first image.
    pub fn applied(transform: &str, [height, width, channels]: [usize; 3], image: &[f32]) -> Vec<f32> {
        let plan = plan_of(transform, [height, width]);
        let mut row = vec![0; plan.words()];
        plan.draw(DRAWS, [0, 0], &mut row);
        let mut image = image.to_vec();
        plan.apply(&row, &levels(channels), &mut image, &mut Scratch::default());
        image
    }

    /// Of which byte 0 is -1, and byte 128 is 0.
    pub fn levels(channels: usize) -> Levels {
        let statistics = Statistics { mean: vec![128.0; channels], variance: vec![128.0 * 128.0; channels] };
        Levels::new(&statistics, channels)
    }

    /// The operations that a transform draws for one image after the other.
    pub fn operations_by(transform: &str, size: [usize; 2]) -> impl Iterator<Item = Vec<Applied>> {
        let plan = plan_of(transform, size);
        (0..).map(move |index| {
            let mut row = vec![7; plan.words()];
            plan.draw(DRAWS, [index, 0], &mut row);
            match plan.passes() {
                [Pass::Operate { at, count }] => {
                    row[*at..].chunks(Applied::WORDS).take(*count).map(Applied::get).collect()
                }
                passes => panic!("{passes:?}"),
            }
        })
    }

    /// The rectangles that a transform draws for one image after the other; without any, an empty one.
    pub fn erasures_by(transform: &str, size: [usize; 2]) -> impl Iterator<Item = [u32; 4]> {
        let plan = plan_of(transform, size);
        (0..).map(move |index| {
            let mut row = vec![0; plan.words()];
            plan.draw(DRAWS, [index, 0], &mut row);
            match plan.passes() {
                [Pass::Erase { at }] => Erasure::get(&row[*at..]).rectangle(),
                passes => panic!("{passes:?}"),
            }
        })
    }

    /// What a list draws for one batch of an epoch after the other.
    pub fn mixes_by(list: &str, size: [usize; 2], epoch: u32) -> impl Iterator<Item = Mix> {
        let plan = serde_yaml::from_str::<Augmentation>(list).unwrap().plan(size);
        (0..).map(move |batch| plan.mix(Draws { epoch, ..DRAWS }, batch).unwrap())
    }

    /// The matrices that a transform draws for one image after the other, mirrors included.
    pub fn drawn_by(transform: &str, size: [usize; 2]) -> impl Iterator<Item = Affine> {
        let plan = plan_of(transform, size);
        (0..).map(move |index| {
            let mut row = vec![0; plan.words()];
            plan.draw(DRAWS, [index, 0], &mut row);
            match plan.passes() {
                [] => affine::mirrored(plan.mirrored(&row), size),
                [Pass::Sample { at, .. }] => plan::get(&row, *at),
                passes => panic!("{passes:?}"),
            }
        })
    }
}
