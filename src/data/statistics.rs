//! Mean and variance of each channel: what Keras' `Normalization` layer adapts to.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Broken, DataError, Decoding, Images, Place, Split};
use crate::threads;

/// Per-channel statistics of byte pixels, in units of 0 to 255. Variance is the population's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// `[channels]`
    pub mean: Vec<f64>,
    /// `[channels]`
    pub variance: Vec<f64>,
}

/// Mean and deviation of each channel as recipes have them, of pixels from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// `[channels]`, from 0 to 1.
    pub mean: Vec<f64>,
    /// `[channels]`, above 0, at most 1.
    pub deviation: Vec<f64>,
}

impl Normalization {
    /// In units of bytes.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            mean: self.mean.iter().map(|mean| mean * 255.0).collect(),
            variance: self.deviation.iter().map(|deviation| (deviation * 255.0).powi(2)).collect(),
        }
    }

    /// A key with what cannot be in it.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let outside = |values: &[f64], fits: fn(f64) -> bool| values.iter().copied().find(|value| !fits(*value));
        if let Some(value) = outside(&self.mean, |mean| (0.0..=1.0).contains(&mean)) {
            return Some(("mean", format!("a mean is {value}, must be from 0 to 1: of pixels from 0 to 1, not 255")));
        }
        let value = outside(&self.deviation, |deviation| deviation > 0.0 && deviation <= 1.0)?;
        Some((
            "deviation",
            format!("a deviation is {value}, must be above 0, at most 1: of pixels from 0 to 1, not 255"),
        ))
    }

    /// What cannot be of images with so many channels.
    pub fn fault_of_channels(&self, channels: usize) -> Option<String> {
        let Self { mean, deviation } = self;
        let (means, deviations) = (mean.len(), deviation.len());
        (means != channels || deviations != channels).then(|| {
            format!("{means} of `mean` and {deviations} of `deviation` for images of {channels}: one for each channel")
        })
    }
}

impl Statistics {
    /// Statistics over all pixels of a split. Sums of bytes and of their squares are integers, so
    /// the result is exact but for the last division, whatever the order.
    ///
    /// # Errors
    /// An empty split has none, and pictures that cannot be read.
    pub fn of(split: &Split, channels: usize) -> Result<Self, DataError> {
        if split.is_empty() || channels == 0 {
            return Err(DataError::Invalid {
                message: "no images to take mean and variance of".into(),
                help: "the training split is empty: raise its limit".into(),
            });
        }
        let Sums { sums, squares, count } = match &split.images {
            Images::Memory(pixels) => Sums::of(pixels, channels),
            Images::Files(paths, decoding) => Sums::of_files(paths, *decoding)?,
        };
        let mean = sums.iter().map(|&sum| sum as f64 / count as f64).collect();
        let variance = sums
            .iter()
            .zip(&squares)
            .map(|(&sum, &square)| {
                let (count, sum) = (u128::from(count), u128::from(sum));
                (count * u128::from(square) - sum * sum) as f64 / (count * count) as f64
            })
            .collect();
        Ok(Self { mean, variance })
    }

    /// What cannot be of bytes with so many channels.
    pub fn fault(&self, channels: usize) -> Option<String> {
        let Self { mean, variance } = self;
        if mean.len() != channels || variance.len() != channels {
            return Some(format!(
                "`statistics` are of {} and {} channels, expected {channels}",
                mean.len(),
                variance.len()
            ));
        }
        let outside = |values: &[f64], most: f64| values.iter().copied().find(|value| !(0.0..=most).contains(value));
        let mean = outside(mean, 255.0).map(|value| format!("a mean of {value:?}, expected 0 to 255"));
        // Those of data are at most a quarter of it: half of all bytes 0 and half 255.
        mean.or_else(|| {
            let value = outside(variance, 255.0 * 255.0)?;
            Some(format!("a variance of {value:?}, expected 0 to 65025"))
        })
    }

    /// Standard deviation by which channel `channel` is divided: at least Keras' epsilon 1e-7.
    pub fn deviation(&self, channel: usize) -> f64 {
        self.variance[channel].sqrt().max(1e-7)
    }
}

/// Sums over pixels, of each channel.
struct Sums {
    sums: Vec<u64>,
    squares: Vec<u64>,
    /// Pixels.
    count: u64,
}

impl Sums {
    fn of(pixels: &[u8], channels: usize) -> Self {
        let (mut sums, mut squares) = (vec![0u64; channels], vec![0u64; channels]);
        for pixel in pixels.chunks_exact(channels) {
            for ((sum, square), &value) in sums.iter_mut().zip(&mut squares).zip(pixel) {
                *sum += u64::from(value);
                *square += u64::from(value) * u64::from(value);
            }
        }
        Self { sums, squares, count: (pixels.len() / channels) as u64 }
    }

    /// Decodes all pictures, on all threads.
    fn of_files(paths: &[Place], decoding: Decoding) -> Result<Self, DataError> {
        let one = |place: &Place| match decoding.read(place) {
            Ok(pixels) => Ok(Self::of(&pixels, decoding.channels)),
            Err(reason) => Err(vec![Broken { name: place.to_string(), reason }]),
        };
        let none = || Ok(Self::of(&[], decoding.channels));
        let both = |a: Result<Self, Vec<Broken>>, b: Result<Self, Vec<Broken>>| match (a, b) {
            (Ok(a), Ok(b)) => Ok(a.and(&b)),
            (Err(a), Err(b)) => Err([a, b].concat()),
            (Err(broken), Ok(_)) | (Ok(_), Err(broken)) => Err(broken),
        };
        let found = threads::together(|| paths.par_iter().map(one).reduce(none, both));
        found.map_err(|broken| DataError::Pictures {
            folder: None,
            total: paths.len(),
            broken,
            help: "repair, convert or remove these files, or set `data.skip_broken: true` to leave them out".into(),
        })
    }

    fn and(mut self, other: &Self) -> Self {
        let add = |own: &mut Vec<u64>, other: &[u64]| own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        add(&mut self.sums, &other.sums);
        add(&mut self.squares, &other.squares);
        self.count += other.count;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_normalization_is_in_units_of_one() {
        let given = Normalization { mean: vec![0.5, 0.0], deviation: vec![0.25, 1.0] };
        assert_eq!((given.fault(), given.fault_of_channels(2)), (None, None));
        let statistics = given.statistics();
        assert_eq!((statistics.mean[0], statistics.deviation(0), statistics.deviation(1)), (127.5, 63.75, 255.0));
        assert_eq!(statistics.fault(2), None);
    }

    #[test]
    fn two_channels_by_hand() {
        let split = Split::new(vec![0, 10, 2, 10, 4, 10, 6, 10], vec![0, 1]);
        let statistics = Statistics::of(&split, 2).unwrap();
        assert_eq!(statistics, Statistics { mean: vec![3.0, 10.0], variance: vec![5.0, 0.0] });
        assert_eq!(statistics.deviation(1), 1e-7);
        assert!(Statistics::of(&Split::new(vec![], vec![]), 1).is_err());
    }
}
