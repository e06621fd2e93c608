use std::any::Any;

use super::{Dropout, Mean, Scale, SumLeading, viewed};
use crate::{
    graph::{
        Builder, Gradients, Operation, Value,
        expression::{Expression, decompose, onnx},
        primitives::View,
    },
    onnx::{Dim, Tensor, Writer},
};

/// What an element of the result reads of an operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operand {
    /// The element of the same place: the operand has the shape of the result, `[batch, .., suffix]`.
    Whole,
    /// That of the image, at the place along the last axes: the operand is `[batch, suffix]` and repeats over the
    /// axes between.
    PerImage,
    /// That at the place along the last axes: the operand, a parameter as a rule, is `[suffix]` and repeats.
    Shared,
    /// The factor of a dropout for the element: the operand is the step's encoded
    /// [`RandomState`](super::RandomState).
    Mask(Dropout),
    /// The factor of a dropout for the image, by its place in the batch: one draw for all of its elements.
    ImageMask(Dropout),
}

impl Operand {
    /// Whether it is a mask, which is drawn rather than read.
    pub fn mask(self) -> Option<Dropout> {
        match self {
            Self::Mask(dropout) | Self::ImageMask(dropout) => Some(dropout),
            Self::Whole | Self::PerImage | Self::Shared => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Whole => "whole".into(),
            Self::PerImage => "per_image".into(),
            Self::Shared => "shared".into(),
            Self::Mask(Dropout { rate, stream }) => format!("mask(rate {rate}, stream {stream})"),
            Self::ImageMask(Dropout { rate, stream }) => format!("image_mask(rate {rate}, stream {stream})"),
        }
    }
}

/// A scalar function of its inputs, element by element. The result has the shape of its first [`Operand::Whole`].
///
/// Everything that is pointwise is this: decomposition, gradient, cpu kernel and CUDA text follow from the expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointwise {
    /// What listings call it: `gelu`, `add`.
    pub name: &'static str,
    /// Makes one element of the result from one of each input.
    pub expression: Expression,
    /// One for each input of the expression, which is that input of the operator.
    pub operands: Vec<Operand>,
}

/// The name of the operator that the gradient of a [`Pointwise`] is.
const GRADIENT: &str = "pointwise_gradient";

impl Pointwise {
    /// # Panics
    /// Unless there is an operand for each input, and one of them is whole.
    pub fn new(name: &'static str, expression: Expression, operands: Vec<Operand>) -> Self {
        assert_eq!(expression.inputs(), operands.len(), "{name}: an operand for each input");
        assert!(operands.contains(&Operand::Whole), "{name}: an operand of the result's shape");
        Self { name, expression, operands }
    }

    fn whole(&self) -> usize {
        self.operands.iter().position(|operand| *operand == Operand::Whole).unwrap_or(0)
    }

    /// The gradient of an operand that [`Operand::Whole`] would be in its place, and the operator's inputs: `None` for
    /// the incoming gradient. The expression is constant where the result does not depend on the operand.
    pub(crate) fn slope(&self, operand: usize) -> (Expression, Vec<Option<usize>>) {
        let (expression, kept) = self.expression.gradient(operand).pruned();
        (expression, kept.into_iter().map(|input| input.checked_sub(1)).collect())
    }
}

impl Operation for Pointwise {
    fn name(&self) -> &'static str {
        self.name
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = vec![("f", self.expression.to_string())];
        if self.operands.iter().any(|operand| *operand != Operand::Whole) {
            let operands: Vec<String> = self.operands.iter().map(|operand| operand.text()).collect();
            attributes.push(("operands", operands.join(", ")));
        }
        attributes
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let result = inputs[self.whole()];
        for (operand, shape) in self.operands.iter().zip(inputs) {
            let fits = match operand {
                Operand::Whole => *shape == result,
                Operand::PerImage => shape[0] == result[0] && result[1..].ends_with(&shape[1..]),
                Operand::Shared => result.ends_with(shape),
                Operand::Mask(_) | Operand::ImageMask(_) => true,
            };
            assert!(fits, "{}: {operand:?} {shape:?} in {result:?}", self.name);
        }
        vec![result.to_vec()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let dy = &site.grads[0];
        let of_operand = |builder: &mut Builder, operand: usize| {
            let (expression, inputs) = self.slope(operand);
            if expression.constant() == Some(0.0) {
                // An input that has no effect: its gradient is zero, not missing.
                return builder.scale(dy, 0.0);
            }
            if expression.identity() == Some(0) && inputs == [None] {
                return dy.clone();
            }
            let (mut values, mut operands) = (Vec::new(), Vec::new());
            for input in inputs {
                values.push(input.map_or(dy, |input| &site.inputs[input]));
                operands.push(input.map_or(Operand::Whole, |input| self.operands[input]));
            }
            builder.apply_one(Self::new(GRADIENT, expression, operands), &values)
        };
        (0..self.operands.len())
            .map(|operand| {
                let shape = &site.inputs[operand].shape;
                match self.operands[operand] {
                    Operand::Mask(_) | Operand::ImageMask(_) => None,
                    _ if !site.wanted[operand] => None,
                    Operand::Whole => Some(of_operand(builder, operand)),
                    Operand::Shared => {
                        let whole = of_operand(builder, operand);
                        Some(builder.apply_one(SumLeading { shape: shape.clone() }, &[&whole]))
                    }
                    Operand::PerImage => {
                        let whole = of_operand(builder, operand);
                        Some(sum_per_image(builder, &whole, shape))
                    }
                }
            })
            .collect()
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shape = inputs[self.whole()].shape.clone();
        let len: usize = shape.iter().product();
        // In three axes: luminal's views have six at most.
        let images = shape.first().copied().unwrap_or(1);
        let views: Vec<View> = self
            .operands
            .iter()
            .zip(inputs)
            .map(|(operand, input)| match *operand {
                Operand::Whole => View::from(&viewed(input, &[len])),
                Operand::Shared => {
                    let repeated = View::from(&viewed(input, &[input.len()])).expand(0, len / input.len().max(1));
                    View::from(&viewed(&builder.prim_contiguous(repeated), &[len]))
                }
                Operand::PerImage => {
                    let (images, suffix) = (input.shape[0], input.len() / input.shape[0]);
                    let repeated = View::from(&viewed(input, &[images, suffix])).expand(1, len / input.len().max(1));
                    View::from(&viewed(&builder.prim_contiguous(repeated), &[len]))
                }
                Operand::Mask(dropout) => View::from(&dropout.mask(builder, input, &[len])),
                Operand::ImageMask(dropout) => {
                    let mask = dropout.mask(builder, input, &[images]);
                    let repeated = View::from(&mask).expand(1, len / images);
                    View::from(&viewed(&builder.prim_contiguous(repeated), &[len]))
                }
            })
            .collect();
        let result = decompose(builder, &self.expression, &views, &[len]);
        vec![viewed(&result, &shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let mut operands = Vec::with_capacity(inputs.len());
        for (operand, x) in self.operands.iter().zip(inputs) {
            operands.push(match operand {
                Operand::Whole | Operand::Shared => x.clone(),
                Operand::PerImage => {
                    let between = vec![Dim::Fixed(1); shape.len() - x.rank()];
                    writer.reshape(x, &[&x.shape[..1], &between, &x.shape[1..]].concat())
                }
                Operand::Mask(_) | Operand::ImageMask(_) => return None,
            });
        }
        Some(writer.elementwise(&operands, shape, |writer, x, shape| {
            let y = onnx(writer, &self.expression, x);
            // What reads no whole operand is the same for all images.
            if y.shape == shape { y } else { writer.expand(&y, shape) }
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The sum over the axes between the batch and a suffix, `[batch, .., suffix]` to `[batch, suffix]`: the gradient of
/// repeating over them.
fn sum_per_image(builder: &mut Builder, x: &Value, shape: &[usize]) -> Value {
    let suffix: usize = shape[1..].iter().product();
    let count = x.len() / (shape[0] * suffix).max(1);
    let rows = builder.reshape(x, &[shape[0], count, suffix]);
    let mean = builder.apply_one(Mean { axis: 1 }, &[&rows]);
    let sum = if count == 1 { mean } else { builder.apply_one(Scale { factor: count as f32 }, &[&mean]) };
    builder.reshape(&sum, shape)
}
