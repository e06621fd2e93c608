use std::any::Any;

use crate::graph::{
    Builder, Gradients, Operation, Value, expression::decompose_all, optimizers::Optimizer, primitives::View,
};

/// One step of an optimizer on one parameter, element by element.
///
/// Inputs w, its gradient and the slots of the rule (one shape), then the numbers of the step, of which it reads some:
/// see [`Plan::write_scalars`](crate::graph::optimizers::Plan::write_scalars). Where gradients are clipped, a
/// [`ClipFactor`](super::ClipFactor) comes next, and a matrix' [`Direction`](super::Direction) last. Outputs the new w and slots, which
/// backends write in place.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Rule and numbers; the learning rate comes with the numbers of the step.
    pub optimizer: Optimizer,
    /// The first of the step's numbers that it reads.
    pub first_scalar: usize,
}

impl Update {
    /// How many tensors it changes: the parameter and its slots.
    pub fn states(&self) -> usize {
        self.optimizer.states()
    }

    /// Which input is the n-th of these.
    pub fn state_input(state: usize) -> usize {
        if state == 0 { 0 } else { state + 1 }
    }

    /// Which input holds the numbers of the step.
    pub fn scalars_input(&self) -> usize {
        self.states() + 1
    }

    /// Which input holds the factor of clipped gradients, if they are clipped.
    pub fn factor_input(&self) -> Option<usize> {
        self.optimizer.clip_norm.map(|_| self.scalars_input() + 1)
    }

    /// Which input holds the direction of a matrix, if its rule has one: the last.
    pub fn direction_input(&self) -> Option<usize> {
        let clipped = usize::from(self.optimizer.clip_norm.is_some());
        self.optimizer.rule.direction.map(|_| self.scalars_input() + clipped + 1)
    }

    /// The inputs of the formulas.
    pub(super) fn views(&self, builder: &mut Builder, inputs: &[Value], shape: &[usize]) -> Vec<View> {
        let (tensors, more) = inputs.split_at(self.scalars_input());
        let mut views: Vec<View> = tensors.iter().map(View::from).collect();
        let everywhere = |value: Value| View::from(&Value { shape: vec![], ..value }).broadcast(shape);
        for scalar in 0..self.optimizer.scalars() {
            let one = builder.prim_contiguous(View::from(&more[0]).slice(0, self.first_scalar + scalar, 1));
            views.push(everywhere(one));
        }
        views.extend(self.factor_input().map(|input| everywhere(inputs[input].clone())));
        views.extend(self.direction_input().and_then(|input| inputs.get(input)).map(View::from));
        views
    }

    /// Its own of the numbers of a step.
    pub fn scalars<'a>(&self, all: &'a [f32]) -> &'a [f32] {
        &all[self.first_scalar..][..self.optimizer.scalars()]
    }
}

impl Operation for Update {
    fn name(&self) -> &'static str {
        self.optimizer.rule.name
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = self.optimizer.attributes();
        if self.first_scalar > 0 {
            attributes.push(("first_scalar", self.first_scalar.to_string()));
        }
        attributes
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec(); self.states()]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![None; site.inputs.len()]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shape = &inputs[0].shape;
        let views = self.views(builder, inputs, shape);
        decompose_all(builder, &self.optimizer.formulas(), &views, shape)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
