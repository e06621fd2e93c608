use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, ParameterSpec, last_axis};
use crate::graph::{Builder, Initializer, Value};

/// `batch_norm(momentum = 0.99, epsilon = 1e-3)`.
pub const KIND: LayerKind = LayerKind {
    name: "batch_norm",
    meaning: "mean 0 and variance 1 of each channel over the batch, in evaluation by moving averages; then a learned scale and offset",
    shape: "any to itself",
    source: "`keras.layers.BatchNormalization`",
    inputs: Inputs::Current,
    arguments: &[
        Argument::optional("momentum", Kind::Rate, Default::Float(0.99)),
        Argument::optional("epsilon", Kind::Positive, Default::Float(1e-3)),
    ],
    build: |_, shapes, arguments| {
        let (shape, dim) = last_axis("batch_norm", shapes)?;
        let (momentum, epsilon) = (arguments.number("momentum"), arguments.number("epsilon"));
        Ok(Box::new(BatchNorm { shape, dim, momentum, epsilon }))
    },
};

#[derive(Debug)]
struct BatchNorm {
    shape: Vec<usize>,
    dim: usize,
    momentum: f32,
    epsilon: f32,
}

impl Layer for BatchNorm {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let tensor = |name, initializer| ParameterSpec::plain(name, &[self.dim], initializer);
        vec![
            tensor("gamma", Initializer::Ones),
            tensor("beta", Initializer::Zeros),
            tensor("moving_mean", Initializer::Zeros).averaged(self.momentum),
            tensor("moving_variance", Initializer::Ones).averaged(self.momentum),
        ]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let [gamma, beta, moving @ ..] = parameters else { panic!("batch_norm has four parameters") };
        builder.batch_norm(&inputs[0], [gamma, beta], [&moving[0], &moving[1]], self.epsilon)
    }
}
