use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, ParameterSpec, last_axis};
use crate::graph::{Builder, Initializer, Value, expression::Expression, ops::Operand};

/// `rms_norm(epsilon = 1e-6)`: `x / sqrt(mean(x²) + epsilon)` over the last axis, times a learned factor: Zhang &
/// Sennrich 2019.
pub const KIND: LayerKind = LayerKind {
    name: "rms_norm",
    meaning: "mean square 1 over the last axis, then a learned scale",
    shape: "any to itself",
    source: "`keras.layers.RMSNormalization`",
    inputs: Inputs::Current,
    arguments: &[Argument::optional("epsilon", Kind::Positive, Default::Float(1e-6))],
    build: |_, shapes, arguments| {
        let (shape, dim) = last_axis("rms_norm", shapes)?;
        Ok(Box::new(RmsNorm { shape, dim, epsilon: arguments.number("epsilon") }))
    },
};

#[derive(Debug)]
struct RmsNorm {
    shape: Vec<usize>,
    dim: usize,
    epsilon: f32,
}

impl Layer for RmsNorm {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![ParameterSpec::plain("scale", &[self.dim], Initializer::Ones)]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        lower(builder, &inputs[0], &parameters[0], self.epsilon)
    }
}

/// Of the last axis, times a factor `[last]`.
pub fn lower(builder: &mut Builder, x: &Value, factor: &Value, epsilon: f32) -> Value {
    let axis = x.shape.len() - 1;
    let square = builder.pointwise("square", Expression::new(1, |x| &x[0] * &x[0]), &[(x, Operand::Whole)]);
    let mean = builder.mean(&square, axis);
    // A share of the mean at each place: as many times it as there are places is the mean.
    let spread = builder.spread(&mean, axis, x.last());
    let places = x.last() as f32;
    let norm = Expression::new(3, |x| &x[0] * (&x[1] * places + epsilon).sqrt().reciprocal() * &x[2]);
    let operands = [(x, Operand::Whole), (&spread, Operand::Whole), (factor, Operand::Shared)];
    builder.pointwise(KIND.name, norm, &operands)
}
