//! The layer itself: projections, what is done to queries, keys and scores, and the mean of values.

use super::{
    super::{Arguments, Layer, ParameterSpec, flops, glorot, rms_norm},
    options::{Norm, Options, Positions},
};
use crate::graph::{
    Builder, Initializer, Value,
    expression::Expression,
    ops::{HeadProduct, ImageProduct, Lookup, MaskScores, Operand, Rope},
};

/// Of norms of queries and keys: that of the layers of their names.
const EPSILON: f32 = 1e-6;
/// Of the angles of rotary positions: for grids as small as those of patches.
const ROPE_BASE: f32 = 100.0;
/// Swin's deviation of relative positions.
const POSITIONS_STDDEV: f32 = 0.02;

#[derive(Debug)]
pub struct Heads {
    /// Axes before tokens: windows.
    leading: Vec<usize>,
    tokens: usize,
    sources: usize,
    /// Of the queries and the result.
    dim: usize,
    /// Of what keys and values are made of.
    memory_dim: usize,
    heads: usize,
    key_dim: usize,
    value_dim: usize,
    dropout: f32,
    /// Of the output.
    use_bias: bool,
    /// Of all other linear maps.
    qkv_bias: bool,
    options: Options,
}

/// The parameters of an instance, in the order in which they are declared.
struct Parameters<'a>(std::slice::Iter<'a, Value>);

impl<'a> Parameters<'a> {
    fn next(&mut self) -> &'a Value {
        self.0.next().unwrap_or_else(|| panic!("attention declares what it reads"))
    }

    /// A kernel and its bias.
    fn dense(&mut self, use_bias: bool) -> (&'a Value, Option<&'a Value>) {
        let kernel = self.next();
        (kernel, use_bias.then(|| self.next()))
    }
}

impl Heads {
    /// Of tokens to sources, within each of the leading axes. Arguments are those of both kinds.
    pub fn new(
        leading: &[usize],
        [tokens, sources]: [usize; 2],
        [dim, memory_dim]: [usize; 2],
        arguments: &Arguments,
        options: Options,
    ) -> Self {
        Self {
            leading: leading.to_vec(),
            tokens,
            sources,
            dim,
            memory_dim,
            heads: arguments.size("num_heads"),
            key_dim: arguments.size("key_dim"),
            value_dim: arguments.size("value_dim"),
            dropout: arguments.number("dropout"),
            use_bias: arguments.flag("use_bias"),
            qkv_bias: arguments.flag("qkv_bias"),
            options,
        }
    }

    /// Whether the scores of all tokens are in memory: what the fused kernels do not do to them.
    fn keeps_scores(&self) -> bool {
        let Options { talking_heads, windows, positions, .. } = self.options;
        talking_heads || windows.is_some() || matches!(positions, Some(Positions::Relative { .. }))
    }

    fn windows(&self) -> usize {
        self.leading.iter().fold(1, |product: usize, length| product.saturating_mul(*length))
    }

    /// Queries or keys as heads side by side, each normalised by itself.
    fn normalised(&self, builder: &mut Builder, x: &Value, parameters: &mut Parameters, norm: Norm) -> Value {
        let mut by_head = x.shape.clone();
        by_head.pop();
        by_head.extend([self.heads, self.key_dim]);
        let heads = builder.reshape(x, &by_head);
        let gamma = parameters.next();
        let normed = match norm {
            Norm::Rms => rms_norm::lower(builder, &heads, gamma, EPSILON),
            Norm::Layer => builder.layer_norm(&heads, gamma, parameters.next(), EPSILON),
        };
        builder.reshape(&normed, &x.shape)
    }

    /// Weighted means of values by a softmax of scores that are kept.
    fn by_scores(&self, builder: &mut Builder, [q, k, v]: [&Value; 3], parameters: &mut Parameters) -> Value {
        let leading = &q.shape[..q.shape.len() - 2];
        let by_head = |builder: &mut Builder, x: &Value, rows: usize, dim: usize| {
            builder.reshape(x, &[leading, &[rows, self.heads, dim]].concat())
        };
        let q = by_head(builder, q, self.tokens, self.key_dim);
        let k = by_head(builder, k, self.sources, self.key_dim);
        let v = by_head(builder, v, self.sources, self.value_dim);
        let (of_q, of_k, scored) = (['i', 'h', 'd'], ['j', 'h', 'd'], ['h', 'i', 'j']);
        let mut scores = builder.apply_one(ImageProduct(HeadProduct { a: of_q, b: of_k, c: scored }), &[&q, &k]);
        // Talking heads would mix what is left out: there the mask comes behind them.
        let Options { diagonal, talking_heads, .. } = self.options;
        if let Some(Positions::Relative { grid, skipped }) = self.options.positions {
            let lookup = Lookup::RelativePositions { grid, skipped, diagonal: !diagonal || talking_heads };
            let offsets = builder.apply_one(lookup, &[parameters.next()]);
            scores = builder.add(&scores, &offsets);
        }
        if talking_heads {
            scores = self.mixed(builder, &scores, parameters);
        }
        let masks = [self.options.windows, (diagonal && talking_heads).then_some(MaskScores::Diagonal)];
        for mask in masks.into_iter().flatten() {
            scores = builder.apply_one(mask, &[&scores]);
        }
        let mut weights = builder.softmax(&scores);
        if talking_heads {
            weights = self.mixed(builder, &weights, parameters);
        }
        let weights = builder.dropout(&weights, self.dropout);
        let mean = ImageProduct(HeadProduct { a: scored, b: of_k, c: of_q });
        let mixed = builder.apply_one(mean, &[&weights, &v]);
        builder.reshape(&mixed, &[leading, &[self.tokens, self.heads * self.value_dim]].concat())
    }

    /// A linear map over the heads of `[.., heads, tokens, sources]`: Shazeer et al. 2020.
    fn mixed(&self, builder: &mut Builder, x: &Value, parameters: &mut Parameters) -> Value {
        let (kernel, bias) = parameters.dense(self.qkv_bias);
        let axes = x.shape.len();
        let order = |last: [usize; 3]| (0..axes - 3).chain(last.map(|axis| axes - 3 + axis)).collect::<Vec<_>>();
        let heads_last = builder.transpose(x, &order([1, 2, 0]));
        let mixed = builder.dense(&heads_last, kernel, bias);
        builder.transpose(&mixed, &order([2, 0, 1]))
    }
}

impl Layer for Heads {
    fn output_shape(&self) -> Vec<usize> {
        [&self.leading[..], &[self.tokens, self.dim]].concat()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let &Self { dim, memory_dim, heads, key_dim, value_dim, options, .. } = self;
        let mut parameters = Vec::new();
        for (name, from, head_dim) in
            [("query", dim, key_dim), ("key", memory_dim, key_dim), ("value", memory_dim, value_dim)]
        {
            let width = heads.saturating_mul(head_dim);
            parameters.push(kernel(name, &[from, heads, head_dim], &[from, width]));
            if self.qkv_bias {
                parameters.push(bias(name, &[heads, head_dim], width));
            }
        }
        let width = heads.saturating_mul(value_dim);
        parameters.push(kernel("attention_output", &[heads, value_dim, dim], &[width, dim]));
        if self.use_bias {
            parameters.push(bias("attention_output", &[dim], dim));
        }
        for name in ["query_norm", "key_norm"] {
            let plain = |variable: &str, start| ParameterSpec::plain(&format!("{name}/{variable}"), &[key_dim], start);
            match options.norm {
                Some(Norm::Rms) => parameters.push(plain("scale", Initializer::Ones)),
                Some(Norm::Layer) => {
                    parameters.extend([plain("gamma", Initializer::Ones), plain("beta", Initializer::Zeros)]);
                }
                None => {}
            }
        }
        if options.temperature {
            let start = Initializer::Constant { value: 1.0 / (key_dim as f32).sqrt() };
            parameters.push(ParameterSpec::plain("temperature", &[heads], start));
        }
        if let Some(Positions::Relative { grid, skipped }) = options.positions {
            let start = Initializer::TruncatedNormal { stddev: POSITIONS_STDDEV };
            let shape = [Lookup::offsets(grid, skipped), heads];
            parameters.push(ParameterSpec::plain("relative_positions/embeddings", &shape, start));
        }
        if options.talking_heads {
            for name in ["talking_scores", "talking_weights"] {
                parameters.push(kernel(name, &[heads, heads], &[heads, heads]));
                if self.qkv_bias {
                    parameters.push(bias(name, &[heads], heads));
                }
            }
        }
        parameters
    }

    fn largest(&self) -> usize {
        let widest = self.heads.saturating_mul(self.key_dim.max(self.value_dim)).max(self.dim).max(self.memory_dim);
        let tokens = self.tokens.max(self.sources).saturating_mul(widest);
        let scores = self.heads.saturating_mul(self.tokens).saturating_mul(self.sources);
        self.windows().saturating_mul(if self.keeps_scores() { tokens.max(scores) } else { tokens })
    }

    fn flops(&self) -> u64 {
        let &Self { tokens, sources, dim, memory_dim, heads, key_dim, value_dim, .. } = self;
        let both = key_dim.saturating_add(value_dim);
        // Queries and output are of the tokens, keys and values of the sources; each has a projection.
        let own = flops(&[2, tokens, dim, heads, both]);
        let others = flops(&[2, sources, memory_dim, heads, both]);
        // Scores take key_dim multiply-adds for each pair of tokens, the weighted sum value_dim.
        let mixing = flops(&[2, tokens, sources, heads, both]);
        let talking = if self.options.talking_heads { flops(&[4, tokens, sources, heads, heads]) } else { 0 };
        let once = own.saturating_add(others).saturating_add(mixing).saturating_add(talking);
        once.saturating_mul(self.windows() as u64)
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let (queries, memory) = (&inputs[0], inputs.last().unwrap_or(&inputs[0]));
        let mut parameters = Parameters(parameters.iter());
        let mut project = |x: &Value, builder: &mut Builder| {
            let (kernel, bias) = parameters.dense(self.qkv_bias);
            builder.dense(x, kernel, bias)
        };
        let mut q = project(queries, builder);
        let mut k = project(memory, builder);
        let v = project(memory, builder);
        let (out_kernel, out_bias) = parameters.dense(self.use_bias);
        if let Some(norm) = self.options.norm {
            q = self.normalised(builder, &q, &mut parameters, norm);
            k = self.normalised(builder, &k, &mut parameters, norm);
        }
        if let Some(Positions::Rope { grid, skipped }) = self.options.positions {
            let rope = Rope { heads: self.heads, grid, skipped, base: ROPE_BASE, inverse: false };
            [q, k] = [q, k].map(|x| builder.apply_one(rope, &[&x]));
        }
        let mut scale = None;
        if self.options.temperature {
            // Scores are as much larger as queries are.
            let factors = builder.apply_one(Lookup::RepeatEach { times: self.key_dim }, &[parameters.next()]);
            let product = Expression::new(2, |x| &x[0] * &x[1]);
            q = builder.pointwise("temperature", product, &[(&q, Operand::Whole), (&factors, Operand::Shared)]);
            scale = Some(1.0);
        }
        let mixed = if self.keeps_scores() {
            let q = if scale.is_none() { builder.scale(&q, 1.0 / (self.key_dim as f32).sqrt()) } else { q };
            self.by_scores(builder, [&q, &k, &v], &mut parameters)
        } else {
            builder.attention_of([&q, &k, &v], self.heads, self.dropout, scale, self.options.diagonal)
        };
        builder.dense(&mixed, out_kernel, out_bias)
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
