use super::{Argument, Arguments, Inputs, Kind, Layer, LayerKind, Misfit};
use crate::graph::{Builder, Value, activations::WORDS, ops};

/// Elementwise functions, and softmax over the last axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    Elementwise(ops::Activation),
    Softmax,
}

/// An `activation` argument's words.
pub const ACTIVATIONS: Kind = Kind::Choice(WORDS);

impl Function {
    /// The function of an `activation` argument; `None` for "none".
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "softmax" => Some(Self::Softmax),
            name => ops::Activation::named(name).map(Self::Elementwise),
        }
    }

    /// As an `activation` argument has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Elementwise(activation) => activation.rule.name,
            Self::Softmax => "softmax",
        }
    }

    pub fn lower(self, builder: &mut Builder, x: &Value) -> Value {
        match self {
            Self::Elementwise(activation) => builder.activation(x, activation),
            Self::Softmax => builder.softmax(x),
        }
    }
}

#[derive(Debug)]
struct Activation {
    function: Function,
    shape: Vec<usize>,
}

impl Layer for Activation {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn activation(&self) -> Option<Function> {
        Some(self.function)
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        self.function.lower(builder, &inputs[0])
    }
}

macro_rules! activation {
    ($constant:ident, $name:literal, $meaning:literal) => {
        pub const $constant: LayerKind = LayerKind {
            name: $name,
            meaning: $meaning,
            shape: "any to itself",
            source: concat!("`keras.activations.", $name, "`"),
            inputs: Inputs::Current,
            arguments: NO_ARGUMENTS,
            build: |shapes: &[Vec<usize>], _: &Arguments| -> Result<Box<dyn Layer>, Misfit> {
                let (shape, _) = super::last_axis($name, shapes)?;
                let function = Function::from_word($name).expect("a word of its own");
                Ok(Box::new(Activation { function, shape }))
            },
        };
    };
}

const NO_ARGUMENTS: &[Argument] = &[];

activation!(GELU, "gelu", "the exact GELU, by the error function");
activation!(RELU, "relu", "the larger of x and 0");
activation!(SILU, "silu", "x times its sigmoid, also called swish");
activation!(TANH, "tanh", "the hyperbolic tangent");
activation!(SIGMOID, "sigmoid", "1 / (1 + e^-x)");
activation!(RELU6, "relu6", "x within 0 and 6");
activation!(LEAKY_RELU, "leaky_relu", "x above 0, 0.2 x below");
activation!(ELU, "elu", "x above 0, e^x - 1 below");
activation!(SOFTPLUS, "softplus", "ln(1 + e^x)");
activation!(HARD_SIGMOID, "hard_sigmoid", "relu6(x + 3) / 6");
activation!(HARD_SILU, "hard_silu", "x times its hard_sigmoid, also called hard_swish");
activation!(MISH, "mish", "x tanh(softplus(x))");
activation!(SOFTMAX, "softmax", "positive, with sum 1 over the last axis");
