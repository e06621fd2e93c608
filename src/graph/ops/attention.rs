use std::any::Any;

use super::{
    Dropout, flops,
    lookup::{left_out, prim_identity},
    softmax::prim_softmax,
    viewed,
};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Scaled dot-product attention per head (Vaswani et al. 2017; the core of Keras'
/// `MultiHeadAttention`): `softmax(scale Q K^T)`, dropout on these weights, times V.
///
/// Inputs query `[batch, tokens, heads * key_dim]`, key `[batch, sources, heads * key_dim]`, value
/// `[batch, sources, heads * value_dim]`, and the random state when the rate is not zero. Outputs
/// `[batch, tokens, heads * value_dim]` and the weights before dropout
/// `[batch, heads, tokens, sources]`. There may be more axes behind the batch: tokens of one window attend to those of the
/// same.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// How many; each has its own columns of query, key and value.
    pub heads: usize,
    /// Of the weights; a rate of 0 for none.
    pub dropout: Dropout,
    /// What scores are multiplied by; `1 / sqrt(key_dim)` if not given.
    pub scale: Option<f32>,
    /// All heads have the same keys: key is `[batch, sources, key_dim]`.
    pub shared_keys: bool,
    /// The output is the sum over heads: `[batch, tokens, value_dim]`.
    pub summed: bool,
    /// No token attends to itself: scores of a query and the key of the same number are left out of the softmax (Lee et
    /// al. 2021). There are as many keys as queries, and at least two.
    pub diagonal: bool,
}

/// What a score that is left out is: its exponential is zero beside that of any other.
pub(crate) const LEFT_OUT: f32 = -1e30;

/// Sizes of one attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttentionShape {
    /// Images, or windows of all images.
    pub batch: usize,
    pub tokens: usize,
    pub sources: usize,
    pub heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
}

impl AttentionShape {
    pub fn new(operator: &Attention, query: &[usize], key: &[usize], value: &[usize]) -> Self {
        let heads = operator.heads;
        let (
            [leading @ .., tokens, width],
            [key_leading @ .., sources, key_width],
            [value_leading @ .., value_sources, value_width],
        ) = (query, key, value)
        else {
            panic!("attention: {query:?}, {key:?}, {value:?}")
        };
        assert!(
            !leading.is_empty() && leading == key_leading && leading == value_leading,
            "attention: {query:?}, {key:?}, {value:?}"
        );
        let [tokens, width, sources, key_width, value_sources, value_width] =
            [tokens, width, sources, key_width, value_sources, value_width].map(|length| *length);
        assert!(!operator.diagonal || tokens == sources && tokens > 1, "attention: {query:?}, {key:?}");
        let batch = leading.iter().product();
        let keys = if operator.shared_keys { heads * key_width } else { key_width };
        assert!(width == keys && sources == value_sources, "attention: {query:?}, {key:?}, {value:?}");
        assert!(width % heads == 0 && value_width % heads == 0, "attention: {heads} heads of {query:?}, {value:?}");
        Self { batch, tokens, sources, heads, key_dim: width / heads, value_dim: value_width / heads }
    }

    fn groups(&self) -> usize {
        self.batch * self.heads
    }

    /// Multiply-adds of one pass over `[tokens, sources, dim]` for all heads.
    fn product(&self, dim: usize) -> u64 {
        flops([self.batch, self.heads, self.tokens, self.sources, dim])
    }
}

/// All axes before the last two as one: `[.., rows, dim]` to `[batch, rows, dim]`.
fn together(x: &Value) -> Value {
    let [leading @ .., rows, dim] = x.shape.as_slice() else { panic!("attention: {:?}", x.shape) };
    viewed(x, &[leading.iter().product(), *rows, *dim])
}

/// `[batch, tokens, heads * dim]` to `[batch * heads, tokens, dim]`.
fn split_heads(builder: &mut Builder, x: &Value, heads: usize) -> Value {
    let &[batch, tokens, width] = x.shape.as_slice() else { panic!("split_heads: {:?}", x.shape) };
    let dim = width / heads;
    let view = View::from(&viewed(x, &[batch, tokens, heads, dim])).permute(&[0, 2, 1, 3]);
    let split = builder.prim_contiguous(view);
    viewed(&split, &[batch * heads, tokens, dim])
}

/// The inverse of [`split_heads`].
fn merge_heads(builder: &mut Builder, x: &Value, heads: usize) -> Value {
    let &[groups, tokens, dim] = x.shape.as_slice() else { panic!("merge_heads: {:?}", x.shape) };
    let view = View::from(&viewed(x, &[groups / heads, heads, tokens, dim])).permute(&[0, 2, 1, 3]);
    let merged = builder.prim_contiguous(view);
    viewed(&merged, &[groups / heads, tokens, heads * dim])
}

/// `[batch, rows, dim]` to `[batch * heads, rows, dim]`: the same for every head.
fn for_all_heads(builder: &mut Builder, x: &Value, heads: usize) -> Value {
    let &[batch, rows, dim] = x.shape.as_slice() else { panic!("for_all_heads: {:?}", x.shape) };
    let repeated = builder.prim_contiguous(View::from(x).expand(1, heads));
    viewed(&repeated, &[batch * heads, rows, dim])
}

/// The gradient of [`for_all_heads`], and the sum over heads.
fn over_heads(builder: &mut Builder, x: &Value, heads: usize) -> Value {
    let &[groups, rows, dim] = x.shape.as_slice() else { panic!("over_heads: {:?}", x.shape) };
    builder.prim_sum(&viewed(x, &[groups / heads, heads, rows, dim]), 1)
}

impl Attention {
    /// What scores are multiplied by, for heads of `key_dim`.
    pub fn scale(&self, key_dim: usize) -> f32 {
        self.scale.unwrap_or_else(|| 1.0 / (key_dim as f32).sqrt())
    }

    /// Key, `[batch * heads, sources, key_dim]`.
    fn keys(&self, builder: &mut Builder, key: &Value) -> Value {
        if self.shared_keys { for_all_heads(builder, key, self.heads) } else { split_heads(builder, key, self.heads) }
    }

    fn dropped(&self, builder: &mut Builder, weights: &Value, random: Option<&Value>) -> Value {
        match random {
            Some(random) => {
                let mask = self.dropout.mask(builder, random, &weights.shape);
                builder.prim_mul(weights, &mask)
            }
            None => weights.clone(),
        }
    }
}

impl Operation for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = vec![("heads", self.heads.to_string())];
        if self.dropout.rate > 0.0 {
            attributes.extend(self.dropout.attributes());
        }
        attributes.extend(self.scale.map(|scale| ("scale", scale.to_string())));
        attributes.extend(self.shared_keys.then(|| ("keys", "shared".to_owned())));
        attributes.extend(self.summed.then(|| ("output", "summed".to_owned())));
        attributes.extend(self.diagonal.then(|| ("mask", "diagonal".to_owned())));
        attributes
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let shape = AttentionShape::new(self, inputs[0], inputs[1], inputs[2]);
        let width = shape.value_dim * if self.summed { 1 } else { shape.heads };
        let leading = &inputs[0][..inputs[0].len() - 2];
        vec![
            [leading, &[shape.tokens, width]].concat(),
            [leading, &[shape.heads, shape.tokens, shape.sources]].concat(),
        ]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let mut inputs = vec![&site.grads[0]];
        inputs.extend(&site.inputs[..3]);
        inputs.extend(&site.outputs[usize::from(self.summed)..]);
        inputs.extend(site.inputs.get(3));
        let mut grads: Vec<_> = builder.apply(AttentionGradient(*self), &inputs).into_iter().map(Some).collect();
        grads.resize(site.inputs.len(), None);
        grads
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shape = AttentionShape::new(self, &inputs[0].shape, &inputs[1].shape, &inputs[2].shape);
        let shapes: Vec<&[usize]> = inputs.iter().map(|input| input.shape.as_slice()).collect();
        let outputs = self.output_shapes(&shapes);
        let [query, key, value] = [0, 1, 2].map(|input| together(&inputs[input]));
        let query = split_heads(builder, &query, self.heads);
        let key = self.keys(builder, &key);
        let value = split_heads(builder, &value, self.heads);
        let scores = builder.prim_batched_matmul((&query).into(), View::from(&key).permute(&[0, 2, 1]));
        let mut scores = builder.prim_affine(&scores, self.scale(shape.key_dim), 0.0);
        if self.diagonal {
            let diagonal = prim_identity(builder, shape.tokens);
            let left_out = builder.prim_affine(&diagonal, LEFT_OUT, 0.0);
            scores = builder.prim_add(&scores, View::from(&left_out).expand(0, shape.groups()));
        }
        let weights = prim_softmax(builder, &viewed(&scores, &[shape.groups() * shape.tokens, shape.sources]));
        let weights = viewed(&weights, &[shape.groups(), shape.tokens, shape.sources]);
        let dropped = self.dropped(builder, &weights, inputs.get(3));
        let out = builder.prim_batched_matmul((&dropped).into(), (&value).into());
        let out =
            if self.summed { over_heads(builder, &out, self.heads) } else { merge_heads(builder, &out, self.heads) };
        vec![viewed(&out, &outputs[0]), viewed(&weights, &outputs[1])]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        let shape = AttentionShape::new(self, inputs[0], inputs[1], inputs[2]);
        shape.product(shape.key_dim).saturating_add(shape.product(shape.value_dim))
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        if self.dropout.rate > 0.0 {
            return None;
        }
        let [query, key, value] = inputs else { return None };
        let key_dim = query.last()? / self.heads;
        let heads = |writer: &mut Writer, x: &Tensor, order: &[usize]| {
            let dim = x.last()? / self.heads;
            let [leading @ .., rows, _] = &x.shape[..] else { return None };
            let split = writer.reshape(x, &[Dim::product(leading)?, *rows, self.heads.into(), dim.into()]);
            Some(writer.transpose(&split, order))
        };
        let query = heads(writer, query, &[0, 2, 1, 3])?;
        let key = if self.shared_keys {
            let [leading @ .., rows, dim] = &key.shape[..] else { return None };
            let key = writer.reshape(key, &[Dim::product(leading)?, 1.into(), *rows, *dim]);
            writer.transpose(&key, &[0, 1, 3, 2])
        } else {
            heads(writer, key, &[0, 2, 3, 1])?
        };
        let value = heads(writer, value, &[0, 2, 1, 3])?;
        let (batch, tokens, sources) = (query.shape[0], query.shape[2], key.shape[3]);
        let scores = writer.matmul(&query, &key, &[batch, self.heads.into(), tokens, sources]);
        let scale = writer.scalar(self.scale(key_dim));
        let mut scores = writer.binary("Mul", &scores, &scale);
        if self.diagonal {
            let tokens = tokens.fixed()?;
            let left_out = writer.floats(&[tokens, tokens], left_out(tokens));
            scores = writer.binary("Add", &scores, &left_out);
        }
        let weights = writer.softmax(&scores);
        let y = writer.matmul(&weights, &value, &[batch, self.heads.into(), tokens, value.shape[3]]);
        if self.summed {
            let sum = writer.sum(&y, 1);
            return Some(writer.reshape(&sum, shape));
        }
        let merged = writer.transpose(&y, &[0, 2, 1, 3]);
        Some(writer.reshape(&merged, shape))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Gradients of [`Attention`]. Inputs dy `[batch, tokens, heads * value_dim]`, query, key, value,
/// the output y unless it is summed over heads, the weights P before dropout, and the random state when the rate
/// is not zero; outputs dquery, dkey, dvalue. With D the dropout mask and `dP = (dy V^T) D`:
/// `dS = P (dP - rowsum(dP P))`, `dQ = scale dS K`, `dK = scale dS^T Q`, `dV = (P D)^T dy`. The row
/// sums are those of `dy y` within a head, too, which spares a backend a pass over P.
#[derive(Debug)]
pub struct AttentionGradient(pub Attention);

impl AttentionGradient {
    /// Index of the input that holds the weights.
    pub fn weights(&self) -> usize {
        if self.0.summed { 4 } else { 5 }
    }
}

impl Operation for AttentionGradient {
    fn name(&self) -> &'static str {
        "attention_gradient"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.0.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        inputs[1..4].iter().map(|shape| shape.to_vec()).collect()
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![None; site.inputs.len()]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (Attention { heads, shared_keys, summed, .. }, weights) = (self.0, self.weights());
        let shape = AttentionShape::new(&self.0, &inputs[1].shape, &inputs[2].shape, &inputs[3].shape);
        let random = inputs.get(weights + 1);
        let dy = together(&inputs[0]);
        let dy = if summed { for_all_heads(builder, &dy, heads) } else { split_heads(builder, &dy, heads) };
        let [query, value] = [1, 3].map(|i| split_heads(builder, &together(&inputs[i]), heads));
        let key = self.0.keys(builder, &together(&inputs[2]));
        let weights = viewed(&inputs[weights], &[shape.groups(), shape.tokens, shape.sources]);
        let transposed = |value: &Value| View::from(value).permute(&[0, 2, 1]);

        let dropped = self.0.dropped(builder, &weights, random);
        let dvalue = builder.prim_batched_matmul(transposed(&dropped), (&dy).into());
        let dweights = builder.prim_batched_matmul((&dy).into(), transposed(&value));
        let dweights = self.0.dropped(builder, &dweights, random);
        let product = builder.prim_mul(&dweights, &weights);
        let sums = builder.prim_sum(&product, 2);
        let centred = builder.prim_sub(&dweights, View::from(&sums).expand(2, shape.sources));
        let dscores = builder.prim_mul(&centred, &weights);
        let dscores = builder.prim_affine(&dscores, self.0.scale(shape.key_dim), 0.0);
        let dquery = builder.prim_batched_matmul((&dscores).into(), (&key).into());
        let dkey = builder.prim_batched_matmul(transposed(&dscores), (&query).into());
        let dkey = if shared_keys { over_heads(builder, &dkey, heads) } else { merge_heads(builder, &dkey, heads) };
        let grads = [merge_heads(builder, &dquery, heads), dkey, merge_heads(builder, &dvalue, heads)];
        grads.iter().zip(&inputs[1..4]).map(|(grad, input)| viewed(grad, &input.shape)).collect()
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        let shape = AttentionShape::new(&self.0, inputs[1], inputs[2], inputs[3]);
        shape.product(shape.key_dim).saturating_add(shape.product(shape.value_dim)).saturating_mul(2)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
