use super::{Argument, Inputs, Kind, Layer, LayerKind, ParameterSpec, flops, glorot, initializers, tokens};
use crate::graph::{Builder, Initializer, Value};

/// `patch_encoder(dim)`: a dense projection of each patch plus a learned position embedding,
/// uniform in ±0.05 at the start as `keras.layers.Embedding`.
pub const KIND: LayerKind = LayerKind {
    name: "patch_encoder",
    meaning: "a linear map of each patch, plus a learned embedding of its position",
    shape: "`[tokens, n]` to `[tokens, dim]`",
    source: "the Keras example's `PatchEncoder`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("dim", Kind::Size), initializers::KERNEL],
    build: |_, shapes, arguments| {
        let (tokens, width) = tokens("patch_encoder", shapes)?;
        Ok(Box::new(PatchEncoder { tokens, width, dim: arguments.size("dim") }))
    },
};

#[derive(Debug)]
struct PatchEncoder {
    tokens: usize,
    width: usize,
    dim: usize,
}

impl Layer for PatchEncoder {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.tokens, self.dim]
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let kernel = [self.width, self.dim];
        vec![
            ParameterSpec::plain("projection/kernel", &kernel, glorot(&kernel)),
            ParameterSpec::plain("projection/bias", &[self.dim], Initializer::Zeros),
            ParameterSpec::plain("position/embeddings", &[self.tokens, self.dim], Initializer::Uniform { limit: 0.05 }),
        ]
    }

    fn flops(&self) -> u64 {
        flops(&[2, self.tokens, self.width, self.dim])
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let projected = builder.dense(&inputs[0], &parameters[0], Some(&parameters[1]));
        builder.add(&projected, &parameters[2])
    }
}
