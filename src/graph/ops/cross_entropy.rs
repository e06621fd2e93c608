use std::any::Any;

use luminal::{
    op::{InputTensor, Operator},
    prelude::{ShapeTracker, Tensor},
};

use super::softmax::prim_softmax;
use crate::graph::{
    Builder, Gradients, Operation, Value,
    expression::{Expression, Term, decompose},
    primitives::View,
};

/// Mean softmax cross-entropy (Keras `SparseCategoricalCrossentropy(from_logits=True)`): logits
/// `[batch, classes]`, labels `[batch]` (class indices held as float32); output `[1]`. The target of an image is
/// `(1 - s) one_hot(label) + s / classes`, where s is the smoothing (Keras `CategoricalCrossentropy`). With labels
/// `[batch, 3]`, of which a row is (a, b, w), `w one_hot(a) + (1 - w) one_hot(b)` stands for `one_hot(label)`.
///
/// Per class, it is the mean over batch and classes of the binary cross-entropy of `sigmoid(logit)` with the same target
/// (PyTorch `BCEWithLogitsLoss`, timm `BinaryCrossEntropy`): `softplus(logit) - target logit`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CrossEntropy {
    /// From 0 to below 1.
    pub label_smoothing: f32,
    /// Whether each class is told from all others by itself.
    pub per_class: bool,
}

impl CrossEntropy {
    /// `[batch, classes]`, each row of which sums to 1.
    fn target(self, builder: &mut Builder, labels: &Value, classes: usize) -> Value {
        let one_hot = match labels.shape.len() {
            1 => one_hot(builder, labels, classes),
            _ => mixed(builder, labels, classes),
        };
        let smoothing = self.label_smoothing;
        if smoothing == 0.0 {
            return one_hot;
        }
        builder.prim_affine(&one_hot, 1.0 - smoothing, smoothing / classes as f32)
    }

    fn attributes(self) -> Vec<(&'static str, String)> {
        let smoothing = self.label_smoothing;
        let smoothed = (smoothing != 0.0).then(|| ("label_smoothing", smoothing.to_string()));
        smoothed.into_iter().chain(self.per_class.then(|| ("per_class", "true".to_owned()))).collect()
    }
}

/// `0, 1, .. count - 1`.
#[derive(Debug, PartialEq)]
struct Range {
    count: usize,
}

impl Operator for Range {
    fn process(&mut self, _: Vec<(InputTensor, ShapeTracker)>) -> Vec<Tensor> {
        vec![Tensor::new((0..self.count).map(|i| i as f32).collect::<Vec<_>>())]
    }
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: &Term) -> Term {
    let magnitude = x.max(&(x * -1.0));
    x.max(&x.constant(0.0)) + (magnitude * -1.0).exp().log1p()
}

/// `[batch, classes]` with a one at each row's label: classes less than half away from it. (Spelled
/// as "neither less nor greater", luminal 0.2.0's CPU compiler would take it for its equality
/// pattern, which computes "less".)
fn one_hot(builder: &mut Builder, labels: &Value, classes: usize) -> Value {
    let batch = labels.shape[0];
    let node = builder.add_node(Range { count: classes }, &[]);
    let range = Value { node, output: 0, shape: vec![classes] };
    let range = || View::from(&range).expand(0, batch);
    let below = builder.prim_affine(labels, 1.0, -0.5);
    let above = builder.prim_affine(labels, 1.0, 0.5);
    let over = builder.prim_less_than(View::from(&below).expand(1, classes), range());
    let under = builder.prim_less_than(range(), View::from(&above).expand(1, classes));
    builder.prim_mul(&over, &under)
}

/// `[batch, classes]` of labels `[batch, 3]`.
fn mixed(builder: &mut Builder, labels: &Value, classes: usize) -> Value {
    let batch = labels.shape[0];
    let [first, second, weight] = [0, 1, 2].map(|at| {
        let column = builder.prim_contiguous(View::from(labels).slice(1, at, 1));
        Value { shape: vec![batch], ..column }
    });
    let rest = builder.prim_affine(&weight, -1.0, 1.0);
    let [first, second] = [(first, weight), (second, rest)].map(|(label, weight)| {
        let one_hot = one_hot(builder, &label, classes);
        builder.prim_mul(&one_hot, View::from(&weight).expand(1, classes))
    });
    builder.prim_add(&first, &second)
}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        (*self).attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        assert_eq!(inputs[0][..1], inputs[1][..1], "cross_entropy");
        assert!(matches!(inputs[1], [_] | [_, 3]), "cross_entropy of labels {:?}", inputs[1]);
        vec![vec![1]]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let inputs = [&site.grads[0], &site.inputs[0], &site.inputs[1]];
        vec![Some(builder.apply_one(CrossEntropyGradient(*self), &inputs)), None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (logits, labels) = (&inputs[0], &inputs[1]);
        let (batch, classes) = (logits.shape[0], logits.shape[1]);
        if self.per_class {
            let target = self.target(builder, labels, classes);
            let loss = Expression::new(2, |x| softplus(&x[0]) - &x[0] * &x[1]);
            let losses = decompose(builder, &loss, &[View::from(logits), View::from(&target)], &logits.shape);
            let sums = builder.prim_sum(&losses, 1);
            let mut total = builder.prim_sum(&sums, 0);
            total.shape = vec![1];
            return vec![builder.prim_affine(&total, 1.0 / (batch * classes) as f32, 0.0)];
        }
        let max = builder.prim_max(logits, 1);
        let shifted = builder.prim_sub(logits, View::from(&max).expand(1, classes));
        let exps = builder.prim_exp(&shifted);
        let sums = builder.prim_sum(&exps, 1);
        let log_sums = builder.prim_ln(&sums);
        let target = self.target(builder, labels, classes);
        let chosen = builder.prim_mul(&shifted, &target);
        let chosen = builder.prim_sum(&chosen, 1);
        let losses = builder.prim_sub(&log_sums, &chosen);
        let mut total = builder.prim_sum(&losses, 0);
        total.shape = vec![1];
        vec![builder.prim_affine(&total, 1.0 / batch as f32, 0.0)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `dlogits = dloss (softmax(logits) - target) / batch`, and per class `dloss (sigmoid(logits) - target) / (batch classes)`. Inputs dloss `[1]`, logits `[batch, classes]`, labels `[batch]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossEntropyGradient(pub CrossEntropy);

impl Operation for CrossEntropyGradient {
    fn name(&self) -> &'static str {
        "cross_entropy_gradient"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.0.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[1].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (dloss, logits, labels) = (&inputs[0], &inputs[1], &inputs[2]);
        let (batch, classes) = (logits.shape[0], logits.shape[1]);
        let target = self.0.target(builder, labels, classes);
        let (probabilities, terms) = if self.0.per_class {
            let sigmoid = Expression::new(1, |x| x[0].sigmoid());
            (decompose(builder, &sigmoid, &[View::from(logits)], &logits.shape), batch * classes)
        } else {
            (prim_softmax(builder, logits), batch)
        };
        let difference = builder.prim_sub(&probabilities, &target);
        let mean = builder.prim_affine(&difference, 1.0 / terms as f32, 0.0);
        let scalar = Value { shape: vec![], ..dloss.clone() };
        vec![builder.prim_mul(&mean, View::from(&scalar).broadcast(&[batch, classes]))]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
