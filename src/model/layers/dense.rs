use super::{
    Argument, Default, Inputs, Kind, Layer, LayerKind, ParameterSpec,
    activation::{self, Function},
    flops, glorot, initializers, last_axis, volume,
};
use crate::graph::{Builder, Initializer, Value};

/// `dense(units, activation = none, use_bias = true)`: `x W + b` over the last axis, as `keras.layers.Dense`.
pub const KIND: LayerKind = LayerKind {
    name: "dense",
    meaning: "a linear map of the last axis, with a bias and an activation",
    shape: "`[.., n]` to `[.., units]`",
    source: "`keras.layers.Dense`",
    inputs: Inputs::Current,
    arguments: &[
        Argument::required("units", Kind::Size),
        Argument::optional("activation", activation::WORD, Default::Word("none")),
        Argument::optional("use_bias", Kind::Bool, Default::Bool(true)),
        initializers::KERNEL,
    ],
    build: |_, shapes, arguments| {
        let (input, _) = last_axis("dense", shapes)?;
        Ok(Box::new(Dense {
            input,
            units: arguments.size("units"),
            activation: Function::from_word(arguments.word("activation")),
            use_bias: arguments.flag("use_bias"),
        }))
    },
};

/// A projection of the last axis; other layers are made of it.
#[derive(Debug)]
pub struct Dense {
    /// Shape of the input; not empty.
    pub input: Vec<usize>,
    pub units: usize,
    pub activation: Option<Function>,
    pub use_bias: bool,
}

impl Dense {
    fn fan_in(&self) -> usize {
        self.input.last().copied().unwrap_or(1)
    }
}

impl Layer for Dense {
    fn output_shape(&self) -> Vec<usize> {
        let mut shape = self.input.clone();
        if let Some(last) = shape.last_mut() {
            *last = self.units;
        }
        shape
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let shape = [self.fan_in(), self.units];
        let mut parameters = vec![ParameterSpec::plain("kernel", &shape, glorot(&shape))];
        if self.use_bias {
            parameters.push(ParameterSpec::plain("bias", &[self.units], Initializer::Zeros));
        }
        parameters
    }

    fn flops(&self) -> u64 {
        flops(&[2, volume(&self.input), self.units])
    }

    fn activation(&self) -> Option<Function> {
        self.activation
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let y = builder.dense(&inputs[0], &parameters[0], parameters.get(1));
        match self.activation {
            Some(function) => function.lower(builder, &y),
            None => y,
        }
    }
}
