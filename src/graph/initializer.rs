use serde::{Deserialize, Serialize};

use rayon::prelude::*;

use crate::random::{Philox, Stream};

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

/// Philox blocks that a thread draws at a time.
const TASK: usize = 1 << 14;

impl Initializer {
    /// Fills `values`, drawing from the counter-based stream of `(seed, parameter)`, so that a
    /// parameter's start does not depend on which parameters come before it.
    pub fn fill(&self, seed: u64, parameter: u32, values: &mut [f32]) {
        let limit = match *self {
            Self::Zeros => return values.fill(0.0),
            Self::Ones => return values.fill(1.0),
            Self::Uniform { limit } => limit,
            Self::GlorotUniform { fan_in, fan_out } => (6.0 / (fan_in + fan_out).max(1) as f32).sqrt(),
        };
        let philox = Philox::new(seed, Stream::Initializer);
        // Where a block is decides what it holds: threads share the work, and change nothing.
        values.par_chunks_mut(4 * TASK).enumerate().for_each(|(task, values)| {
            for (block, chunk) in values.chunks_mut(4).enumerate() {
                let block = (task * TASK + block) as u64;
                let draws = philox.block([block as u32, (block >> 32) as u32, parameter, 0]);
                for (value, draw) in chunk.iter_mut().zip(draws) {
                    *value = limit * (2.0 * crate::random::unit(draw) - 1.0);
                }
            }
        });
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
}
