use std::cell::RefCell;

use luminal::prelude::{Compiler, Graph, ToIdsMut};

use super::with_builder;
use crate::graph::{
    Builder, Load, Value,
    ops::{Accumulate, ClipFactor, Direction, MovingAverage, Update},
    optimizers::Plan,
};

/// Where what an optimizer keeps of a parameter enters the graph and leaves it.
#[derive(Debug, Clone)]
pub struct OptimizerState {
    /// Before the step, see [`Plan::slots`].
    pub slots: Vec<Value>,
    /// In which groups of the store these are.
    pub groups: Vec<usize>,
    /// What the step changes of the parameter and its slots, after it.
    pub updated: Vec<Value>,
    /// In which groups of the store these are, of which the first has the parameters.
    pub changed: Vec<usize>,
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
/// norm comes first; where those of several micro-batches make an update, their mean before that.
pub struct Updates<'a> {
    /// Which rule each parameter has, and what is kept of it.
    pub plan: &'a Plan,
    /// The numbers of the step, see [`Plan::write_scalars`].
    pub scalars: &'a Value,
    /// All parameters, in the network's order.
    pub parameters: &'a [Change],
    /// Whether there is an update; otherwise gradients are added up for a later one.
    pub ends: bool,
    /// Where the results are left, one for each parameter.
    pub states: &'a RefCell<Vec<OptimizerState>>,
}

impl Compiler for Updates<'_> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, _: T) {
        let states = with_builder(graph, |builder: &mut Builder| {
            let mut states: Vec<OptimizerState> =
                (0..self.parameters.len()).map(|index| self.kept(builder, index)).collect();
            let mut changes = self.parameters.to_vec();
            if self.plan.accumulates() {
                for (change, state) in changes.iter_mut().zip(&mut states) {
                    self.accumulate(builder, change, state);
                }
            }
            if !self.ends {
                for (change, state) in changes.iter().zip(&mut states) {
                    average(builder, change, state);
                }
                return states;
            }
            let factor = self.plan.clip_norm().map(|clip_norm| {
                let learned = changes.iter().filter(|change| change.averaged.is_none());
                let gradients: Vec<Value> = learned.filter_map(|change| change.by.clone()).collect();
                ClipFactor { clip_norm }.of_gradients(builder, &gradients)
            });
            for (index, (change, state)) in changes.iter().zip(&mut states).enumerate() {
                match (&change.by, change.averaged) {
                    // What is frozen stays as it is.
                    (None, _) => {}
                    (Some(_), Some(_)) => average(builder, change, state),
                    (Some(by), None) => self.update(builder, index, (&change.parameter, by), factor.as_ref(), state),
                }
            }
            states
        });
        *self.states.borrow_mut() = states;
    }
}

impl Updates<'_> {
    /// What is kept of a parameter, before the step.
    fn kept(&self, builder: &mut Builder, index: usize) -> OptimizerState {
        let shape = &self.parameters[index].parameter.shape;
        let input = |(group, slot)| (group, builder.input(Load::Slot { slot, parameter: index }, shape));
        let (groups, slots) = self.plan.slots(index).into_iter().map(input).unzip();
        OptimizerState { slots, groups, updated: Vec::new(), changed: Vec::new() }
    }

    /// Adds a gradient to those of former micro-batches, whose mean takes its place at the end of all. The sum is the last
    /// slot.
    fn accumulate(&self, builder: &mut Builder, change: &mut Change, state: &mut OptimizerState) {
        let (None, Some(by)) = (change.averaged, &mut change.by) else { return };
        let (Some(sum), Some(&group)) = (state.slots.last(), state.groups.last()) else { return };
        let ends = self.ends.then(|| self.plan.gradient_accumulation_steps());
        let mut outputs = builder.apply(Accumulate { ends }, &[sum, &*by]).into_iter();
        state.updated.extend(outputs.next());
        state.changed.push(group);
        if let Some(mean) = outputs.next() {
            *by = mean;
        }
    }

    fn update(
        &self,
        builder: &mut Builder,
        index: usize,
        (parameter, by): (&Value, &Value),
        factor: Option<&Value>,
        state: &mut OptimizerState,
    ) {
        let optimizer = self.plan.optimizer(index).clone();
        let own = optimizer.states() - 1;
        let update = Update { optimizer, first_scalar: self.plan.first_scalar(index) };
        let mut inputs = vec![parameter, by];
        inputs.extend(&state.slots[..own]);
        inputs.push(self.scalars);
        inputs.extend(factor);
        let direction = update.optimizer.rule.direction.map(|_| {
            let Update { optimizer, first_scalar } = update.clone();
            builder.apply_one(Direction { optimizer, first_scalar }, &inputs)
        });
        inputs.extend(&direction);
        let updated = builder.apply(update, &inputs);
        state.updated.extend(updated);
        state.changed.push(0);
        state.changed.extend(&state.groups[..own]);
    }
}

/// A step of a moving average, if it is one: with each micro-batch.
fn average(builder: &mut Builder, Change { parameter, by, averaged }: &Change, state: &mut OptimizerState) {
    let (&Some(momentum), Some(by)) = (averaged, by) else { return };
    let inputs: Vec<&Value> = [parameter, by].into_iter().chain(&state.slots).collect();
    state.updated = builder.apply(MovingAverage { momentum }, &inputs);
    state.changed = [0].iter().chain(&state.groups).copied().collect();
}
