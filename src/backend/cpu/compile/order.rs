//! In which order the operators of a graph become steps.

use luminal::prelude::NodeIndex;
use rustc_hash::{FxHashMap, FxHashSet};

use super::super::ops::{Role, scheduling};
use crate::{
    graph::{Value, operation},
    passes::{StepGraph, inputs, ordered, ordered_by},
};

/// When an operator's turn comes, if its operands are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Inputs, and what is made of parameters alone: it would cut a region where it is used.
    Early,
    /// In the order of the graph.
    Normal,
    /// Products of the gradients of what was made early, which would cut a region as well.
    Late,
    /// What is made of those.
    Later,
    /// Sums of gradients of micro-batches.
    Accumulate,
    /// The norm of all gradients.
    Norm,
    /// The directions of updates.
    Direction,
    Update,
}

/// The order of a graph's nodes.
pub struct Order<'a> {
    graph: &'a StepGraph,
    turns: FxHashMap<NodeIndex, Turn>,
}

impl<'a> Order<'a> {
    pub fn new(graph: &'a StepGraph) -> Self {
        let luminal = &graph.builder.graph;
        let mut turns: FxHashMap<NodeIndex, Turn> = FxHashMap::default();
        let parameters = graph.builder.parameters.iter().map(|parameter| (parameter.value.node, Turn::Early));
        turns.extend(parameters);
        for node in ordered(luminal) {
            let Some(operation) = operation(luminal, node) else { continue };
            let of = inputs(luminal, node);
            let role = scheduling(operation).role;
            let early = of.iter().all(|value| turns.get(&value.node) == Some(&Turn::Early));
            let late = of.iter().any(|value| turns.get(&value.node) >= Some(&Turn::Late));
            let turn = match () {
                () if role == Role::Update => Turn::Update,
                () if role == Role::Accumulate => Turn::Accumulate,
                () if role == Role::Norm => Turn::Norm,
                () if role == Role::Direction => Turn::Direction,
                // Repeating a parameter for each image is work for a tile.
                () if early && role != Role::Repeat => Turn::Early,
                () if late => Turn::Later,
                () if role == Role::OfParameters => Turn::Late,
                () => Turn::Normal,
            };
            turns.insert(node, turn);
        }
        Self { graph, turns }
    }

    /// All nodes, each after those that it reads.
    pub fn nodes(&self) -> Vec<NodeIndex> {
        // Inputs have no turn.
        ordered_by(&self.graph.builder.graph, |node| self.turns.get(&node).map_or(Turn::Early, |turn| *turn) as u8)
    }

    /// The names of the parameters that tensors are, or were early made of.
    pub fn names(&self, values: &[Value]) -> Vec<String> {
        let builder = &self.graph.builder;
        let mut names = Vec::new();
        for value in values {
            if let Some(index) = builder.parameter_index(value.node) {
                names.push(builder.parameters[index].name.clone());
            } else if self.turns.get(&value.node) == Some(&Turn::Early) {
                names.extend(self.names(&inputs(&builder.graph, value.node)));
            }
        }
        let mut known = FxHashSet::default();
        names.retain(|name| known.insert(name.clone()));
        names
    }
}
