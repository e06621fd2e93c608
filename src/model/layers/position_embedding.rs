use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, Misfit, ParameterSpec, tokens};
use crate::graph::{
    Builder, Initializer, Value,
    ops::{AddSinusoid, Layout},
};

/// `position_embedding(initializer = uniform, kind = learned)`: adds a vector to each token by its position. A learned one
/// starts `uniform` within 0.05, as `keras.layers.Embedding`, or `normal` with deviation 0.02, cut off at two, as in timm.
/// `sinusoidal` is that of Vaswani et al. 2017, `sinusoidal_2d` that of MoCo v3, Chen et al. 2021, for tokens of a square,
/// row by row: half of the entries are of the row, half of the column. Neither has parameters.
pub const KIND: LayerKind = LayerKind {
    name: "position_embedding",
    meaning: "plus a vector for each position: a learned one, or sines and cosines",
    shape: "`[tokens, dim]` to itself",
    source: "ViT, Dosovitskiy et al. 2021; `keras_hub.layers.PositionEmbedding`; `SinePositionEncoding`; MoCo v3",
    inputs: Inputs::Current,
    arguments: &[
        Argument::optional("initializer", Kind::Choice(&["uniform", "normal", "zeros"]), Default::Word("uniform")),
        Argument::optional("kind", Kind::Choice(&["learned", "sinusoidal", "sinusoidal_2d"]), Default::Word("learned")),
    ],
    build: |_, shapes, arguments| {
        let (tokens, dim) = tokens("position_embedding", shapes)?;
        let layout = match arguments.word("kind") {
            "sinusoidal" => Layout::Line,
            "sinusoidal_2d" => Layout::Grid { columns: square(tokens, dim)? },
            _ => {
                let initializer = match arguments.word("initializer") {
                    "normal" => Initializer::TruncatedNormal { stddev: 0.02 },
                    "zeros" => Initializer::Zeros,
                    _ => Initializer::Uniform { limit: 0.05 },
                };
                return Ok(Box::new(PositionEmbedding { shape: [tokens, dim], initializer }));
            }
        };
        if arguments.word("initializer") != "uniform" {
            let message =
                format!("`{}` positions have nothing that an `initializer` could start", arguments.word("kind"));
            return Err(Misfit::new(message, "is of learned positions").blame("initializer"));
        }
        Ok(Box::new(Sinusoid { shape: [tokens, dim], layout }))
    },
};

/// The side of the square that so many tokens are.
fn square(tokens: usize, dim: usize) -> Result<usize, Misfit> {
    let side = tokens.isqrt();
    if side * side != tokens {
        let message = format!("{tokens} tokens are no square, whose rows and columns `sinusoidal_2d` counts");
        return Err(Misfit::new(message, "needs as many rows as columns").blame("kind"));
    }
    if !dim.is_multiple_of(4) {
        let message = format!("{dim} is no multiple of 4: sine and cosine of row and column, each as many");
        return Err(Misfit::new(message, "needs a multiple of 4 for `dim`").blame("kind"));
    }
    Ok(side)
}

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

/// Positions without parameters.
#[derive(Debug)]
struct Sinusoid {
    shape: [usize; 2],
    layout: Layout,
}

impl Layer for Sinusoid {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.to_vec()
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        builder.apply_one(AddSinusoid { layout: self.layout }, &[&inputs[0]])
    }
}
