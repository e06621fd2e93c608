use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::layers::{
    Layer, ParameterSpec,
    initializers::{KERNEL, Start},
};
use crate::{
    dsl,
    graph::{Builder, Network, StepInput, Value, optimizers::Pattern},
};

/// One layer of a checked network.
#[derive(Debug)]
pub struct LayerNode {
    /// Path of the instance, e.g. `transformer_block0/mlp`.
    pub path: String,
    /// The layer's name in the language.
    pub kind: &'static str,
    /// All arguments, defaults included.
    pub arguments: BTreeMap<&'static str, dsl::Value>,
    /// The instance: shapes, parameters and lowering.
    pub layer: Box<dyn Layer>,
    /// Tensors by number: 0 is the images, `i + 1` the output of node `i`.
    pub inputs: Vec<usize>,
    /// The layer before it whose parameters it uses, by number, where it has none of its own.
    pub weights: Option<usize>,
    /// It stands in `frozen`.
    pub frozen: bool,
}

impl LayerNode {
    /// The trainable tensors of its own, in the order that the layer is lowered with. Kernels start as the argument
    /// says.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        if self.weights.is_some() {
            return Vec::new();
        }
        let mut parameters = self.layer.parameters();
        if let Some(dsl::Value::Str(text)) = self.arguments.get(KERNEL.name)
            && let Ok(start) = Start::of(text)
        {
            let kernels = parameters.iter_mut().filter(|spec| spec.name.rsplit('/').next() == Some(KERNEL.name));
            kernels.for_each(|spec| spec.initializer = start.of_kernel(&spec.stored_shape));
        }
        parameters
    }

    /// What a checkpoint calls a parameter of it.
    pub fn name_of(&self, parameter: &ParameterSpec) -> String {
        format!("{}/{}", self.path, parameter.name)
    }

    /// The arguments as they are written: `units = 8, use_bias = true`.
    pub fn arguments_text(&self) -> String {
        self.arguments.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
    }
}

/// Which parameters of a layer are frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FrozenParameters {
    None,
    /// By their names in the layer.
    Some(Vec<String>),
    All,
}

/// A network whose names are resolved and whose shapes fit.
#[derive(Debug)]
pub struct Architecture {
    pub(super) name: String,
    pub(super) image_shape: [usize; 3],
    pub(super) num_classes: usize,
    pub(super) bindings: BTreeMap<String, dsl::Value>,
    pub(super) nodes: Vec<LayerNode>,
    /// The tensor that is the logits.
    pub(super) output: usize,
    pub(super) warnings: Vec<dsl::Problem>,
    pub(super) unread: Vec<String>,
    pub(super) notes: BTreeMap<String, String>,
    /// Names of the parameters that stay as they are: by the text, or by [`Architecture::freeze`].
    pub(super) frozen: BTreeSet<String>,
}

impl Architecture {
    /// Name of the model in its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `[height, width, channels]` that the network takes.
    pub fn image_shape(&self) -> [usize; 3] {
        self.image_shape
    }

    /// How many classes it tells apart: the length of the logits.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// All parameters of the model with their values.
    pub fn bindings(&self) -> &BTreeMap<String, dsl::Value> {
        &self.bindings
    }

    /// What comments say of the model's parameters, by name.
    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.notes
    }

    /// What is most likely not meant in the model's text.
    pub fn warnings(&self) -> &[dsl::Problem] {
        &self.warnings
    }

    /// The parameters of the model that have no effect, whatever their values are.
    pub fn unread(&self) -> &[String] {
        &self.unread
    }

    /// Keeps the parameters that patterns mean as they are, see [`Parameter::frozen`](crate::graph::Parameter::frozen);
    /// `until` means those of all layers before the first whose path begins so. What the text freezes stays frozen.
    ///
    /// # Errors
    /// What a pattern or `until` means no parameter by, or that none is left to be learned.
    pub fn freeze(&mut self, patterns: &[Pattern], until: Option<&str>) -> Result<(), String> {
        let of_node = |node: &LayerNode| -> Vec<(String, ParameterSpec)> {
            let named = |spec: ParameterSpec| (node.name_of(&spec), spec);
            node.parameters().into_iter().map(named).collect()
        };
        let mut frozen = self.frozen.clone();
        for pattern in patterns {
            let all = self.nodes.iter().flat_map(of_node);
            let meant: Vec<String> =
                all.filter(|(name, spec)| pattern.fits(name, &spec.stored_shape)).map(|(name, _)| name).collect();
            if meant.is_empty() {
                return Err(format!("`{}` means no parameter", pattern.text()));
            }
            frozen.extend(meant);
        }
        if let Some(until) = until {
            let within =
                |path: &str| path == until || path.strip_prefix(until).is_some_and(|rest| rest.starts_with('/'));
            let Some(end) = self.nodes.iter().position(|node| within(&node.path)) else {
                return Err(format!("`{until}` is no layer or block"));
            };
            frozen.extend(self.nodes[..end].iter().flat_map(of_node).map(|(name, _)| name));
        }
        let mut learned = self.nodes.iter().flat_map(of_node).filter(|(_, spec)| spec.averaged.is_none());
        if learned.all(|(name, _)| frozen.contains(&name)) {
            return Err("no parameter is left to be learned".into());
        }
        self.frozen = frozen;
        Ok(())
    }

    /// Whether a parameter stays as it is.
    pub fn is_frozen(&self, parameter: &str) -> bool {
        self.frozen.contains(parameter)
    }

    /// Which parameters of a layer are frozen: all of those it has, or these.
    pub(super) fn frozen_of(&self, node: &LayerNode) -> FrozenParameters {
        let parameters = node.parameters();
        let frozen = parameters.iter().filter(|spec| self.is_frozen(&node.name_of(spec)));
        let names: Vec<String> = frozen.map(|spec| spec.name.clone()).collect();
        match names.len() {
            0 => FrozenParameters::None,
            all if all == parameters.len() => FrozenParameters::All,
            _ => FrozenParameters::Some(names),
        }
    }

    /// The path of the last layer that has parameters: the one that gives the logits.
    pub fn last_layer(&self) -> &str {
        self.nodes.iter().rfind(|node| !node.parameters().is_empty()).map_or("", |node| &node.path)
    }

    /// Adds to each warning where the values came from that caused it, as [`dsl::Problem::explain`].
    pub fn explained(mut self, origin: impl Fn(usize) -> Option<dsl::Problem>) -> Self {
        self.warnings.iter_mut().for_each(|warning| warning.explain(&origin));
        self
    }

    /// The layers, each after those it depends on.
    pub fn layers(&self) -> &[LayerNode] {
        &self.nodes
    }

    /// Adds the network to a graph for a batch size: images `[batch, height, width, channels]`,
    /// logits `[batch, num_classes]`.
    pub fn lower(&self, builder: &mut Builder, batch: usize) -> Network {
        let [height, width, channels] = self.image_shape;
        let images = builder.input(StepInput::Images, &[batch, height, width, channels]);
        let mut tensors: Vec<Value> = vec![images.clone()];
        let mut weights: Vec<Vec<Value>> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let own: Vec<Value> = node
                .parameters()
                .into_iter()
                .map(|spec| {
                    let name = node.name_of(&spec);
                    let value = match spec.averaged {
                        Some(momentum) => builder.moving_average(&name, &spec.shape, spec.initializer, momentum),
                        None => builder.parameter(&name, &spec.shape, &spec.stored_shape, spec.initializer),
                    };
                    if self.is_frozen(&name) {
                        builder.freeze_last();
                    }
                    value
                })
                .collect();
            let parameters = node.weights.map_or(own, |owner| weights[owner].clone());
            let inputs: Vec<Value> = node.inputs.iter().map(|&input| tensors[input].clone()).collect();
            builder.enter(&node.path);
            tensors.push(node.layer.lower(builder, &inputs, &parameters));
            weights.push(parameters);
        }
        Network { images, logits: tensors[self.output].clone() }
    }

    /// The stable text form: one layer a line, with inputs, output shape and arguments.
    pub fn text(&self) -> String {
        let mut text =
            format!("model {} (%0: {:?}) -> %{}: [{}]\n", self.name, self.image_shape, self.output, self.num_classes);
        for (index, node) in self.nodes.iter().enumerate() {
            let inputs: Vec<String> = node.inputs.iter().map(|input| format!("%{input}")).collect();
            let shape = node.layer.output_shape();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "%{}: {shape:?} = {}({}) {{{}}}  // {}{}{}",
                index + 1,
                node.kind,
                inputs.join(", "),
                node.arguments_text(),
                node.path,
                node.weights.map_or(String::new(), |owner| format!(", weights of {}", self.nodes[owner].path)),
                match self.frozen_of(node) {
                    FrozenParameters::None => String::new(),
                    FrozenParameters::All => ", frozen".to_owned(),
                    FrozenParameters::Some(names) => format!(", frozen: {}", names.join(", ")),
                }
            );
        }
        text
    }
}
