use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, Misfit, ParameterSpec, show};
use crate::graph::{Builder, Initializer, Value, expression::Expression, ops::Operand};

/// `weighted_sum(x, y, .., normalization = fast)`: the sum of tensors of one shape, each times a learned weight. The weights
/// `w` are made of the learned `weights`, 1 at the start:
///
/// ```text
/// fast     max(w, 0) / (1e-4 + the sum of those)   BiFPN's fast normalized fusion, Tan et al. 2020
/// softmax  softmax(w)                              ELMo's scalar mix, Peters et al. 2018, without its common factor
/// none     w
/// ```
pub const KIND: LayerKind = LayerKind {
    name: "weighted_sum",
    meaning: "the sum of two or more tensors, each times a learned weight; weights are made to sum to 1 unless `normalization = none`",
    shape: "tensors of one shape to that",
    source: "BiFPN's fast normalized fusion, Tan et al. 2020; `softmax`: ELMo, Peters et al. 2018",
    inputs: Inputs::Listed,
    arguments: &[Argument::optional(
        "normalization",
        Kind::Choice(&["fast", "softmax", "none"]),
        Default::Word("fast"),
    )],
    build: |_, shapes, arguments| {
        let shape = shapes.first().cloned().unwrap_or_default();
        if let Some(other) = shapes.iter().find(|other| **other != shape) {
            let message = format!("`weighted_sum` cannot sum shapes {}", show(&[shape, other.clone()]));
            return Err(Misfit::new(message, "needs tensors of one shape"));
        }
        let normalization = match arguments.word("normalization") {
            "softmax" => Normalization::Softmax,
            "none" => Normalization::None,
            _ => Normalization::Fast,
        };
        Ok(Box::new(WeightedSum { shape, count: shapes.len(), normalization }))
    },
};

/// What keeps the fast normalization finite.
const EPSILON: f32 = 1e-4;

#[derive(Debug, Clone, Copy)]
enum Normalization {
    Fast,
    Softmax,
    None,
}

#[derive(Debug)]
struct WeightedSum {
    shape: Vec<usize>,
    count: usize,
    normalization: Normalization,
}

impl WeightedSum {
    /// The weights that are learned, `[images, count]`, as they are applied.
    fn normalized(&self, builder: &mut Builder, weights: &Value) -> Value {
        match self.normalization {
            Normalization::None => weights.clone(),
            Normalization::Softmax => builder.softmax(weights),
            Normalization::Fast => {
                let relu = Expression::new(1, |x| x[0].max(&x[0].constant(0.0)));
                let positive = builder.pointwise("relu", relu, &[(weights, Operand::Whole)]);
                let (mean, count) = (builder.mean(&positive, 1), self.count as f32);
                let share = Expression::new(2, |x| &x[0] * (&x[1] * count + EPSILON).reciprocal());
                builder.pointwise("share", share, &[(&positive, Operand::Whole), (&mean, Operand::PerImage)])
            }
        }
    }
}

impl Layer for WeightedSum {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![ParameterSpec::plain("weights", &[self.count], Initializer::Ones)]
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let images = inputs[0].shape[0];
        let weights = builder.expand(&parameters[0], images);
        let weights = self.normalized(builder, &weights);
        let mut sum: Option<Value> = None;
        for (index, x) in inputs.iter().enumerate() {
            let weight = builder.slice(&weights, 1, index, 1);
            let weight = builder.reshape(&weight, &[images]);
            sum = Some(match &sum {
                None => {
                    let product = Expression::new(2, |x| &x[0] * &x[1]);
                    builder.pointwise(KIND.name, product, &[(x, Operand::Whole), (&weight, Operand::PerImage)])
                }
                Some(sum) => {
                    let more = Expression::new(3, |x| &x[0] + &x[1] * &x[2]);
                    let operands = [(sum, Operand::Whole), (x, Operand::Whole), (&weight, Operand::PerImage)];
                    builder.pointwise(KIND.name, more, &operands)
                }
            });
        }
        sum.unwrap_or_else(|| unreachable!("there are two tensors at least"))
    }
}
