use super::{Argument, Arguments, Default, Inputs, Kind, Layer, LayerKind, Misfit, axes::axis_of};
use crate::graph::{
    Builder, Value,
    activations::{ACTIVATIONS, WORDS},
    ops::{self, around},
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

/// The axis of softmax.
const AXIS: &[Argument] = &[Argument::optional("axis", Kind::Int, Default::Int(-1))];

/// Softmax over an axis that is not the last.
#[derive(Debug)]
struct SoftmaxAlong {
    shape: Vec<usize>,
    axis: usize,
}

impl Layer for SoftmaxAlong {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        // With the axis at the end.
        let [outer, length, inner] = around(&inputs[0].shape[1..], self.axis);
        let x = builder.reshape(&inputs[0], &[inputs[0].shape[0], outer, length, inner]);
        let x = builder.transpose(&x, &[0, 1, 3, 2]);
        let y = builder.softmax(&x);
        let y = builder.transpose(&y, &[0, 1, 3, 2]);
        builder.reshape(&y, &inputs[0].shape)
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
        meaning: "positive, with sum 1 over an axis, the last one if nothing is said",
        shape: "any to itself",
        source: "`keras.activations.softmax`",
        inputs: Inputs::Current,
        arguments: AXIS,
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
        None => {
            let axis = axis_of(&shape, arguments.int("axis"))?;
            if axis + 1 < shape.len() {
                return Ok(Box::new(SoftmaxAlong { shape, axis }));
            }
            Function::Softmax
        }
    };
    Ok(Box::new(Activation { function, shape }))
}
