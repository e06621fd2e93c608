use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, ParameterSpec, last_axis};
use crate::graph::{Builder, Initializer, Value};

/// `layer_norm(epsilon = 1e-6)`: over the last axis, Ba et al. 2016. The default is that of ViT;
/// Keras' own is 1e-3.
pub const KIND: LayerKind = LayerKind {
    name: "layer_norm",
    meaning: "mean 0 and variance 1 over the last axis, then a learned scale and offset",
    shape: "any to itself",
    source: "`keras.layers.LayerNormalization`, with the epsilon of ViT",
    inputs: Inputs::Current,
    arguments: &[Argument::optional("epsilon", Kind::Positive, Default::Float(1e-6))],
    build: |_, shapes, arguments| {
        let (shape, dim) = last_axis("layer_norm", shapes)?;
        Ok(Box::new(LayerNorm { shape, dim, epsilon: arguments.number("epsilon") }))
    },
};

#[derive(Debug)]
struct LayerNorm {
    shape: Vec<usize>,
    dim: usize,
    epsilon: f32,
}

impl Layer for LayerNorm {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![
            ParameterSpec::plain("gamma", &[self.dim], Initializer::Ones),
            ParameterSpec::plain("beta", &[self.dim], Initializer::Zeros),
        ]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        builder.layer_norm(&inputs[0], &parameters[0], &parameters[1], self.epsilon)
    }
}
