//! Random numbers of one transform for one image.

use crate::random::{Philox, Stream, unit};

/// Where the draws of one epoch come from: the same for any batch size and number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    /// Of the training.
    pub seed: u64,
    /// From 0.
    pub epoch: u32,
    /// How many times in a row an epoch has each of its images, with draws of its own each time; at least 1.
    pub repeats: u32,
}

/// Where in the counter's block the number of the repetition stands: no transform draws so many words of one stream.
const REPETITION: u32 = 24;

/// The most that an epoch can have an image.
pub const MOST_REPEATS: u32 = 1 << (32 - REPETITION);

/// The random words of one transform for one image: Philox blocks with the counter `(image, block, epoch, stream)`, where the
/// upper bits of `block` number the repetitions of the image in the epoch, the first of which is 0.
#[derive(Debug, Clone)]
pub struct Draw {
    philox: Philox,
    image: u32,
    /// From 0.
    repetition: u32,
    epoch: u32,
    stream: u32,
    /// Words that have been taken.
    taken: u32,
    block: [u32; 4],
}

impl Draw {
    /// The words of a stream for a repetition of an image, from 0, without the first few. What is drawn for a whole batch has
    /// the batch's number in the epoch for `image`.
    pub(super) fn new(draws: Draws, [image, repetition]: [u32; 2], stream: u32, skipped: u32) -> Self {
        let Draws { seed, epoch, .. } = draws;
        let philox = Philox::new(seed, Stream::Augmentation);
        let mut draw = Self { philox, image, repetition, epoch, stream, taken: skipped, block: [0; 4] };
        draw.fill();
        draw
    }

    /// Draws the words that the next is among.
    fn fill(&mut self) {
        let block = (self.repetition << REPETITION) | (self.taken / 4);
        self.block = self.philox.block([self.image, block, self.epoch, self.stream]);
    }

    /// From 0.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How often the epoch has had the image before, from 0.
    pub fn repetition(&self) -> u32 {
        self.repetition
    }

    /// The words that the first epoch begins with, of the same image and transform.
    pub fn of_first_epoch(&self) -> Self {
        let mut first = Self { repetition: 0, epoch: 0, taken: 0, ..self.clone() };
        first.fill();
        first
    }

    /// The next word.
    pub fn word(&mut self) -> u32 {
        let word = self.block[(self.taken % 4) as usize];
        self.taken += 1;
        if self.taken.is_multiple_of(4) {
            self.fill();
        }
        word
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f32 {
        unit(self.word())
    }

    /// A number between both ends of a range.
    pub fn within(&mut self, [low, high]: [f32; 2]) -> f32 {
        // About 0 the product is taken in this order, which experiments of the first version were trained with.
        if low == -high { high * (2.0 * self.unit() - 1.0) } else { low + (high - low) * self.unit() }
    }

    /// A whole number from 0 to below `count`, at most one part in `2^32 / count` from evenly spread.
    pub fn below(&mut self, count: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(count)) >> 32) as u32
    }

    /// A number of Beta(alpha, alpha), from 0 to 1.
    pub fn beta(&mut self, alpha: f32) -> f32 {
        let [x, y] = [0; 2].map(|_| self.gamma(f64::from(alpha)));
        if x + y > 0.0 {
            (x / (x + y)) as f32
        } else {
            // Both are too small for a number: then one of them is next to all.
            f32::from(u8::from(self.coin()))
        }
    }

    /// A number of Gamma(shape, 1): Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables", 2000.
    fn gamma(&mut self, shape: f64) -> f64 {
        // A shape below 1 comes from one above it.
        let d = if shape < 1.0 { shape + 1.0 } else { shape } - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.inside().ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                let boost = if shape < 1.0 { self.inside().powf(1.0 / shape) } else { 1.0 };
                return d * v * boost;
            }
        }
    }

    /// A number of the standard normal distribution: Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.inside().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.inside()).cos()
    }

    /// A number between 0 and 1, neither of which it is.
    fn inside(&mut self) -> f64 {
        (f64::from(self.word()) + 0.5) / 4_294_967_296.0
    }

    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.word() >> 31 == 1
    }

    /// True with a probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }
}

/// The stream of a transform, by its name and how many of that name stand before it in the list: transforms that are
/// put in or taken out between others leave the draws of those as they are. (FNV-1a; 0 is the stream of the
/// experiments that have no list.)
pub(super) fn stream(name: &str, before: usize) -> u32 {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    (before as u32).to_le_bytes().iter().fold(name.bytes().fold(0x811C_9DC5, mix), |hash, &byte| mix(hash, byte)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::transforms::TRANSFORMS;

    #[test]
    fn streams_of_the_table_differ() {
        let mut seen = std::collections::HashSet::from([0]);
        for kind in TRANSFORMS {
            for before in 0..8 {
                assert!(seen.insert(stream(kind.name, before)), "{} {before}", kind.name);
            }
        }
    }

    #[test]
    fn words_go_on_over_blocks() {
        let draws = Draws { seed: 5, epoch: 2, repeats: 1 };
        let mut draw = Draw::new(draws, [3, 0], 7, 0);
        let words: Vec<u32> = (0..9).map(|_| draw.word()).collect();
        let philox = Philox::new(5, Stream::Augmentation);
        let expected: Vec<u32> = (0..3).flat_map(|block| philox.block([3, block, 2, 7])).collect();
        assert_eq!(words, expected[..9]);
        let mut late = Draw::new(draws, [3, 0], 7, 6);
        assert_eq!([late.word(), late.word(), late.word()], expected[6..9]);
        // No repetition has a word of another.
        let mut again = Draw::new(draws, [3, MOST_REPEATS - 1], 7, 2);
        let expected: Vec<u32> = (0..2).flat_map(|block| philox.block([3, 0xFF00_0000 + block, 2, 7])).collect();
        assert_eq!((2..8).map(|_| again.word()).collect::<Vec<_>>(), expected[2..]);
        assert_eq!(again.of_first_epoch().word(), philox.block([3, 0, 0, 7])[0]);
    }

    #[test]
    fn draws_fill_their_ranges_evenly() {
        let mut draw = Draw::new(Draws { seed: 7, epoch: 1, repeats: 1 }, [0, 0], 1, 0);
        for range in [[-0.3, 0.3], [0.5, 2.0], [-1.0, -0.25]] {
            let values: Vec<f32> = (0..8000).map(|_| draw.within(range)).collect();
            assert!(values.iter().all(|value| (range[0]..=range[1]).contains(value)));
            let (middle, width) = ((range[0] + range[1]) / 2.0, range[1] - range[0]);
            let mean = values.iter().sum::<f32>() / 8000.0 - middle;
            let variance = values.iter().map(|value| (value - middle).powi(2)).sum::<f32>() / 8000.0;
            assert!(mean.abs() < 0.02 * width, "{mean} {range:?}");
            assert!((variance * 12.0 / (width * width) - 1.0).abs() < 0.05, "{variance} {range:?}");
        }
        let mut counts = [0; 5];
        (0..5000).for_each(|_| counts[draw.below(5) as usize] += 1);
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        let normal: Vec<f64> = (0..8000).map(|_| draw.normal()).collect();
        let moment = |power| normal.iter().map(|x| x.powi(power)).sum::<f64>() / 8000.0;
        assert!(moment(1).abs() < 0.04 && (moment(2) - 1.0).abs() < 0.05 && (moment(4) - 3.0).abs() < 0.4);
        let heads = (0..4000).filter(|_| draw.coin()).count();
        let chances = (0..4000).filter(|_| draw.chance(0.25)).count();
        assert!((1880..2120).contains(&heads) && (900..1100).contains(&chances), "{heads} {chances}");
    }
}
