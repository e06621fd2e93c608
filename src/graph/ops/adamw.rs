use std::any::Any;

use crate::graph::{Builder, Gradients, Operation, Value, primitives::View};

/// One AdamW update of one parameter, with Keras' placement of epsilon (`keras.optimizers.AdamW`;
/// Loshchilov & Hutter 2019):
///
/// ```text
/// w -= lr * weight_decay * w
/// m += (g - m) (1 - beta_1)
/// v += (g^2 - v) (1 - beta_2)
/// w -= alpha * m / (sqrt(v) + epsilon),   alpha = lr sqrt(1 - beta_2^t) / (1 - beta_1^t)
/// ```
///
/// Inputs w, g, m, v (one shape) and `[learning_rate, alpha]`; outputs the new w, m, v, which
/// backends write in place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWUpdate {
    pub beta_1: f32,
    pub beta_2: f32,
    pub epsilon: f32,
    pub weight_decay: f32,
}

impl AdamWUpdate {
    /// The fifth input at optimizer iteration `iteration` (from 0).
    pub fn rates(&self, learning_rate: f32, iteration: u64) -> [f32; 2] {
        let t = (iteration + 1) as f64;
        let correction = (1.0 - f64::from(self.beta_2).powf(t)).sqrt() / (1.0 - f64::from(self.beta_1).powf(t));
        [learning_rate, (f64::from(learning_rate) * correction) as f32]
    }
}

impl Operation for AdamWUpdate {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![
            ("beta_1", self.beta_1.to_string()),
            ("beta_2", self.beta_2.to_string()),
            ("epsilon", format!("{:e}", self.epsilon)),
            ("weight_decay", self.weight_decay.to_string()),
        ]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec(), inputs[2].to_vec(), inputs[3].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![None; site.inputs.len()]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (w, g, m, v, rates) = (&inputs[0], &inputs[1], &inputs[2], &inputs[3], &inputs[4]);
        let rate = |builder: &mut Builder, index| {
            let one = builder.prim_contiguous(View::from(rates).slice(0, index, 1));
            View::from(&Value { shape: vec![], ..one }).broadcast(&w.shape)
        };
        let (learning_rate, alpha) = (rate(builder, 0), rate(builder, 1));

        let decay = builder.prim_affine(w, -self.weight_decay, 0.0);
        let decay = builder.prim_mul(&decay, learning_rate);
        let decayed = builder.prim_add(w, &decay);

        let toward = |builder: &mut Builder, old: &Value, target: &Value, beta: f32| {
            let difference = builder.prim_sub(target, old);
            let change = builder.prim_affine(&difference, 1.0 - beta, 0.0);
            builder.prim_add(old, &change)
        };
        let m = toward(builder, m, g, self.beta_1);
        let square = builder.prim_mul(g, g);
        let v = toward(builder, v, &square, self.beta_2);

        let root = builder.prim_sqrt(&v);
        let denominator = builder.prim_affine(&root, 1.0, self.epsilon);
        let recip = builder.prim_recip(&denominator);
        let direction = builder.prim_mul(&m, &recip);
        let update = builder.prim_mul(&direction, alpha);
        vec![builder.prim_sub(&decayed, &update), m, v]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
