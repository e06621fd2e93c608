use serde::{Deserialize, Serialize};

use rayon::prelude::*;

use crate::{
    random::{MANY, Philox, Stream},
    threads,
};

/// How a parameter starts. Names and formulas are Keras'.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initializer {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// `keras.initializers.Constant`.
    Constant {
        /// Of every element.
        value: f32,
    },
    /// Uniform in `[-limit, limit)`.
    Uniform {
        /// The distance of both ends from 0.
        limit: f32,
    },
    /// Uniform in `[low, high)`, as `keras.initializers.RandomUniform`.
    Between {
        /// Included.
        low: f32,
        /// Not included.
        high: f32,
    },
    /// Normal around 0, cut off at two standard deviations, as `keras.initializers.TruncatedNormal`.
    TruncatedNormal {
        /// Of the distribution before it is cut off.
        stddev: f32,
    },
    /// `keras.initializers.GlorotUniform`: limit `sqrt(6 / (fan_in + fan_out))`, Glorot & Bengio 2010.
    GlorotUniform {
        /// Inputs of an output.
        fan_in: usize,
        /// Outputs of an input.
        fan_out: usize,
    },
}

/// Values of a Philox block.
const DRAW: usize = 4;
/// Values that a thread draws at a time.
const RUN: usize = 1 << 16;

impl Initializer {
    /// Fills `values`, drawing from the counter-based stream of `(seed, address)`, so that a
    /// parameter's start does not depend on which others there are; see [`Parameter::address`](super::Parameter::address).
    pub fn fill(&self, seed: u64, address: u64, values: &mut [f32]) {
        self.fill_runs(seed, address, values, RUN, |run| run * RUN);
    }

    /// As [`Initializer::fill`], for values that do not lie in their order: they are runs of `length`, at most
    /// [`RUN`], of which each begins with the element that `first` tells.
    ///
    /// # Panics
    /// Unless runs are whole draws, of four values each, and [`RUN`] is whole runs.
    pub fn fill_runs(
        &self,
        seed: u64,
        address: u64,
        values: &mut [f32],
        length: usize,
        first: impl Fn(usize) -> usize + Sync,
    ) {
        let (mut stddev, mut center) = (None, None);
        let limit = match *self {
            Self::Zeros => return values.fill(0.0),
            Self::Ones => return values.fill(1.0),
            Self::Constant { value } => return values.fill(value),
            Self::Uniform { limit } => limit,
            Self::Between { low, high } => {
                center = Some(low / 2.0 + high / 2.0);
                high / 2.0 - low / 2.0
            }
            Self::TruncatedNormal { stddev: given } => {
                stddev = Some(given);
                0.0
            }
            Self::GlorotUniform { fan_in, fan_out } => (6.0 / (fan_in + fan_out).max(1) as f32).sqrt(),
        };
        assert!(length.is_multiple_of(DRAW) && RUN.is_multiple_of(length), "runs of {length} values");
        let philox = Philox::new(seed, Stream::Initializer);
        // Where a value is decides what it is: threads share the work, and change nothing.
        let draw = |(task, values): (usize, &mut [f32])| {
            let (mut run, mut place) = (task * (RUN / length), 0);
            let mut begin = first(run);
            for values in values.chunks_mut(DRAW * MANY) {
                let mut blocks = [0; MANY];
                for block in &mut blocks[..values.len().div_ceil(DRAW)] {
                    if place == length {
                        (run, place) = (run + 1, 0);
                        begin = first(run);
                    }
                    *block = ((begin + place) / DRAW) as u64;
                    place += DRAW;
                }
                let (low, high) = (blocks.map(|block| block as u32), blocks.map(|block| (block >> 32) as u32));
                let mut units = [[0.0; DRAW]; MANY];
                philox.units(&[low, high, [address as u32; MANY], [(address >> 32) as u32; MANY]], &mut units);
                for (value, unit) in values.iter_mut().zip(units.as_flattened()) {
                    *value = match (stddev, center) {
                        (Some(stddev), _) => stddev * truncated_normal(*unit),
                        (None, Some(center)) => center + limit * (2.0 * unit - 1.0),
                        (None, None) => limit * (2.0 * unit - 1.0),
                    };
                }
            }
        };
        threads::together(|| values.par_chunks_mut(RUN).enumerate().for_each(draw));
    }
}

/// The value below which a normal distribution that is cut off at two standard deviations has the share `unit`:
/// Acklam's rational approximation of the inverse, to within 1e-7. It takes no function of the platform's, so that its
/// bits are the same everywhere.
fn truncated_normal(unit: f32) -> f32 {
    const A: [f64; 6] = [
        -3.969683028665376e+01,
        2.209460984245205e+02,
        -2.759285104469687e+02,
        1.38357751867269e+02,
        -3.066479806614716e+01,
        2.506628277459239e+00,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e+01,
        1.615858368580409e+02,
        -1.556989798598866e+02,
        6.680131188771972e+01,
        -1.328068155288572e+01,
        1.0,
    ];
    /// The share of a normal distribution below -2.
    const BELOW: f64 = 0.022750131948179212;
    let q = (f64::from(unit) - 0.5) * (1.0 - 2.0 * BELOW);
    let r = q * q;
    let at_r = |polynomial: [f64; 6]| polynomial.into_iter().fold(0.0, |sum, coefficient| sum * r + coefficient);
    (q * at_r(A) / at_r(B)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_normal_has_its_shape() {
        // The inverse of the normal distribution, of another program.
        for (unit, expected) in [(0.5, 0.0), (0.25, -0.639_111_9), (0.9, 1.184_032_4), (0.0, -2.0), (1.0, 2.0)] {
            assert!((truncated_normal(unit) - expected).abs() < 1e-6, "{unit}: {}", truncated_normal(unit));
        }
        let mut values = vec![0.0; 40_000];
        Initializer::TruncatedNormal { stddev: 0.02 }.fill(3, 1, &mut values);
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        // Of the variance, the ends take more than a fifth away.
        assert!((variance / (0.7737 * 0.02 * 0.02) - 1.0).abs() < 0.02, "{variance}");
        assert!(values.iter().all(|v| v.abs() <= 0.02 * 2.0));
    }

    #[test]
    fn glorot_has_the_variance_of_its_formula() {
        let mut values = vec![0.0; 40_000];
        Initializer::GlorotUniform { fan_in: 64, fan_out: 128 }.fill(3, 1, &mut values);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 2e-3, "{mean}");
        assert!((variance / (2.0 / 192.0) - 1.0).abs() < 0.02, "{variance}");
    }

    #[test]
    fn parameters_draw_from_different_streams() {
        let init = Initializer::Uniform { limit: 0.05 };
        let (mut a, mut b) = ([0.0; 9], [0.0; 9]);
        init.fill(3, 1, &mut a);
        init.fill(3, 2, &mut b);
        assert_ne!(a, b);
        assert!(a.iter().all(|v| v.abs() <= 0.05));
    }

    #[test]
    fn runs_are_where_they_are_said_to_be() {
        let init = Initializer::Uniform { limit: 0.05 };
        let mut values = vec![0.0; RUN + 64];
        init.fill(3, 1, &mut values);
        let mut reversed = vec![0.0; RUN + 64];
        let runs = reversed.len() / 32;
        init.fill_runs(3, 1, &mut reversed, 32, |run| (runs - 1 - run) * 32);
        assert!(values.chunks(32).eq(reversed.chunks(32).rev()));
    }
}
