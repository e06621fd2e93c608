use super::{
    Argument, Default, Inputs, Kind, Layer, LayerKind, ParameterSpec,
    activation::{self, Function},
    dense::Dense,
    initializers, last_axis,
};
use crate::graph::{Builder, Value};

/// `mlp(units, dropout = 0, activation = gelu)`: for each of `units` a dense layer, the activation,
/// and dropout.
pub const KIND: LayerKind = LayerKind {
    name: "mlp",
    meaning: "`dense`, activation and dropout for each of `units`",
    shape: "`[.., n]` to `[.., last of units]`",
    source: "the Keras example's `mlp`",
    inputs: Inputs::Current,
    arguments: &[
        Argument::required("units", Kind::Sizes),
        Argument::optional("dropout", Kind::Rate, Default::Float(0.0)),
        Argument::optional("activation", activation::WORD, Default::Word("gelu")),
        initializers::KERNEL,
    ],
    build: |_, shapes, arguments| {
        let (mut input, _) = last_axis("mlp", shapes)?;
        let activation = Function::from_word(arguments.word("activation"));
        let mut layers = Vec::new();
        for units in arguments.sizes("units") {
            let dense = Dense { input, units, activation, use_bias: true };
            input = dense.output_shape();
            layers.push(dense);
        }
        Ok(Box::new(Mlp { layers, output: input, dropout: arguments.number("dropout") }))
    },
};

#[derive(Debug)]
struct Mlp {
    layers: Vec<Dense>,
    output: Vec<usize>,
    dropout: f32,
}

impl Layer for Mlp {
    fn output_shape(&self) -> Vec<usize> {
        self.output.clone()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let mut parameters = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            parameters.extend(
                layer
                    .parameters()
                    .into_iter()
                    .map(|spec| ParameterSpec { name: format!("dense{index}/{}", spec.name), ..spec }),
            );
        }
        parameters
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn largest(&self) -> usize {
        self.layers.iter().map(Dense::largest).max().unwrap_or(0)
    }

    fn flops(&self) -> u64 {
        self.layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.flops()))
    }

    fn activation(&self) -> Option<Function> {
        self.layers.last().and_then(|layer| layer.activation)
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let mut x = inputs[0].clone();
        for (layer, parameters) in self.layers.iter().zip(parameters.chunks(2)) {
            let y = layer.lower(builder, &[x], parameters);
            x = builder.dropout(&y, self.dropout);
        }
        x
    }
}
