use super::{Argument, Inputs, Kind, Layer, LayerKind, last_axis};
use crate::graph::{Builder, Value};

/// `drop_path(rate)`: stochastic depth, active in training only. At the end of a `residual` it leaves the branch out,
/// for each image with probability `rate`, and scales what stays by `1 / (1 - rate)`.
pub const KIND: LayerKind = LayerKind {
    name: "drop_path",
    meaning: "sets a share of the images to zero as a whole, in training only; at the end of a `residual`",
    shape: "any to itself",
    source: "stochastic depth, Huang et al. 2016; `timm.layers.DropPath`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("rate", Kind::Rate)],
    build: |_, shapes, arguments| {
        let (shape, _) = last_axis("drop_path", shapes)?;
        Ok(Box::new(DropPath { shape, rate: arguments.number("rate") }))
    },
};

#[derive(Debug)]
struct DropPath {
    shape: Vec<usize>,
    rate: f32,
}

impl Layer for DropPath {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        builder.drop_path(&inputs[0], self.rate)
    }
}
