//! The seed model ("Image classification with Vision Transformer", Keras), built by hand.

use vitx::graph::{Builder, Initializer, Network, Value, ops::Activation};

/// Sizes of a seed model.
#[derive(Debug, Clone)]
pub struct Config {
    pub image: usize,
    pub patch: usize,
    pub dim: usize,
    pub heads: usize,
    pub depth: usize,
    pub classes: usize,
    /// Rate in the blocks; half of all elements in the head when it is not zero.
    pub dropout: f32,
    pub head: Vec<usize>,
}

impl Config {
    pub fn lower(&self, b: &mut Builder, batch: usize) -> Network {
        let &Self { image, patch, dim, heads, depth, classes, dropout, .. } = self;
        let wide = if dropout > 0.0 { 0.5 } else { 0.0 };
        let side = image / patch;
        let images = b.input("images", &[batch, image, image, 3]);
        let x = b.reshape(&images, &[batch, side, patch, side, patch, 3]);
        let x = b.transpose(&x, &[0, 1, 3, 2, 4, 5]);
        let x = b.reshape(&x, &[batch, side * side, patch * patch * 3]);
        let x = dense(b, "patch_encoder/projection", &x, dim);
        let position = parameter(b, "patch_encoder/position/embeddings", &[side * side, dim]);
        let mut x = b.add(&x, &position);
        for block in 0..depth {
            let name = |part: &str| format!("block{block}/{part}");
            let normal = layer_norm(b, &name("norm1"), &x);
            let [query, key, value] = ["query", "key", "value"]
                .map(|part| dense(b, &name(&format!("attention/{part}")), &normal, heads * dim));
            let attention = b.attention(&query, &key, &value, heads, dropout);
            let attention = dense(b, &name("attention/attention_output"), &attention, dim);
            let middle = b.add(&attention, &x);
            let mut y = layer_norm(b, &name("norm2"), &middle);
            for (index, units) in [2 * dim, dim].into_iter().enumerate() {
                y = dense(b, &name(&format!("mlp{index}")), &y, units);
                y = b.activation(&y, Activation::Gelu);
                y = b.dropout(&y, dropout);
            }
            x = b.add(&y, &middle);
        }
        let x = layer_norm(b, "norm", &x);
        let x = b.reshape(&x, &[batch, side * side * dim]);
        let mut x = b.dropout(&x, wide);
        for (index, &units) in self.head.iter().enumerate() {
            x = dense(b, &format!("head{index}"), &x, units);
            x = b.activation(&x, Activation::Gelu);
            x = b.dropout(&x, wide);
        }
        Network { images, logits: dense(b, "classify", &x, classes) }
    }
}

fn parameter(b: &mut Builder, name: &str, shape: &[usize]) -> Value {
    b.parameter(name, shape, shape, Initializer::Zeros)
}

fn dense(b: &mut Builder, name: &str, x: &Value, units: usize) -> Value {
    let kernel = parameter(b, &format!("{name}/kernel"), &[x.last(), units]);
    let bias = parameter(b, &format!("{name}/bias"), &[units]);
    b.dense(x, &kernel, Some(&bias))
}

fn layer_norm(b: &mut Builder, name: &str, x: &Value) -> Value {
    let gamma = parameter(b, &format!("{name}/gamma"), &[x.last()]);
    let beta = parameter(b, &format!("{name}/beta"), &[x.last()]);
    b.layer_norm(x, &gamma, &beta, 1e-6)
}
