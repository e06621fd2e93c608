//! Rectangles of images that are painted over.

use std::sync::LazyLock;

use crate::random::Philox;

/// With what a rectangle is painted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Paint {
    /// Zeros of the normalised image: the mean of the data.
    Mean = 1,
    /// One value of the standard normal distribution for each channel.
    Colour = 2,
    /// One for each pixel and channel.
    Noise = 3,
}

/// What is drawn for an image of which a rectangle is painted over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Erasure {
    paint: u32,
    /// Top, left, bottom and right, in pixels; the last two are outside.
    rectangle: [u32; 4],
    /// Of the Philox generator that draws the paint: value `i` of the image has word `i % 4` of block `i / 4`.
    key: [u32; 2],
}

/// Half of the numbers that stand for the standard normal distribution: its quantiles in the middle of 4,096 equal parts of
/// what is above 0. A table, so that a device paints the same bits.
pub const NORMAL: usize = 4096;

static QUANTILES: LazyLock<Vec<f32>> = LazyLock::new(|| {
    (0..NORMAL).map(|part| quantile(0.5 + (part as f64 + 0.5) / (2 * NORMAL) as f64) as f32).collect()
});

/// [`NORMAL`] numbers of the standard normal distribution that are above 0, each as likely.
pub fn quantiles() -> &'static [f32] {
    &QUANTILES
}

/// A number of the standard normal distribution by a random word: 12 bits for the size, and one for the sign.
fn normal(quantiles: &[f32], word: u32) -> f32 {
    let size = quantiles[(word >> 20) as usize];
    if word >> 19 & 1 == 1 { -size } else { size }
}

impl Erasure {
    /// The image as it is.
    pub const NONE: Self = Self { paint: 0, rectangle: [0; 4], key: [0; 2] };

    /// Words of a row.
    pub const WORDS: usize = 7;

    /// A rectangle and how it is painted; `key` is two random words.
    pub fn new(paint: Paint, rectangle: [u32; 4], key: [u32; 2]) -> Self {
        Self { paint: paint as u32, rectangle, key }
    }

    #[cfg(test)]
    pub(crate) fn rectangle(&self) -> [u32; 4] {
        self.rectangle
    }

    pub(super) fn words(&self) -> [u32; Self::WORDS] {
        let ([top, left, bottom, right], [low, high]) = (self.rectangle, self.key);
        [self.paint, top, left, bottom, right, low, high]
    }

    pub(super) fn get(row: &[u32]) -> Self {
        Self { paint: row[0], rectangle: [row[1], row[2], row[3], row[4]], key: [row[5], row[6]] }
    }

    /// Paints over a rectangle of an image `[height, width, channels]`.
    pub(super) fn apply(&self, image: &mut [f32], [_, width, channels]: [usize; 3]) {
        let [top, left, bottom, right] = self.rectangle.map(|edge| edge as usize);
        let quantiles = quantiles();
        let philox = Philox { key: self.key };
        let (mut block, mut words) = (u32::MAX, [0; 4]);
        for y in top..bottom {
            let row = (y * width + left) * channels..(y * width + right) * channels;
            for (at, value) in row.clone().zip(&mut image[row]) {
                let number = match self.paint {
                    paint if paint == Paint::Mean as u32 => {
                        *value = 0.0;
                        continue;
                    }
                    paint if paint == Paint::Colour as u32 => at % channels,
                    _ => at,
                } as u32;
                if number / 4 != block {
                    block = number / 4;
                    words = philox.block([block, 0, 0, 0]);
                }
                *value = normal(quantiles, words[(number % 4) as usize]);
            }
        }
    }
}

/// The number below which so much of the standard normal distribution lies: Wichura, "Algorithm AS 241: The Percentage
/// Points of the Normal Distribution", 1988 (PPND16), to 16 digits. `p` lies between 0 and 1.
fn quantile(p: f64) -> f64 {
    const CENTRE: [[f64; 8]; 2] = [
        [
            3.387_132_872_796_366_6,
            133.141_667_891_784_38,
            1_971.590_950_306_551_3,
            13_731.693_765_509_46,
            45_921.953_931_549_87,
            67_265.770_927_008_7,
            33_430.575_583_588_13,
            2_509.080_928_730_122_7,
        ],
        [
            1.0,
            42.313_330_701_600_91,
            687.187_007_492_057_9,
            5_394.196_021_424_751,
            21_213.794_301_586_597,
            39_307.895_800_092_71,
            28_729.085_735_721_943,
            5_226.495_278_852_545,
        ],
    ];
    const MIDDLE: [[f64; 8]; 2] = [
        [
            1.423_437_110_749_683_5,
            4.630_337_846_156_546,
            5.769_497_221_460_691,
            3.647_848_324_763_204_5,
            1.270_458_252_452_368_4,
            0.241_780_725_177_450_6,
            0.022_723_844_989_269_184,
            7.745_450_142_783_414e-4,
        ],
        [
            1.0,
            2.053_191_626_637_759,
            1.676_384_830_183_803_8,
            0.689_767_334_985_1,
            0.148_103_976_427_480_08,
            0.015_198_666_563_616_457,
            5.475_938_084_995_345e-4,
            1.050_750_071_644_416_9e-9,
        ],
    ];
    let ratio = |[top, bottom]: &[[f64; 8]; 2], x: f64| {
        let value = |terms: &[f64; 8]| terms.iter().rev().fold(0.0, |sum, term| sum * x + term);
        value(top) / value(bottom)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&CENTRE, 0.180_625 - q * q);
    }
    // Of the last 1.4e-11 of the distribution, AS 241 has a third form.
    let r = (-(0.5 - q.abs()).ln()).sqrt();
    let size = ratio(&MIDDLE, r - 1.6);
    if q < 0.0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        // Of scipy.stats.norm.ppf.
        for (p, expected) in [
            (0.5, 0.0),
            (0.6, 0.253_347_103_135_799_7),
            (0.9, 1.281_551_565_544_600_4),
            (0.95, 1.644_853_626_951_472_2),
            (0.999, 3.090_232_306_167_813),
            (0.000_1, -3.719_016_485_455_680_4),
        ] {
            assert!((quantile(p) - expected).abs() < 1e-13, "{p}: {}", quantile(p));
        }
        assert!(quantiles().is_sorted() && quantiles().len() == NORMAL && quantiles()[0] > 0.0);
        let variance = quantiles().iter().map(|x| f64::from(x * x)).sum::<f64>() / NORMAL as f64;
        assert!((variance - 1.0).abs() < 1e-3, "{variance}");
    }

    #[test]
    fn paints_inside_of_the_rectangle_alone() {
        let shape = [6, 5, 3];
        for paint in [Paint::Mean, Paint::Colour, Paint::Noise] {
            let mut image = vec![9.0; 90];
            Erasure::new(paint, [1, 2, 5, 4], [7, 8]).apply(&mut image, shape);
            let mut colours = std::collections::HashSet::new();
            for (at, value) in image.iter().enumerate() {
                let (y, x) = (at / 15, at / 3 % 5);
                let inside = (1..5).contains(&y) && (2..4).contains(&x);
                assert_eq!(*value != 9.0, inside, "{y} {x}");
                if inside {
                    colours.insert((at % 3, value.to_bits()));
                }
            }
            let expected = [(Paint::Mean, 3), (Paint::Colour, 3), (Paint::Noise, 24)];
            let (_, expected) = expected.into_iter().find(|(other, _)| *other == paint).unwrap();
            assert_eq!(colours.len(), expected, "{paint:?}");
        }
        let mut image = vec![9.0; 90];
        Erasure::NONE.apply(&mut image, shape);
        assert_eq!(image, [9.0; 90]);
    }

    #[test]
    fn noise_is_normal() {
        let mut image = vec![0.0; 64 * 64 * 3];
        Erasure::new(Paint::Noise, [0, 0, 64, 64], [1, 2]).apply(&mut image, [64, 64, 3]);
        let moment = |power| image.iter().map(|x| f64::from(*x).powi(power)).sum::<f64>() / 12_288.0;
        assert!(moment(1).abs() < 0.03 && (moment(2) - 1.0).abs() < 0.04 && (moment(4) - 3.0).abs() < 0.25);
    }
}
