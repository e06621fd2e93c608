use std::cell::RefCell;

use luminal::prelude::{Compiler, Graph, ToIdsMut};

use super::with_builder;
use crate::graph::{
    Builder, Load, Value,
    ops::{ClipFactor, Direction, Update},
    optimizers::Plan,
};

/// Where what an optimizer keeps of a parameter enters the graph and leaves it.
#[derive(Debug, Clone)]
pub struct OptimizerState {
    /// Before the step, see [`Plan::slots`].
    pub slots: Vec<Value>,
    /// In which groups of the store these are.
    pub groups: Vec<usize>,
    /// The parameter and its slots after the step.
    pub updated: Vec<Value>,
}

/// Appends one update per parameter: the optimizer is part of the training graph. Where gradients are clipped, their
/// norm comes first.
pub struct Updates<'a> {
    pub plan: &'a Plan,
    /// The numbers of the step, see [`Plan::write_scalars`].
    pub scalars: &'a Value,
    /// Parameters and their gradients.
    pub parameters: &'a [(Value, Value)],
    pub states: &'a RefCell<Vec<OptimizerState>>,
}

impl Compiler for Updates<'_> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, _: T) {
        let states = with_builder(graph, |builder: &mut Builder| {
            let factor = self.plan.clip_norm().map(|clip_norm| {
                let gradients: Vec<Value> = self.parameters.iter().map(|(_, gradient)| gradient.clone()).collect();
                ClipFactor { clip_norm }.of_gradients(builder, &gradients)
            });
            let update = |(index, (parameter, gradient)): (usize, &(Value, Value))| {
                let input =
                    |(group, slot)| (group, builder.input(Load::Slot { slot, parameter: index }, &parameter.shape));
                let (groups, slots): (Vec<usize>, Vec<Value>) = self.plan.slots(index).into_iter().map(input).unzip();
                let optimizer = self.plan.optimizer(index).clone();
                let update = Update { optimizer, first_scalar: self.plan.first_scalar(index) };
                let mut inputs = vec![parameter, gradient];
                inputs.extend(&slots);
                inputs.push(self.scalars);
                inputs.extend(&factor);
                let direction = update.optimizer.rule.direction.map(|_| {
                    let Update { optimizer, first_scalar } = update.clone();
                    builder.apply_one(Direction { optimizer, first_scalar }, &inputs)
                });
                inputs.extend(&direction);
                let updated = builder.apply(update, &inputs);
                OptimizerState { slots, groups, updated }
            };
            self.parameters.iter().enumerate().map(update).collect()
        });
        *self.states.borrow_mut() = states;
    }
}
