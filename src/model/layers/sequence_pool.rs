use super::{Inputs, Layer, LayerKind, ParameterSpec, flops, glorot, initializers, tokens};
use crate::graph::{Builder, Initializer, Value, expression::Expression, ops::Operand};

/// `sequence_pool`: the mean of the tokens, weighted by the softmax of a learned score of each: Hassani et al. 2021.
pub const KIND: LayerKind = LayerKind {
    name: "sequence_pool",
    meaning: "the mean of the tokens, weighted by the softmax of a learned score of each",
    shape: "`[tokens, dim]` to `[dim]`",
    source: "CCT, Hassani et al. 2021; the Keras example's `SequencePooling`",
    inputs: Inputs::Current,
    arguments: &[initializers::KERNEL],
    build: |_, shapes, _| {
        let (tokens, dim) = tokens("sequence_pool", shapes)?;
        Ok(Box::new(SequencePool { tokens, dim }))
    },
};

#[derive(Debug)]
struct SequencePool {
    tokens: usize,
    dim: usize,
}

impl Layer for SequencePool {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.dim]
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let kernel = [self.dim, 1];
        vec![
            ParameterSpec::plain("kernel", &kernel, glorot(&kernel)),
            ParameterSpec::plain("bias", &[1], Initializer::Zeros),
        ]
    }

    fn largest(&self) -> usize {
        self.tokens.saturating_mul(self.dim)
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn flops(&self) -> u64 {
        flops(&[2, 2, self.tokens, self.dim])
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let x = &inputs[0];
        let scores = builder.dense(x, &parameters[0], Some(&parameters[1]));
        let scores = builder.reshape(&scores, &[x.shape[0], self.tokens]);
        let weights = builder.softmax(&scores);
        let spread = builder.spread(&weights, 2, self.dim);
        // The spread weight is a share of the weight, and the mean over tokens one of the sum.
        let factor = self.tokens as f32 * self.dim as f32;
        let weighted = Expression::new(2, |x| &x[0] * &x[1] * factor);
        let weighted = builder.pointwise("weight", weighted, &[(x, Operand::Whole), (&spread, Operand::Whole)]);
        builder.mean(&weighted, 1)
    }
}
