//! A step's graph as text, for people and for other tools.

use std::fmt::Write;

use luminal::prelude::NodeIndex;
use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};

use super::{StepGraph, inputs, ordered};
use crate::{diagram::Diagram, graph::operation};

/// A graph as a list of nodes, each after those it depends on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listing {
    /// In an order in which they can run.
    pub nodes: Vec<Entry>,
    /// Reference to the loss, `[1]`.
    pub loss: String,
    /// Reference to the logits, `[batch, num_classes]`.
    pub logits: String,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// From 0, the place in the list.
    pub id: usize,
    /// `input`, `parameter`, or the operator's name.
    pub operator: String,
    /// Of an input or a parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// References `%ID`, or `%ID.OUTPUT` to other outputs than the first.
    pub inputs: Vec<String>,
    /// The operator's options.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "typed")]
    pub attributes: Vec<(&'static str, String)>,
    /// Of the outputs.
    pub shapes: Vec<Vec<usize>>,
}

/// Attributes as an object: what reads as a number, a truth value or a list is one.
fn typed<S: Serializer>(attributes: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(attributes.iter().map(|(key, value)| {
        let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::from(value.as_str()));
        (*key, value)
    }))
}

impl StepGraph {
    /// Lists the graph. Numbers are counted in the order of the list, so the text of a network is
    /// stable.
    pub fn listing(&self) -> Listing {
        let graph = &self.builder.graph;
        let loads: FxHashMap<NodeIndex, (&str, String, &[usize])> = self
            .builder
            .inputs
            .iter()
            .map(|input| (input.value.node, ("input", input.load.to_string(), &input.value.shape[..])))
            .chain(self.builder.parameters.iter().map(|parameter| {
                let value = &parameter.value;
                (value.node, ("parameter", parameter.name.clone(), &value.shape[..]))
            }))
            .collect();
        let mut ids: FxHashMap<NodeIndex, usize> = FxHashMap::default();
        let reference = |ids: &FxHashMap<NodeIndex, usize>, node: NodeIndex, output: u8| match output {
            0 => format!("%{}", ids.get(&node).copied().unwrap_or_default()),
            output => format!("%{}.{output}", ids.get(&node).copied().unwrap_or_default()),
        };
        let mut nodes = Vec::new();
        for node in ordered(graph) {
            let id = nodes.len();
            ids.insert(node, id);
            let values = inputs(graph, node);
            let (operator, name, attributes, shapes) = if let Some((kind, name, shape)) = loads.get(&node) {
                ((*kind).to_owned(), Some(name.clone()), Vec::new(), vec![shape.to_vec()])
            } else if let Some(operation) = operation(graph, node) {
                let given: Vec<&[usize]> = values.iter().map(|value| &value.shape[..]).collect();
                (operation.name().to_owned(), None, operation.attributes(), operation.output_shapes(&given))
            } else {
                (format!("luminal {:?}", graph.graph[node]), None, Vec::new(), Vec::new())
            };
            let inputs = values.iter().map(|value| reference(&ids, value.node, value.output)).collect();
            nodes.push(Entry { id, operator, name, inputs, attributes, shapes });
        }
        let of = |value: &crate::graph::Value| reference(&ids, value.node, value.output);
        Listing { loss: of(&self.loss), logits: of(&self.network.logits), nodes }
    }
}

impl Entry {
    /// `dense(%3, %4) {activation: gelu}`, or `parameter "norm/gamma"`.
    fn call(&self) -> String {
        let attributes: Vec<String> = self.attributes.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        let attributes = if attributes.is_empty() { String::new() } else { format!(" {{{}}}", attributes.join(", ")) };
        match &self.name {
            Some(name) => format!("{} \"{name}\"", self.operator),
            None => format!("{}({}){attributes}", self.operator, self.inputs.join(", ")),
        }
    }

    fn shape_text(&self) -> String {
        self.shapes.iter().map(|shape| format!("f32{shape:?}")).collect::<Vec<_>>().join(", ")
    }

    /// Numbers of the nodes that this one takes, once for each use.
    fn sources(&self) -> Vec<usize> {
        let number = |input: &String| input[1..].split('.').next()?.parse().ok();
        self.inputs.iter().filter_map(number).collect()
    }
}

impl Listing {
    /// The stable text form: `%ID: SHAPES = OPERATOR(INPUTS) {ATTRIBUTES}`, one node a line.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.nodes {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "%{}: {} = {}", entry.id, entry.shape_text(), entry.call());
        }
        let _ = writeln!(text, "return loss = {}, logits = {}", self.loss, self.logits);
        text
    }

    /// The graph to be drawn: a box for each node, with its name or operator and its shapes.
    pub fn diagram(&self) -> Diagram {
        let mut diagram = Diagram::default();
        for entry in &self.nodes {
            let title = entry.name.as_ref().unwrap_or(&entry.operator);
            diagram.add(vec![title.clone(), entry.shape_text()], entry.sources());
        }
        diagram
    }
}
