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
    Zeros,
    Ones,
    /// Uniform in `[-limit, limit)`, as `keras.initializers.RandomUniform`.
    Uniform {
        limit: f32,
    },
    /// `keras.initializers.GlorotUniform`: limit `sqrt(6 / (fan_in + fan_out))`, Glorot & Bengio 2010.
    GlorotUniform {
        fan_in: usize,
        fan_out: usize,
    },
}

/// Values of a Philox block.
const DRAW: usize = 4;
/// Values that a thread draws at a time.
const RUN: usize = 1 << 16;

impl Initializer {
    /// Fills `values`, drawing from the counter-based stream of `(seed, parameter)`, so that a
    /// parameter's start does not depend on which parameters come before it.
    pub fn fill(&self, seed: u64, parameter: u32, values: &mut [f32]) {
        self.fill_runs(seed, parameter, values, RUN, |run| run * RUN);
    }

    /// As [`Initializer::fill`], for values that do not lie in their order: they are runs of `length`, at most
    /// [`RUN`], of which each begins with the element that `first` tells.
    ///
    /// # Panics
    /// Unless runs are whole draws, of four values each, and [`RUN`] is whole runs.
    pub fn fill_runs(
        &self,
        seed: u64,
        parameter: u32,
        values: &mut [f32],
        length: usize,
        first: impl Fn(usize) -> usize + Sync,
    ) {
        let limit = match *self {
            Self::Zeros => return values.fill(0.0),
            Self::Ones => return values.fill(1.0),
            Self::Uniform { limit } => limit,
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
                philox.units(&[low, high, [parameter; MANY], [0; MANY]], &mut units);
                for (value, unit) in values.iter_mut().zip(units.as_flattened()) {
                    *value = limit * (2.0 * unit - 1.0);
                }
            }
        };
        if threads::together(|| values.par_chunks_mut(RUN).enumerate().for_each(draw)).is_err() {
            // No thread can be started.
            values.chunks_mut(RUN).enumerate().for_each(draw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
