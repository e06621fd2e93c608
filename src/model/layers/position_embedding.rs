use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, ParameterSpec, tokens};
use crate::graph::{Builder, Initializer, Value};

/// `position_embedding(initializer = uniform)`: adds a learned vector to each token by its position. `uniform` is
/// within 0.05, as `keras.layers.Embedding`; `normal` has deviation 0.02 and is cut off at two, as in timm.
pub const KIND: LayerKind = LayerKind {
    name: "position_embedding",
    meaning: "plus a learned vector for each position",
    shape: "`[tokens, dim]` to itself",
    source: "ViT, Dosovitskiy et al. 2021; `keras_hub.layers.PositionEmbedding`",
    inputs: Inputs::Current,
    arguments: &[Argument::optional(
        "initializer",
        Kind::Choice(&["uniform", "normal", "zeros"]),
        Default::Word("uniform"),
    )],
    build: |_, shapes, arguments| {
        let (tokens, dim) = tokens("position_embedding", shapes)?;
        let initializer = match arguments.word("initializer") {
            "normal" => Initializer::TruncatedNormal { stddev: 0.02 },
            "zeros" => Initializer::Zeros,
            _ => Initializer::Uniform { limit: 0.05 },
        };
        Ok(Box::new(PositionEmbedding { shape: [tokens, dim], initializer }))
    },
};

#[derive(Debug)]
struct PositionEmbedding {
    shape: [usize; 2],
    initializer: Initializer,
}

impl Layer for PositionEmbedding {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.to_vec()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![ParameterSpec::plain("embeddings", &self.shape, self.initializer)]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        builder.add(&inputs[0], &parameters[0])
    }
}
