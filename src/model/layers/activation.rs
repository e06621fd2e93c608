use super::{Argument, Arguments, Inputs, Kind, Layer, LayerKind, Misfit};
use crate::graph::{Builder, Value, ops};

/// Elementwise functions, and softmax over the last axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Exact GELU, by erf: Hendrycks & Gimpel 2016.
    Gelu,
    Relu,
    Silu,
    Tanh,
    Softmax,
}

/// An `activation` argument's words.
pub const ACTIVATIONS: Kind = Kind::Choice(&["none", "gelu", "relu", "silu", "tanh", "softmax"]);

impl Function {
    /// The function of an `activation` argument; `None` for "none".
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "gelu" => Self::Gelu,
            "relu" => Self::Relu,
            "silu" => Self::Silu,
            "tanh" => Self::Tanh,
            "softmax" => Self::Softmax,
            _ => return None,
        })
    }

    /// As an `activation` argument has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::Relu => "relu",
            Self::Silu => "silu",
            Self::Tanh => "tanh",
            Self::Softmax => "softmax",
        }
    }

    pub fn lower(self, builder: &mut Builder, x: &Value) -> Value {
        let activation = match self {
            Self::Gelu => ops::Activation::Gelu,
            Self::Relu => ops::Activation::Relu,
            Self::Silu => ops::Activation::Silu,
            Self::Tanh => ops::Activation::Tanh,
            Self::Softmax => return builder.softmax(x),
        };
        builder.activation(x, activation)
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
    ($constant:ident, $name:literal, $function:ident, $meaning:literal) => {
        pub const $constant: LayerKind = LayerKind {
            name: $name,
            meaning: $meaning,
            shape: "any to itself",
            source: concat!("`keras.activations.", $name, "`"),
            inputs: Inputs::Current,
            arguments: NO_ARGUMENTS,
            build: |shapes: &[Vec<usize>], _: &Arguments| -> Result<Box<dyn Layer>, Misfit> {
                let (shape, _) = super::last_axis($name, shapes)?;
                Ok(Box::new(Activation { function: Function::$function, shape }))
            },
        };
    };
}

const NO_ARGUMENTS: &[Argument] = &[];

activation!(GELU, "gelu", Gelu, "the exact GELU, by the error function");
activation!(RELU, "relu", Relu, "the larger of x and 0");
activation!(SILU, "silu", Silu, "x times its sigmoid, also called swish");
activation!(TANH, "tanh", Tanh, "the hyperbolic tangent");
activation!(SOFTMAX, "softmax", Softmax, "positive, with sum 1 over the last axis");
