use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, ParameterSpec, last_axis};
use crate::graph::{Builder, Initializer, Value, expression::Expression, ops::Operand};

/// `layer_scale(initial_value = 1e-5)`: a learned factor for each place of the last axis, small at the start, at the
/// end of a `residual`.
pub const KIND: LayerKind = LayerKind {
    name: "layer_scale",
    meaning: "times a learned factor for each place of the last axis; at the end of a `residual`",
    shape: "any to itself",
    source: "CaiT, Touvron et al. 2021; `timm.layers.LayerScale`",
    inputs: Inputs::Current,
    arguments: &[Argument::optional("initial_value", Kind::Number, Default::Float(1e-5))],
    build: |_, shapes, arguments| {
        let (shape, dim) = last_axis("layer_scale", shapes)?;
        Ok(Box::new(LayerScale { shape, dim, value: arguments.number("initial_value") }))
    },
};

#[derive(Debug)]
struct LayerScale {
    shape: Vec<usize>,
    dim: usize,
    value: f32,
}

impl Layer for LayerScale {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![ParameterSpec::plain("gamma", &[self.dim], Initializer::Constant { value: self.value })]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let product = Expression::new(2, |x| &x[0] * &x[1]);
        builder.pointwise(KIND.name, product, &[(&inputs[0], Operand::Whole), (&parameters[0], Operand::Shared)])
    }
}
