//! A checked network as a list of its layers, for people and for other tools.

use serde::Serialize;

use super::{Architecture, LayerNode};
use crate::{diagram::Diagram, dsl::Value};

/// What [`Architecture::text`] says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelListing<'a> {
    pub name: &'a str,
    /// `[height, width, channels]`.
    pub image_shape: [usize; 3],
    pub num_classes: usize,
    pub parameters: Vec<(&'a str, &'a Value)>,
    pub layers: Vec<LayerListing<'a>>,
    /// The tensor that is the logits.
    pub output: usize,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerListing<'a> {
    /// The number of its output. 0 is the images.
    pub id: usize,
    pub path: &'a str,
    pub kind: &'static str,
    pub arguments: &'a str,
    pub inputs: &'a [usize],
    /// For one image.
    pub output_shape: Vec<usize>,
}

impl Architecture {
    /// Lists the layers.
    pub fn listing<'a>(&'a self) -> ModelListing<'a> {
        let layer = |(index, node): (usize, &'a LayerNode)| LayerListing {
            id: index + 1,
            path: &node.path,
            kind: node.kind,
            arguments: &node.arguments,
            inputs: &node.inputs,
            output_shape: node.layer.output_shape(),
        };
        ModelListing {
            name: self.name(),
            image_shape: self.image_shape(),
            num_classes: self.num_classes(),
            parameters: self.bindings().iter().map(|(name, value)| (name.as_str(), value)).collect(),
            layers: self.layers().iter().enumerate().map(layer).collect(),
            output: self.output,
        }
    }

    /// The network to be drawn: a box for the images, and one for each layer.
    pub fn diagram(&self) -> Diagram {
        let mut diagram = Diagram::default();
        diagram.add(vec!["images".into(), format!("{:?}", self.image_shape())], []);
        for node in self.layers() {
            let shape = format!("{:?}", node.layer.output_shape());
            let call = format!("{}({})", node.kind, node.arguments);
            let mut inputs = node.inputs.clone();
            inputs.dedup();
            diagram.add(vec![node.path.clone(), call, shape], inputs);
        }
        diagram
    }
}
