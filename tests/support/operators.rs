//! What tests of a backend's operators share: each operator in a network of its own.

use vitx::{
    backend::{Batch, Engine},
    graph::{
        Builder, Initializer, Network, Operation, StepInput, Value,
        expression::Expression,
        ops::{
            Activation, AddSinusoid, AveragePool2d, Conv2d, HeadProduct, ImageProduct, Layout, Lookup, MaskScores,
            MaxPool2d, Movement, Operand, Pool2d, Rope, Translate,
        },
    },
};

/// Applies an operator to `[batch, tokens, dim]`.
pub type Apply = fn(&mut Builder, &Value) -> Value;

/// Sums of as many products as a kernel has rows stay near one: a saturated softmax has no gradient.
fn parameter(builder: &mut Builder, name: &str, shape: &[usize]) -> Value {
    builder.parameter(name, shape, shape, Initializer::Uniform { limit: 1.5 / (shape[0] as f32).sqrt() })
}

/// A network of one operator between two layers, so that the gradients of its input and of its own
/// parameters are those of parameters.
pub fn network(builder: &mut Builder, batch: usize, [tokens, dim]: [usize; 2], apply: Apply) -> Network {
    let images = builder.input(StepInput::Images, &[batch, tokens, dim]);
    let (kernel, bias) = (parameter(builder, "in/kernel", &[dim, dim]), parameter(builder, "in/bias", &[dim]));
    let x = builder.dense(&images, &kernel, Some(&bias));
    let y = apply(builder, &x);
    let width = y.len() / batch;
    let y = builder.reshape(&y, &[batch, width]);
    let kernel = parameter(builder, "out/kernel", &[width, 3]);
    Network { images, logits: builder.dense(&y, &kernel, None) }
}

macro_rules! activation {
    ($name:literal) => {
        ($name, |b, x| b.activation(x, Activation::named($name).unwrap()))
    };
}

/// Tokens as the rows of an image of one channel or, where that goes, of two.
fn image(b: &mut Builder, x: &Value) -> Value {
    let channels = if x.last().is_multiple_of(2) { 2 } else { 1 };
    b.reshape(x, &[x.shape[0], x.shape[1], x.last() / channels, channels])
}

fn pooled(b: &mut Builder, x: &Value, pool: impl Operation) -> Value {
    let image = image(b, x);
    b.apply_one(pool, &[&image])
}

/// Two convolutions of tokens as an image, of which the first widens it and the second is tested: as many filters for
/// each of its groups.
fn convolved(b: &mut Builder, x: &Value, kernel: [usize; 2], filters: usize, conv: Conv2d, bias: bool) -> Value {
    convolved_from(b, x, 6, kernel, filters, conv, bias)
}

/// The same where the first makes so many channels.
fn convolved_from(
    b: &mut Builder,
    x: &Value,
    channels: usize,
    kernel: [usize; 2],
    filters: usize,
    conv: Conv2d,
    bias: bool,
) -> Value {
    let image = image(b, x);
    let widen = Conv2d { strides: [1; 2], padding: [[0; 2]; 2], dilation: [1; 2], groups: 1 };
    let wide = parameter(b, "wide", &[1, 1, image.last(), channels]);
    let x = b.apply_one(widen, &[&image, &wide]);
    let kernel = parameter(b, "kernel", &[kernel[0], kernel[1], channels / conv.groups, filters]);
    let bias = bias.then(|| parameter(b, "bias", &[filters]));
    let y = b.apply_one(conv, &[&x, &kernel].into_iter().chain(&bias).collect::<Vec<_>>());
    // So that a sum follows, which the kernel may take over.
    let more = b.scale(&y, 0.5);
    b.add(&y, &more)
}

/// As many rows and columns as before, by strides of one.
fn same(kernel: [usize; 2], groups: usize) -> Conv2d {
    let padding = kernel.map(|length| [(length - 1) / 2, length / 2]);
    Conv2d { strides: [1; 2], padding, dilation: [1; 2], groups }
}

/// Queries, keys and values of several times the tokens, `[batch, rounds * tokens, width]` each.
fn projected(b: &mut Builder, x: &Value, rounds: usize, widths: [usize; 3]) -> [Value; 3] {
    let x = b.concat(&vec![x; rounds], 1);
    let [q, k, v] = [("q", widths[0]), ("k", widths[1]), ("v", widths[2])].map(|(name, width)| {
        let kernel = parameter(b, name, &[x.last(), width]);
        b.dense(&x, &kernel, None)
    });
    // So that the tokens of a round are not those of another.
    let places = parameter(b, "places", &q.shape[1..]);
    [b.add(&q, &places), k, v]
}

/// Every operator that has a kernel.
pub const OPERATORS: [(&str, Apply); 59] = [
    ("dense", |b, x| {
        let (kernel, bias) = (parameter(b, "kernel", &[x.last(), 7]), parameter(b, "bias", &[7]));
        b.dense(x, &kernel, Some(&bias))
    }),
    ("dense on the whole batch", |b, x| {
        let x = b.reshape(x, &[x.shape[0], x.len() / x.shape[0]]);
        let (kernel, bias) = (parameter(b, "kernel", &[x.last(), 133]), parameter(b, "bias", &[133]));
        b.dense(&x, &kernel, Some(&bias))
    }),
    ("layer_norm", |b, x| {
        let (gamma, beta) = (parameter(b, "gamma", &[x.last()]), parameter(b, "beta", &[x.last()]));
        b.layer_norm(x, &gamma, &beta, 1e-3)
    }),
    ("attention", |b, x| b.attention(x, x, x, 1, 0.0)),
    ("attention of other widths", |b, x| {
        let [q, k, v] = [("q", 6), ("k", 6), ("v", 10)].map(|(name, width)| {
            let kernel = parameter(b, name, &[x.last(), width]);
            b.dense(x, &kernel, None)
        });
        b.attention(&q, &k, &v, 2, 0.0)
    }),
    // Heads wider than the input: backends may multiply the projections first. A bias of keys has no gradient but
    // rounding errors, so there is none.
    ("attention between projections", |b, x| {
        let project = |b: &mut Builder, x: &Value, name: &str, width: usize, bias: bool| {
            let kernel = parameter(b, name, &[x.last(), width]);
            let bias = bias.then(|| parameter(b, &format!("{name}/bias"), &[width]));
            b.dense(x, &kernel, bias.as_ref())
        };
        let width = 2 * x.last() + 2;
        let [q, k, v] = ["query", "key", "value"].map(|name| project(b, x, name, width, name != "key"));
        let y = b.attention(&q, &k, &v, 2, 0.0);
        let y = project(b, &y, "output", x.last(), true);
        b.add(x, &y)
    }),
    ("attention without the diagonal", |b, x| {
        let [q, k, v] = projected(b, x, 2, [6, 6, 10]);
        b.attention_of([&q, &k, &v], 2, 0.0, Some(0.7), true)
    }),
    ("attention of windows", |b, x| {
        let projected = projected(b, x, 3, [6, 6, 6]);
        let [q, k, v] = projected.map(|y| b.reshape(&y, &[x.shape[0], 3, x.shape[1], y.last()]));
        b.attention(&q, &k, &v, 3, 0.0)
    }),
    ("rope", |b, x| {
        let [q, k, v] = projected(b, x, 3, [8, 8, 6]);
        let rope = Rope { heads: 2, grid: [2, x.shape[1]], skipped: x.shape[1], base: 100.0, inverse: false };
        let [q, k] = [q, k].map(|y| b.apply_one(rope, &[&y]));
        b.attention(&q, &k, &v, 2, 0.0)
    }),
    ("a factor for each head", |b, x| {
        let [q, k, v] = projected(b, x, 2, [6, 6, 6]);
        let factors = parameter(b, "factors", &[3]);
        let factors = b.apply_one(Lookup::RepeatEach { times: 2 }, &[&factors]);
        let q = b.pointwise(
            "temperature",
            Expression::new(2, |x| &x[0] * &x[1]),
            &[(&q, Operand::Whole), (&factors, Operand::Shared)],
        );
        b.attention_of([&q, &k, &v], 3, 0.0, Some(1.0), false)
    }),
    ("relative positions", |b, x| {
        let projected = projected(b, x, 2, [6, 6, 9]);
        let [q, k, v] = projected.map(|y| b.reshape(&y, &[y.shape[0], y.shape[1], 3, y.last() / 3]));
        let (q_axes, k_axes, scored) = (['i', 'h', 'd'], ['j', 'h', 'd'], ['h', 'i', 'j']);
        let scores = b.apply_one(ImageProduct(HeadProduct { a: q_axes, b: k_axes, c: scored }), &[&q, &k]);
        let table = parameter(b, "table", &[3 * (2 * x.shape[1] - 1), 3]);
        let lookup = Lookup::RelativePositions { grid: [2, x.shape[1]], skipped: 0, diagonal: false };
        let offsets = b.apply_one(lookup, &[&table]);
        let scores = b.add(&scores, &offsets);
        let weights = b.softmax(&scores);
        b.apply_one(ImageProduct(HeadProduct { a: scored, b: k_axes, c: q_axes }), &[&weights, &v])
    }),
    ("relative positions behind a class token", |b, x| {
        let table = parameter(b, "table", &[3 * (2 * x.shape[1] - 1) + 3, 2]);
        let lookup = Lookup::RelativePositions { grid: [2, x.shape[1]], skipped: 2, diagonal: false };
        let offsets = b.apply_one(lookup, &[&table]);
        let tokens = 2 * x.shape[1] + 2;
        let kernel = parameter(b, "kernel", &[x.last(), 2 * tokens * tokens]);
        let mean = b.mean(x, 1);
        let scores = b.dense(&mean, &kernel, None);
        let scores = b.reshape(&scores, &[x.shape[0], 2, tokens, tokens]);
        let scores = b.add(&scores, &offsets);
        b.softmax(&scores)
    }),
    ("products of windows", |b, x| {
        let projected = projected(b, x, 2, [6, 6, 8]);
        let [q, k, v] = projected.map(|y| b.reshape(&y, &[x.shape[0], 2, x.shape[1], 2, y.last() / 2]));
        let (a, c) = (['i', 'h', 'd'], ['j', 'h', 'i']);
        let scores = b.apply_one(ImageProduct(HeadProduct { a, b: ['j', 'h', 'd'], c }), &[&q, &k]);
        b.apply_one(ImageProduct(HeadProduct { a: c, b: ['i', 'h', 'd'], c: ['h', 'j', 'd'] }), &[&scores, &v])
    }),
    activation!("gelu"),
    activation!("silu"),
    activation!("tanh"),
    activation!("relu"),
    activation!("sigmoid"),
    activation!("relu6"),
    activation!("leaky_relu"),
    activation!("elu"),
    activation!("softplus"),
    activation!("hard_sigmoid"),
    activation!("hard_silu"),
    activation!("mish"),
    ("softmax", |b, x| b.softmax(x)),
    ("add", |b, x| {
        let position = parameter(b, "position", &x.shape[1..]);
        let y = b.add(x, &position);
        b.add(&y, x)
    }),
    ("concat and slice", |b, x| {
        let y = b.concat(&[x, x, x], 1);
        b.slice(&y, 1, 1, y.shape[1] - 2)
    }),
    ("transpose", |b, x| b.transpose(x, &[0, 2, 1])),
    ("translate", |b, x| {
        // Zeros enter in front, and stand behind; what leaves an axis in the middle enters again.
        let tall = b.concat(&[x, x], 1);
        let movements = vec![
            Movement { axis: 1, by: -1, length: tall.shape[1] + 1, cyclic: false },
            Movement { axis: 2, by: 3, length: x.last(), cyclic: true },
        ];
        b.apply_one(Translate { movements }, &[&tall])
    }),
    ("translate along three axes", |b, x| {
        let image = image(b, x);
        let &[_, height, width, channels] = &image.shape[..] else { unreachable!("an image") };
        let movements = vec![
            Movement { axis: 1, by: 1, length: height + 3, cyclic: false },
            Movement { axis: 2, by: -7, length: width, cyclic: true },
            Movement { axis: 3, by: 1, length: channels + 1, cyclic: false },
        ];
        b.apply_one(Translate { movements }, &[&image])
    }),
    ("add_sinusoid", |b, x| {
        let y = b.apply_one(AddSinusoid { layout: Layout::Line }, &[x]);
        b.add(&y, x)
    }),
    ("add_sinusoid of a grid", |b, x| {
        let tall = b.concat(&[x; 3], 1);
        let wide = b.concat(&[&tall; 4], 2);
        b.apply_one(AddSinusoid { layout: Layout::Grid { columns: x.shape[1] } }, &[&wide])
    }),
    ("mask_windows", |b, x| {
        // Sums over what is masked would hide all else.
        let wide = b.concat(&[x; 36], 1);
        let scores = b.reshape(&wide, &[x.shape[0], x.shape[1], 1, x.last(), 6, 6]);
        let scores = b.apply_one(MaskScores::Windows { window: [2, 3], shift: [1, 2] }, &[&scores]);
        b.softmax(&scores)
    }),
    ("mask_diagonal", |b, x| {
        let wide = b.concat(&[x; 9], 1);
        let scores = b.reshape(&wide, &[x.shape[0], x.shape[1] * x.last(), 3, 3]);
        let scores = b.apply_one(MaskScores::Diagonal, &[&scores]);
        b.softmax(&scores)
    }),
    ("mean", |b, x| b.mean(x, 1)),
    ("mean over the last axis", |b, x| b.mean(x, 2)),
    ("spread", |b, x| b.spread(x, 2, 3)),
    ("max_pool2d", |b, x| pooled(b, x, MaxPool2d(Pool2d { pool: [2, 2], strides: [1, 2], same: true }))),
    ("max_pool2d of windows that meet", |b, x| {
        pooled(b, x, MaxPool2d(Pool2d { pool: [3, 2], strides: [2, 1], same: true }))
    }),
    ("max_pool2d within the image", |b, x| {
        pooled(b, x, MaxPool2d(Pool2d { pool: [1, 1], strides: [2, 3], same: false }))
    }),
    ("average_pool2d", |b, x| pooled(b, x, AveragePool2d(Pool2d { pool: [2, 2], strides: [1, 2], same: true }))),
    ("average_pool2d within the image", |b, x| {
        pooled(b, x, AveragePool2d(Pool2d { pool: [1, 1], strides: [2, 3], same: false }))
    }),
    ("conv2d", |b, x| convolved(b, x, [3, 3], 5, same([3, 3], 1), true)),
    ("conv2d of an even kernel in groups", |b, x| convolved(b, x, [2, 4], 9, same([2, 4], 3), false)),
    ("conv2d in strides", |b, x| {
        let conv = Conv2d { strides: [2, 3], padding: [[1, 0], [1, 2]], dilation: [1, 1], groups: 2 };
        convolved(b, x, [2, 3], 4, conv, true)
    }),
    ("conv2d of a dilated kernel", |b, x| {
        let conv = Conv2d { strides: [1, 2], padding: [[2, 2], [5, 4]], dilation: [2, 3], groups: 1 };
        convolved(b, x, [3, 2], 33, conv, false)
    }),
    // Channels and filters that tensor cores take without patches.
    ("conv2d of vectors", |b, x| convolved_from(b, x, 8, [3, 3], 24, same([3, 3], 1), true)),
    ("conv2d of vectors in strides", |b, x| {
        let conv = Conv2d { strides: [2, 1], padding: [[1, 1], [2, 1]], dilation: [1, 2], groups: 1 };
        convolved_from(b, x, 24, [3, 2], 8, conv, false)
    }),
    ("depthwise conv2d", |b, x| convolved(b, x, [3, 3], 6, same([3, 3], 6), true)),
    ("depthwise conv2d in strides", |b, x| {
        let conv = Conv2d { strides: [2, 1], padding: [[1, 2], [2, 0]], dilation: [1, 2], groups: 6 };
        convolved(b, x, [3, 2], 6, conv, false)
    }),
    ("depthwise conv2d of two filters each", |b, x| convolved(b, x, [3, 1], 12, same([3, 1], 6), true)),
    ("batch_norm", |b, x| {
        let [gamma, beta] = ["gamma", "beta"].map(|name| parameter(b, name, &[x.last()]));
        let [mean, variance] = [("mean", Initializer::Zeros), ("variance", Initializer::Ones)]
            .map(|(name, start)| b.moving_average(name, &[x.last()], start, 0.75));
        // Without the sum the gradient of the bias before it would be rounding errors alone.
        let y = b.batch_norm(x, [&gamma, &beta], [&mean, &variance], 1e-3);
        b.add(&y, x)
    }),
    ("scale", |b, x| b.scale(x, -1.5)),
    ("gate", |b, x| {
        let (dim, kernel) = (x.last(), parameter(b, "kernel", &[x.last(), x.last()]));
        let (gate, scale) = (b.dense(x, &kernel, None), parameter(b, "scale", &[dim]));
        let f = Expression::new(3, |x| &x[0] * &x[1].sigmoid() * &x[2]);
        b.pointwise("gate", f, &[(x, Operand::Whole), (&gate, Operand::Whole), (&scale, Operand::Shared)])
    }),
    ("a gated block", |b, x| {
        let [value, gate] = ["value", "gate"].map(|name| {
            let kernel = parameter(b, name, &[x.last(), x.last()]);
            b.dense(x, &kernel, None)
        });
        let product = Expression::new(2, |x| &x[0] * &x[1]);
        let gate = b.activation(&gate, Activation::named("silu").unwrap());
        let gated = b.pointwise("multiply", product.clone(), &[(&value, Operand::Whole), (&gate, Operand::Whole)]);
        let scale = parameter(b, "scale", &[x.last()]);
        let scaled = b.pointwise("multiply", product, &[(&gated, Operand::Whole), (&scale, Operand::Shared)]);
        let scaled = b.scale(&scaled, 0.7);
        b.add(x, &scaled)
    }),
    ("a factor for each image", |b, x| {
        let mean = b.mean(x, 1);
        let f = Expression::new(3, |x| &x[0] * (&x[1] * &x[1] + 1.0) + &x[2]);
        let bias = parameter(b, "bias", &x.shape[1..]);
        b.pointwise("excite", f, &[(x, Operand::Whole), (&mean, Operand::PerImage), (&bias, Operand::Shared)])
    }),
    ("weights that are used again", |b, x| {
        let (kernel, bias) = (parameter(b, "kernel", &[x.last(), x.last()]), parameter(b, "bias", &[x.last()]));
        let (gamma, beta) = (parameter(b, "gamma", &[x.last()]), parameter(b, "beta", &[x.last()]));
        let mut y = x.clone();
        for _ in 0..2 {
            let normed = b.layer_norm(&y, &gamma, &beta, 1e-1);
            let h = b.dense(&normed, &kernel, Some(&bias));
            let h = b.activation(&h, Activation::named("tanh").unwrap());
            y = b.add(&h, &y);
        }
        let pooled = b.mean(&y, 1);
        b.dense(&pooled, &kernel, Some(&bias))
    }),
    ("expand", |b, x| {
        let token = parameter(b, "token", &[1, x.last()]);
        let token = b.expand(&token, x.shape[0]);
        b.concat(&[&token, x], 1)
    }),
];

/// Images and labels for a batch of `[tokens, dim]`.
pub fn batch(size: usize, [tokens, dim]: [usize; 2]) -> (Vec<f32>, Vec<u32>) {
    let images = (0..size * tokens * dim).map(|index| (index as f32 * 0.37).sin()).collect();
    (images, (0..size as u32).map(|index| index % 3).collect())
}

/// Asserts that two engines give the same gradients, relative to their norm.
pub fn compare_gradients(what: &str, ours: &mut dyn Engine, theirs: &mut dyn Engine, batch: &Batch, tolerance: f32) {
    for (ours, theirs) in
        ours.inspect().gradients(batch).unwrap().iter().zip(theirs.inspect().gradients(batch).unwrap())
    {
        assert_eq!(ours.name, theirs.name);
        let norm = theirs.data.iter().map(|value| value * value).sum::<f32>().sqrt();
        let distance = ours.data.iter().zip(&theirs.data).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        assert!(distance <= tolerance * norm + 1e-6, "{what}: {}: {distance} of {norm}", ours.name);
    }
}
