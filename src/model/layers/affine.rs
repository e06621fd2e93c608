use super::{Inputs, Layer, LayerKind, ParameterSpec, last_axis};
use crate::graph::{Builder, Initializer, Value, expression::Expression, ops::Operand};

/// `affine`: a learned factor and offset for each place of the last axis, 1 and 0 at the start.
pub const KIND: LayerKind = LayerKind {
    name: "affine",
    meaning: "times a learned factor, plus a learned offset, for each place of the last axis",
    shape: "any to itself",
    source: "ResMLP, Touvron et al. 2021; `timm.models.mlp_mixer.Affine`",
    inputs: Inputs::Current,
    arguments: &[],
    build: |_, shapes, _| {
        let (shape, dim) = last_axis("affine", shapes)?;
        Ok(Box::new(Affine { shape, dim }))
    },
};

#[derive(Debug)]
struct Affine {
    shape: Vec<usize>,
    dim: usize,
}

impl Layer for Affine {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![
            ParameterSpec::plain("alpha", &[self.dim], Initializer::Ones),
            ParameterSpec::plain("beta", &[self.dim], Initializer::Zeros),
        ]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let map = Expression::new(3, |x| &x[0] * &x[1] + &x[2]);
        let [alpha, beta] = [0, 1].map(|index| (&parameters[index], Operand::Shared));
        builder.pointwise(KIND.name, map, &[(&inputs[0], Operand::Whole), alpha, beta])
    }
}
