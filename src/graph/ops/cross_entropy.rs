use std::{any::Any, sync::Arc};

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
///
/// With class weights c, what an image adds to the sum is multiplied by c of its label, and the mean still divides by the
/// number of images (Keras `class_weight`). A mixed image adds `w c[a]` times its loss with label a and `(1 - w) c[b]` times that
/// with b.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CrossEntropy {
    /// From 0 to below 1.
    pub label_smoothing: f32,
    /// Whether each class is told from all others by itself.
    pub per_class: bool,
    /// By class; none: all are 1.
    pub class_weights: Option<Arc<[f32]>>,
}

impl CrossEntropy {
    /// `[batch, classes]`, each row of which sums to 1 or, with class weights, to what comes second, `[batch]`.
    fn target(&self, builder: &mut Builder, labels: &Value, classes: usize) -> (Value, Option<Value>) {
        let mut one_hot = match labels.shape.len() {
            1 => one_hot(builder, labels, classes),
            _ => mixed(builder, labels, classes),
        };
        let batch = labels.shape[0];
        let weights = self.class_weights.as_ref().map(|weights| {
            let node = builder.add_node(Table { values: weights.to_vec() }, &[]);
            let table = Value { node, output: 0, shape: vec![classes] };
            one_hot = builder.prim_mul(&one_hot, View::from(&table).expand(0, batch));
            builder.prim_sum(&one_hot, 1)
        });
        let smoothing = self.label_smoothing;
        let target = match &weights {
            _ if smoothing == 0.0 => one_hot,
            None => builder.prim_affine(&one_hot, 1.0 - smoothing, smoothing / classes as f32),
            Some(weights) => {
                let own = builder.prim_affine(&one_hot, 1.0 - smoothing, 0.0);
                let each = builder.prim_affine(weights, smoothing / classes as f32, 0.0);
                builder.prim_add(&own, View::from(&each).expand(1, classes))
            }
        };
        (target, weights)
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let smoothing = self.label_smoothing;
        let smoothed = (smoothing != 0.0).then(|| ("label_smoothing", smoothing.to_string()));
        let weighted = self.class_weights.as_ref().map(|weights| {
            let weights: Vec<String> = weights.iter().map(f32::to_string).collect();
            ("class_weights", format!("[{}]", weights.join(", ")))
        });
        smoothed.into_iter().chain(self.per_class.then(|| ("per_class", "true".to_owned()))).chain(weighted).collect()
    }
}

/// `value` `[batch, classes]` with each row multiplied by its weight `[batch]`, where there are any.
fn weighted(builder: &mut Builder, value: Value, weights: Option<&Value>) -> Value {
    match weights {
        Some(weights) if weights.shape == value.shape => builder.prim_mul(&value, weights),
        Some(weights) => builder.prim_mul(&value, View::from(weights).expand(1, value.shape[1])),
        None => value,
    }
}

/// Numbers by class.
#[derive(Debug, PartialEq)]
struct Table {
    values: Vec<f32>,
}

impl Operator for Table {
    fn process(&mut self, _: Vec<(InputTensor, ShapeTracker)>) -> Vec<Tensor> {
        vec![Tensor::new(self.values.clone())]
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
        self.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        assert_eq!(inputs[0][..1], inputs[1][..1], "cross_entropy");
        if let Some(weights) = &self.class_weights {
            assert_eq!(weights.len(), inputs[0][1], "class weights");
        }
        assert!(matches!(inputs[1], [_] | [_, 3]), "cross_entropy of labels {:?}", inputs[1]);
        vec![vec![1]]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let inputs = [&site.grads[0], &site.inputs[0], &site.inputs[1]];
        vec![Some(builder.apply_one(CrossEntropyGradient(self.clone()), &inputs)), None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (logits, labels) = (&inputs[0], &inputs[1]);
        let (batch, classes) = (logits.shape[0], logits.shape[1]);
        if self.per_class {
            let (target, weights) = self.target(builder, labels, classes);
            let losses = match &weights {
                None => {
                    let loss = Expression::new(2, |x| softplus(&x[0]) - &x[0] * &x[1]);
                    decompose(builder, &loss, &[View::from(logits), View::from(&target)], &logits.shape)
                }
                Some(weights) => {
                    let loss = Expression::new(3, |x| softplus(&x[0]) * &x[2] - &x[0] * &x[1]);
                    let weights = View::from(weights).expand(1, classes);
                    decompose(builder, &loss, &[View::from(logits), View::from(&target), weights], &logits.shape)
                }
            };
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
        let (target, weights) = self.target(builder, labels, classes);
        let log_sums = weighted(builder, log_sums, weights.as_ref());
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
#[derive(Debug, Clone, PartialEq)]
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
        let (target, weights) = self.0.target(builder, labels, classes);
        let (probabilities, terms) = if self.0.per_class {
            let sigmoid = Expression::new(1, |x| x[0].sigmoid());
            (decompose(builder, &sigmoid, &[View::from(logits)], &logits.shape), batch * classes)
        } else {
            (prim_softmax(builder, logits), batch)
        };
        let probabilities = weighted(builder, probabilities, weights.as_ref());
        let difference = builder.prim_sub(&probabilities, &target);
        let mean = builder.prim_affine(&difference, 1.0 / terms as f32, 0.0);
        let scalar = Value { shape: vec![], ..dloss.clone() };
        vec![builder.prim_mul(&mean, View::from(&scalar).broadcast(&[batch, classes]))]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
