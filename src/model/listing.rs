//! A checked network as a list of its layers, for people and for other tools.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Architecture, LayerNode, layers::ParameterSpec};
use crate::{diagram::Diagram, dsl::Value};

/// What [`Architecture::text`] says, and what each layer costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelListing<'a> {
    /// Of the model, as its text says.
    pub name: &'a str,
    /// `[height, width, channels]`.
    pub image_shape: [usize; 3],
    /// The length of the logits.
    pub num_classes: usize,
    /// The values of the model's parameters.
    pub parameters: &'a BTreeMap<String, Value>,
    /// What comments say of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: &'a BTreeMap<String, String>,
    /// Each after those that it depends on.
    pub layers: Vec<LayerListing<'a>>,
    /// The layer that gives the logits.
    pub output: &'a str,
    /// Of all layers.
    pub totals: Totals,
}

/// What all layers together have and do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Number of learned values, and of those that are kept from step to step.
    pub parameters: u64,
    /// Of these, those that are trained: all but moving averages, and what is frozen.
    pub trainable: u64,
    /// Of the matrix products of a forward pass over one image, a multiply-add counting two.
    pub flops: u64,
    /// The multiply-adds of the same.
    pub macs: u64,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerListing<'a> {
    /// Of the instance: blocks, then the layer's own name.
    pub path: &'a str,
    /// The layer's name in the language.
    pub kind: &'static str,
    /// All of them, defaults included.
    pub arguments: &'a BTreeMap<&'static str, Value>,
    /// The layers whose outputs it takes, or `images`.
    pub inputs: Vec<&'a str>,
    /// For one image, as all shapes.
    pub input_shapes: Vec<Vec<usize>>,
    /// For one image.
    pub output_shape: Vec<usize>,
    /// Number of trained values.
    pub parameters: u64,
    /// The parameters, in the order of the layer.
    pub tensors: Vec<ParameterListing>,
    /// The layer whose trained values it uses, where it has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_of: Option<&'a str>,
    /// See [`Totals`].
    pub flops: u64,
    /// The multiply-adds of the same.
    pub macs: u64,
}

/// A trained tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParameterListing {
    /// As checkpoints call it.
    pub name: String,
    /// As checkpoints have it.
    pub shape: Vec<usize>,
    /// It stays as it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
}

/// What a layer calls the tensor that no layer makes.
const IMAGES: &str = "images";

impl Architecture {
    /// Lists the layers.
    pub fn listing(&self) -> ModelListing<'_> {
        let name = |tensor: usize| -> &str {
            match tensor {
                0 => IMAGES,
                layer => &self.layers()[layer - 1].path,
            }
        };
        let shape = |tensor: usize| match tensor {
            0 => self.image_shape().to_vec(),
            layer => self.layers()[layer - 1].layer.output_shape(),
        };
        let listed = |node: &'_ LayerNode| -> Vec<ParameterListing> {
            let named = |spec: ParameterSpec| ParameterListing {
                name: node.name_of(&spec),
                frozen: self.is_frozen(&node.name_of(&spec)),
                shape: spec.stored_shape,
            };
            node.parameters().into_iter().map(named).collect()
        };
        let mut layers = Vec::with_capacity(self.layers().len());
        for node in self.layers() {
            let tensors = listed(node);
            let elements = |tensor: &ParameterListing| tensor.shape.iter().product::<usize>() as u64;
            let flops = node.layer.flops();
            layers.push(LayerListing {
                path: &node.path,
                kind: node.kind,
                arguments: &node.arguments,
                inputs: node.inputs.iter().map(|&input| name(input)).collect(),
                input_shapes: node.inputs.iter().map(|&input| shape(input)).collect(),
                output_shape: node.layer.output_shape(),
                parameters: tensors.iter().map(elements).sum(),
                tensors,
                weights_of: node.weights.map(|owner| self.layers()[owner].path.as_str()),
                flops,
                macs: flops / 2,
            });
        }
        let flops = layers.iter().map(|layer| layer.flops).fold(0, u64::saturating_add);
        let parameters = layers.iter().map(|layer| layer.parameters).sum();
        ModelListing {
            name: self.name(),
            image_shape: self.image_shape(),
            num_classes: self.num_classes(),
            parameters: self.bindings(),
            notes: self.notes(),
            layers,
            output: name(self.output),
            totals: Totals { parameters, trainable: self.summary().learned, flops, macs: flops / 2 },
        }
    }

    /// The network to be drawn: a box for the images, and one for each layer.
    pub fn diagram(&self) -> Diagram {
        let mut diagram = Diagram::default();
        diagram.add(vec![IMAGES.into(), format!("{:?}", self.image_shape())], []);
        for node in self.layers() {
            let shape = format!("{:?}", node.layer.output_shape());
            let call = format!("{}({})", node.kind, node.arguments_text());
            diagram.add_in(&node.path, vec![node.path.clone(), call, shape], node.inputs.iter().copied());
        }
        diagram
    }
}
