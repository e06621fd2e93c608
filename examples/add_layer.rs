//! Adds a layer and trains it: `token_mixing`, a residual linear map over the tokens, as in MLP-Mixer
//! (Tolstikhin et al., 2021, <https://arxiv.org/abs/2105.01601>). `cargo run --release --example add_layer`.
//!
//! In the house such a layer is a file in `src/model/layers/` and a line of `OWN` there: then the language, `vitx layers`,
//! `vitx summary`, diagnostics and all backends know it. Here it stands outside, so it is put into its network by hand.

use vitx::{
    backend::{Backend, BackendError, Batch, EngineOptions, Precision, Regions, Step},
    graph::{Builder, Initializer, Network, StepInput, Value},
    model::layers::{Argument, Inputs, Kind, Layer, LayerKind, Misfit, ParameterSpec, glorot},
};

/// What the language knows of the layer. In `src/model/layers/token_mixing.rs` this would be `pub const KIND`.
const KIND: LayerKind = LayerKind {
    name: "token_mixing",
    meaning: "a linear map over the tokens, times a factor, added to its input",
    shape: "`[tokens, dim]` to the same",
    source: "MLP-Mixer",
    inputs: Inputs::Current,
    arguments: &[Argument::required("factor", Kind::Number)],
    // The shape rule. A `Misfit` becomes a diagnostic at the layer's place in the text.
    build: |_, shapes, arguments| match shapes {
        [shape] if shape.len() == 2 => {
            Ok(Box::new(TokenMixing { tokens: shape[0], dim: shape[1], factor: arguments.number("factor") }))
        }
        _ => Err(Misfit::new(format!("`token_mixing` has no tokens in {shapes:?}"), "needs [tokens, dim]")),
    },
};

#[derive(Debug)]
struct TokenMixing {
    tokens: usize,
    dim: usize,
    factor: f32,
}

impl Layer for TokenMixing {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.tokens, self.dim]
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let shape = [self.tokens, self.tokens];
        vec![ParameterSpec::plain("kernel", &shape, glorot(&shape))]
    }

    fn flops(&self) -> u64 {
        2 * (self.tokens * self.tokens * self.dim) as u64
    }

    /// Existing operators have their gradients and their kernels, so nothing else is to be written.
    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let x = &inputs[0]; // [batch, tokens, dim]
        let by_channel = builder.transpose(x, &[0, 2, 1]);
        let mixed = builder.dense(&by_channel, &parameters[0], None);
        let scaled = builder.scale(&mixed, self.factor);
        let by_token = builder.transpose(&scaled, &[0, 2, 1]);
        builder.add(x, &by_token)
    }
}

const TOKENS: usize = 6;
const DIM: usize = 5;
const CLASSES: usize = 3;

/// The layer, and a linear classifier on its tokens.
fn network(builder: &mut Builder, batch: usize) -> Network {
    let layer = TokenMixing { tokens: TOKENS, dim: DIM, factor: 0.5 };
    let images = builder.input(StepInput::Images, &[batch, TOKENS, DIM]);
    let parameters: Vec<Value> = layer
        .parameters()
        .iter()
        .map(|parameter| {
            let name = format!("{}/{}", KIND.name, parameter.name);
            builder.parameter(&name, &parameter.shape, &parameter.stored_shape, parameter.initializer)
        })
        .collect();
    let x = layer.lower(builder, std::slice::from_ref(&images), &parameters);
    let x = builder.reshape(&x, &[batch, TOKENS * DIM]);
    let shape = [TOKENS * DIM, CLASSES];
    let kernel = builder.parameter("classify/kernel", &shape, &shape, glorot(&shape));
    Network { images, logits: builder.dense(&x, &kernel, None) }
}

fn main() -> Result<(), BackendError> {
    let options = EngineOptions {
        optimizer: Default::default(),
        loss: Default::default(),
        seed: 1,
        threads: 1,
        precision: Precision::F32,
        regions: Regions::default(),
    };
    let mut engine = Backend::Cpu.engine(Box::new(network), options)?;

    // Noise to be learnt by heart.
    let batch = 12;
    let mut images = vec![0.0; batch * TOKENS * DIM];
    Initializer::Uniform { limit: 1.0 }.fill(7, 0, &mut images);
    let labels: Vec<u32> = (0..batch).map(|image| (image % CLASSES) as u32).collect();
    for iteration in 0..200 {
        let step = Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 0.01 };
        let loss = engine.train_step(&Batch { images: &images, labels: &labels, mixed: None }, &step)?;
        if iteration % 50 == 0 || iteration == 199 {
            println!("step {iteration}: loss {loss:.4}");
        }
    }
    Ok(())
}
