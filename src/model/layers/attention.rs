use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, ParameterSpec, flops, glorot, initializers, tokens};
use crate::graph::{Builder, Initializer, Value};

/// `attention(num_heads, key_dim, value_dim = key_dim, dropout = 0, use_bias = true)`: self-attention
/// over tokens, as `keras.layers.MultiHeadAttention`; dropout is on the weights.
pub const KIND: LayerKind = LayerKind {
    name: "attention",
    meaning: "multi-head self-attention over tokens; dropout is on the weights",
    shape: "`[tokens, dim]` to itself",
    source: "`keras.layers.MultiHeadAttention`",
    inputs: Inputs::Current,
    arguments: &[
        Argument::required("num_heads", Kind::Size),
        Argument::required("key_dim", Kind::Size),
        Argument::optional("value_dim", Kind::Size, Default::Same("key_dim")),
        Argument::optional("dropout", Kind::Rate, Default::Float(0.0)),
        Argument::optional("use_bias", Kind::Bool, Default::Bool(true)),
        initializers::KERNEL,
    ],
    build: |_, shapes, arguments| {
        let (tokens, dim) = tokens("attention", shapes)?;
        Ok(Box::new(Attention {
            tokens,
            dim,
            heads: arguments.size("num_heads"),
            key_dim: arguments.size("key_dim"),
            value_dim: arguments.size("value_dim"),
            dropout: arguments.number("dropout"),
            use_bias: arguments.flag("use_bias"),
        }))
    },
};

#[derive(Debug)]
struct Attention {
    tokens: usize,
    dim: usize,
    heads: usize,
    key_dim: usize,
    value_dim: usize,
    dropout: f32,
    use_bias: bool,
}

impl Layer for Attention {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.tokens, self.dim]
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let &Self { dim, heads, key_dim, value_dim, .. } = self;
        let mut parameters = Vec::new();
        for (name, head_dim) in [("query", key_dim), ("key", key_dim), ("value", value_dim)] {
            let width = heads.saturating_mul(head_dim);
            parameters.push(kernel(name, &[dim, heads, head_dim], &[dim, width]));
            if self.use_bias {
                parameters.push(bias(name, &[heads, head_dim], width));
            }
        }
        let width = heads.saturating_mul(value_dim);
        parameters.push(kernel("attention_output", &[heads, value_dim, dim], &[width, dim]));
        if self.use_bias {
            parameters.push(bias("attention_output", &[dim], dim));
        }
        parameters
    }

    fn largest(&self) -> usize {
        let widest = self.heads.saturating_mul(self.key_dim.max(self.value_dim)).max(self.dim);
        self.tokens.saturating_mul(widest)
    }

    fn flops(&self) -> u64 {
        let &Self { tokens, dim, heads, key_dim, value_dim, .. } = self;
        let both = key_dim.saturating_add(value_dim);
        // Queries and keys, values and output: two projections of each width.
        let projections = flops(&[2, tokens, dim, heads, 2, both]);
        // Scores take key_dim multiply-adds for each pair of tokens, the weighted sum value_dim.
        projections.saturating_add(flops(&[2, tokens, tokens, heads, both]))
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let each = if self.use_bias { 2 } else { 1 };
        let project = |x: &Value, index: usize, builder: &mut Builder| {
            let own = &parameters[index * each..(index + 1) * each];
            builder.dense(x, &own[0], own.get(1))
        };
        let x = &inputs[0];
        let query = project(x, 0, builder);
        let key = project(x, 1, builder);
        let value = project(x, 2, builder);
        let mixed = builder.attention(&query, &key, &value, self.heads, self.dropout);
        project(&mixed, 3, builder)
    }
}

fn kernel(name: &str, stored_shape: &[usize], shape: &[usize]) -> ParameterSpec {
    ParameterSpec {
        name: format!("{name}/kernel"),
        stored_shape: stored_shape.to_vec(),
        shape: shape.to_vec(),
        initializer: glorot(stored_shape),
        averaged: None,
    }
}

fn bias(name: &str, stored_shape: &[usize], width: usize) -> ParameterSpec {
    ParameterSpec {
        name: format!("{name}/bias"),
        stored_shape: stored_shape.to_vec(),
        shape: vec![width],
        initializer: Initializer::Zeros,
        averaged: None,
    }
}
