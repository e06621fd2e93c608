use std::any::Any;

use crate::{
    graph::{
        Builder, Gradients, Operation, Value,
        activations::{ACTIVATIONS, Activation as Rule},
        expression::{Expression, decompose, onnx},
    },
    onnx::{Dim, Tensor, Writer},
};

/// Most numbers that an activation has.
const NUMBERS: usize = 2;

/// An elementwise activation, with its numbers.
#[derive(Debug, Clone, Copy)]
pub struct Activation {
    /// Name, expression and numbers: a line of [`ACTIVATIONS`].
    pub rule: &'static Rule,
    numbers: [f32; NUMBERS],
}

impl PartialEq for Activation {
    fn eq(&self, other: &Self) -> bool {
        self.rule.name == other.rule.name && self.numbers() == other.numbers()
    }
}

impl Activation {
    /// The activation of a name, with its default numbers.
    pub fn named(name: &str) -> Option<Self> {
        let rule = ACTIVATIONS.iter().find(|rule| rule.name == name)?;
        let mut numbers = [0.0; NUMBERS];
        for (number, (_, default)) in numbers.iter_mut().zip(rule.numbers) {
            *number = *default as f32;
        }
        Some(Self { rule, numbers })
    }

    /// The same with one of its numbers set; as it is where it has none of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: f32) -> Self {
        if let Some(at) = self.rule.numbers.iter().position(|(number, _)| *number == name) {
            self.numbers[at] = value;
        }
        self
    }

    fn numbers(&self) -> &[f32] {
        &self.numbers[..self.rule.numbers.len()]
    }

    /// Its function of one scalar.
    pub fn expression(&self) -> Expression {
        self.rule.expression(self.numbers())
    }
}

impl Operation for Activation {
    fn name(&self) -> &'static str {
        self.rule.name
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.rule.numbers.iter().zip(self.numbers()).map(|((name, _), value)| (*name, value.to_string())).collect()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.apply_one(ActivationGradient(*self), &[&site.grads[0], &site.inputs[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let x = &inputs[0];
        vec![decompose(builder, &self.expression(), &[x.into()], &x.shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let compute = |writer: &mut Writer, x: &[Tensor], _: &[Dim]| onnx(writer, &self.expression(), x);
        Some(writer.elementwise(inputs, shape, compute))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `dx = dy f'(x)`. Inputs dy and the activation's input x.
#[derive(Debug)]
pub struct ActivationGradient(pub Activation);

impl Operation for ActivationGradient {
    fn name(&self) -> &'static str {
        let Self(Activation { rule, .. }) = self;
        rule.gradient_name
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.0.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (dy, x) = (&inputs[0], &inputs[1]);
        vec![decompose(builder, &self.0.expression().gradient(0), &[dy.into(), x.into()], &x.shape)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
