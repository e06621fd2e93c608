use std::cell::RefCell;

use luminal::prelude::{Compiler, Graph, ToIdsMut};

use super::with_builder;
use crate::graph::{
    Builder, Load, Value,
    ops::{ClipFactor, Direction, MovingAverage, Update},
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

/// How a step changes a parameter.
#[derive(Debug, Clone)]
pub struct Change {
    pub parameter: Value,
    /// Its gradient, or the statistic that a moving average takes up; nothing, if it is frozen.
    pub by: Option<Value>,
    /// The momentum of a moving average.
    pub averaged: Option<f32>,
}

/// Appends one update per parameter: the optimizer is part of the training graph. Where gradients are clipped, their
/// norm comes first.
pub struct Updates<'a> {
    /// Which rule each parameter has, and what is kept of it.
    pub plan: &'a Plan,
    /// The numbers of the step, see [`Plan::write_scalars`].
    pub scalars: &'a Value,
    /// All parameters, in the network's order.
    pub parameters: &'a [Change],
    /// Where the results are left, one for each parameter.
    pub states: &'a RefCell<Vec<OptimizerState>>,
}

impl Compiler for Updates<'_> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, _: T) {
        let states = with_builder(graph, |builder: &mut Builder| {
            let factor = self.plan.clip_norm().map(|clip_norm| {
                let learned = self.parameters.iter().filter(|change| change.averaged.is_none());
                let gradients: Vec<Value> = learned.filter_map(|change| change.by.clone()).collect();
                ClipFactor { clip_norm }.of_gradients(builder, &gradients)
            });
            let update = |(index, Change { parameter, by, averaged }): (usize, &Change)| {
                let input =
                    |(group, slot)| (group, builder.input(Load::Slot { slot, parameter: index }, &parameter.shape));
                let (groups, slots): (Vec<usize>, Vec<Value>) = self.plan.slots(index).into_iter().map(input).unzip();
                let Some(by) = by else {
                    let updated = [parameter].into_iter().chain(&slots).cloned().collect();
                    return OptimizerState { slots, groups, updated };
                };
                if let &Some(momentum) = averaged {
                    let inputs: Vec<&Value> = [parameter, by].into_iter().chain(&slots).collect();
                    let updated = builder.apply(MovingAverage { momentum }, &inputs);
                    return OptimizerState { slots, groups, updated };
                }
                let optimizer = self.plan.optimizer(index).clone();
                let update = Update { optimizer, first_scalar: self.plan.first_scalar(index) };
                let mut inputs = vec![parameter, by];
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
