use std::any::Any;

use crate::graph::{Builder, Gradients, Operation, Value};

/// Adds the gradient of a micro-batch to the sum of those before it. Inputs the sum and the gradient, of one shape.
///
/// Without an end the output is the sum with it. At the end of so many micro-batches the outputs are 0, with which the
/// next sum begins, and the mean of all gradients: `(sum + gradient) / n`, which updates take. Backends write the first
/// output in place. `gradient_accumulation_steps` of Keras' optimizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accumulate {
    /// How many micro-batches the last one ends.
    pub ends: Option<u32>,
}

impl Accumulate {
    /// The name of the sum among what is kept of a parameter.
    pub const SLOT: &'static str = "gradient_accumulator";

    /// What the whole sum is multiplied by, if it ends.
    pub fn share(self) -> Option<f32> {
        self.ends.map(|count| 1.0 / count as f32)
    }
}

impl Operation for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.ends.map(|count| ("ends", count.to_string())).into_iter().collect()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        assert_eq!(inputs[0], inputs[1], "accumulate");
        vec![inputs[0].to_vec(); 1 + usize::from(self.ends.is_some())]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![None; site.inputs.len()]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let sum = builder.prim_add(&inputs[0], &inputs[1]);
        match self.share() {
            None => vec![sum],
            Some(share) => vec![builder.prim_affine(&sum, 0.0, 0.0), builder.prim_affine(&sum, share, 0.0)],
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
