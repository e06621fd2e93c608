use std::cell::RefCell;

use luminal::prelude::{Compiler, Graph, ToIdsMut};

use super::with_builder;
use crate::graph::{Builder, Load, Value, ops::AdamWUpdate};

/// Where a parameter's optimizer state enters the graph and leaves it.
#[derive(Debug, Clone)]
pub struct OptimizerState {
    /// The moments before the step.
    pub m: Value,
    pub v: Value,
    /// Parameter, m and v after the step.
    pub updated: [Value; 3],
}

/// Appends one AdamW update per parameter: the optimizer is part of the training graph.
pub struct Updates<'a> {
    pub rule: AdamWUpdate,
    /// `[learning_rate, alpha]`, see [`AdamWUpdate::rates`].
    pub rates: &'a Value,
    /// Parameters and their gradients.
    pub parameters: &'a [(Value, Value)],
    pub states: &'a RefCell<Vec<OptimizerState>>,
}

impl Compiler for Updates<'_> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, _: T) {
        let states = with_builder(graph, |builder: &mut Builder| {
            self.parameters
                .iter()
                .enumerate()
                .map(|(index, (parameter, gradient))| {
                    let slot = |slot| Load::Slot { slot, parameter: index };
                    let m = builder.input(slot("m"), &parameter.shape);
                    let v = builder.input(slot("v"), &parameter.shape);
                    let mut outputs = builder.apply(self.rule, &[parameter, gradient, &m, &v, self.rates]).into_iter();
                    let updated = std::array::from_fn(|_| outputs.next().unwrap_or_else(|| parameter.clone()));
                    OptimizerState { m, v, updated }
                })
                .collect()
        });
        *self.states.borrow_mut() = states;
    }
}
