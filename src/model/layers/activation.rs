use super::{Argument, Arguments, Default, Inputs, Kind, Layer, LayerKind, Misfit};
use crate::graph::{
    Builder, Value,
    activations::{ACTIVATIONS, WORDS},
    ops,
};

/// Elementwise functions, and softmax over the last axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// Of each element alone.
    Elementwise(ops::Activation),
    /// Of the elements along the last axis together.
    Softmax,
}

/// An `activation` argument's words.
pub const WORD: Kind = Kind::Choice(WORDS);

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

    /// Adds the function to a graph; the result has the shape of `x`.
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

/// A layer for each activation of `crate::graph::activations`, with its numbers as arguments, and softmax.
pub fn kinds() -> Vec<LayerKind> {
    let elementwise = ACTIVATIONS.iter().map(|rule| {
        let arguments = rule.numbers.iter();
        let arguments =
            arguments.map(|(name, default)| Argument::optional(name, Kind::Number, Default::Float(*default)));
        LayerKind {
            name: rule.name,
            meaning: rule.about,
            shape: "any to itself",
            source: rule.source,
            inputs: Inputs::Current,
            arguments: Vec::leak(arguments.collect()),
            build,
        }
    });
    let softmax = LayerKind {
        name: "softmax",
        meaning: "positive, with sum 1 over the last axis",
        shape: "any to itself",
        source: "`keras.activations.softmax`",
        inputs: Inputs::Current,
        arguments: &[],
        build,
    };
    elementwise.chain([softmax]).collect()
}

fn build(kind: &LayerKind, shapes: &[Vec<usize>], arguments: &Arguments) -> Result<Box<dyn Layer>, Misfit> {
    let (shape, _) = super::last_axis(kind.name, shapes)?;
    let function = match ops::Activation::named(kind.name) {
        Some(activation) => {
            let numbers = kind.arguments.iter().map(|argument| argument.name);
            Function::Elementwise(numbers.fold(activation, |f, name| f.with(name, arguments.number(name))))
        }
        None => Function::Softmax,
    };
    Ok(Box::new(Activation { function, shape }))
}
