mod orthogonal;

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
    /// Normal around 0, as `keras.initializers.RandomNormal`.
    Normal {
        /// Of the distribution.
        stddev: f32,
    },
    /// Of orthogonal columns, or rows, of this length, as `keras.initializers.Orthogonal`.
    Orthogonal {
        /// The length.
        gain: f32,
        /// The product of all axes but the last.
        rows: usize,
        /// The last axis.
        columns: usize,
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
        let (mut normal, mut center) = (None::<(f32, fn(f32) -> f32)>, None);
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
                normal = Some((given, truncated_normal));
                0.0
            }
            Self::Normal { stddev } => {
                normal = Some((stddev, standard_normal));
                0.0
            }
            Self::Orthogonal { gain, rows, columns } => {
                let mut matrix = vec![0.0; values.len()];
                threads::together(|| orthogonal::fill(gain, [rows, columns], seed, address, &mut matrix));
                for (run, values) in values.chunks_mut(length).enumerate() {
                    values.copy_from_slice(&matrix[first(run)..][..values.len()]);
                }
                return;
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
                    *value = match (normal, center) {
                        (Some((stddev, standard)), _) => stddev * standard(*unit),
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
    /// The share of a normal distribution below -2.
    const BELOW: f64 = 0.022750131948179212;
    middle((f64::from(unit) - 0.5) * (1.0 - 2.0 * BELOW)) as f32
}

/// The value below which a normal distribution has the share `unit`, by the same approximation.
fn standard_normal(unit: f32) -> f32 {
    const C: [f64; 6] = [
        -7.784894002430293e-03,
        -3.223964580411365e-01,
        -2.400758277161838e+00,
        -2.549732539343734e+00,
        4.374664141464968e+00,
        2.938163982698783e+00,
    ];
    const D: [f64; 5] =
        [7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00, 1.0];
    /// Where the tails begin.
    const TAIL: f64 = 0.02425;
    // In the middle of the numbers that are drawn alike: none of the ends is infinitely far.
    let share = f64::from(unit).mul_add(1.0 - 1.0 / 8_388_608.0, 1.0 / 16_777_216.0);
    let from_end = share.min(1.0 - share);
    if from_end >= TAIL {
        return middle(share - 0.5) as f32;
    }
    let q = (-2.0 * logarithm(from_end)).sqrt();
    let at_q = |polynomial: &[f64]| polynomial.iter().fold(0.0, |sum, coefficient| sum * q + coefficient);
    let below = at_q(&C) / at_q(&D);
    (if share < 0.5 { below } else { -below }) as f32
}

/// The natural logarithm of a normal number, by its exponent and the series of the area tangent: no function of the
/// platform's.
fn logarithm(x: f64) -> f64 {
    let bits = x.to_bits();
    let (mut exponent, mut mantissa) =
        ((bits >> 52) as i64 - 1023, f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000));
    if mantissa > std::f64::consts::SQRT_2 {
        (exponent, mantissa) = (exponent + 1, mantissa / 2.0);
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..12).rev().fold(0.0, |sum, term| sum * (s * s) + 1.0 / f64::from(2 * term + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * series
}

/// The value below which a normal distribution has the share `0.5 + q`, between its tails.
fn middle(q: f64) -> f64 {
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
    let r = q * q;
    let at_r = |polynomial: [f64; 6]| polynomial.into_iter().fold(0.0, |sum, coefficient| sum * r + coefficient);
    q * at_r(A) / at_r(B)
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
    fn a_normal_has_its_tails() {
        // The inverse of the normal distribution, of another program.
        for (unit, expected) in
            [(0.5, 0.0), (0.25, -0.674_489_8), (0.9, 1.281_551_6), (0.001, -3.090_232), (0.99, 2.326_348)]
        {
            assert!((standard_normal(unit) - expected).abs() < 2e-5, "{unit}: {}", standard_normal(unit));
        }
        assert!(standard_normal(0.0) < -5.0 && standard_normal(0.0) > -6.0, "{}", standard_normal(0.0));
        assert!(standard_normal(1.0).is_finite());
        for x in [1e-8, 0.02, 0.3, 1.0, 1.5, 7.0] {
            assert!((logarithm(x) - x.ln()).abs() <= 1e-14 * (1.0 + x.ln().abs()), "{x}: {}", logarithm(x));
        }
        let mut values = vec![0.0; 100_000];
        Initializer::Normal { stddev: 0.02 }.fill(3, 1, &mut values);
        let mean = |power: i32| values.iter().map(|v| f64::from(v / 0.02).powi(power)).sum::<f64>() / 1e5;
        assert!(mean(1).abs() < 0.02 && (mean(2) - 1.0).abs() < 0.02 && (mean(4) - 3.0).abs() < 0.1, "{}", mean(4));
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
