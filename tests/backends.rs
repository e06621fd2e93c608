//! The backends agree: the same seed gives the same initial weights, the same dropout masks, and,
//! up to rounding, the same training.

use std::collections::BTreeMap;

use vitx::{
    backend::{AdamW, Backend, Batch, Engine, EngineOptions, Step},
    dsl::Source,
    graph::{Builder, Initializer, Network, Value, ops::Activation},
    model::{ImageSpec, elaborate},
};

const MODEL: &str = "model small(dim = 12) {
    patches(3)
    patch_encoder(dim)
    repeat transformer_block(2, key_dim = 5, units = [dim * 2, dim], dropout = 0.1) ×2
    layer_norm
    flatten
    dropout(0.3)
    mlp([17], dropout = 0.2)
    dense(num_classes)
}";

fn engine(backend: Backend) -> Box<dyn Engine> {
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    let architecture = elaborate(&Source::new("small", MODEL), &BTreeMap::new(), &spec).unwrap();
    let options = EngineOptions { optimizer: AdamW::default(), seed: 3, threads: 2 };
    backend.engine(Box::new(move |builder, batch| architecture.lower(builder, batch)), options).unwrap()
}

#[test]
fn the_cpu_backend_trains_as_the_reference_does() {
    let (mut cpu, mut reference) = (engine(Backend::Cpu), engine(Backend::Reference));
    assert_eq!(cpu.state(), reference.state());
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images: Vec<f32> = (0..labels.len() * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    for (iteration, count) in [7, 3, 7].into_iter().enumerate() {
        let batch = Batch { images: &images[..count * 108], labels: &labels[..count] };
        let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
        let (ours, theirs) = (cpu.train_step(&batch, &step).unwrap(), reference.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
        let (ours, theirs) = (cpu.evaluate(&batch).unwrap(), reference.evaluate(&batch).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
    }
    let batch = Batch { images: &images, labels: &labels };
    compare_gradients("the model", cpu.as_mut(), reference.as_mut(), &batch, 2e-3);
}

fn compare_gradients(what: &str, cpu: &mut dyn Engine, reference: &mut dyn Engine, batch: &Batch, tolerance: f32) {
    for (ours, theirs) in cpu.gradients(batch).unwrap().iter().zip(reference.gradients(batch).unwrap()) {
        assert_eq!(ours.name, theirs.name);
        let norm = theirs.data.iter().map(|value| value * value).sum::<f32>().sqrt();
        let distance = ours.data.iter().zip(&theirs.data).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        assert!(distance <= tolerance * norm + 1e-6, "{what}: {}: {distance} of {norm}", ours.name);
    }
}

/// Applies an operator to `[batch, tokens, dim]`.
type Apply = fn(&mut Builder, &Value) -> Value;

/// Sums of as many products as a kernel has rows stay near one: a saturated softmax has no gradient.
fn parameter(builder: &mut Builder, name: &str, shape: &[usize]) -> Value {
    builder.parameter(name, shape, shape, Initializer::Uniform { limit: 1.5 / (shape[0] as f32).sqrt() })
}

/// A network of one operator between two layers, so that the gradients of its input and of its own
/// parameters are those of parameters.
fn network(builder: &mut Builder, batch: usize, [tokens, dim]: [usize; 2], apply: Apply) -> Network {
    let images = builder.input("images", &[batch, tokens, dim]);
    let (kernel, bias) = (parameter(builder, "in/kernel", &[dim, dim]), parameter(builder, "in/bias", &[dim]));
    let x = builder.dense(&images, &kernel, Some(&bias));
    let y = apply(builder, &x);
    let width = y.len() / batch;
    let y = builder.reshape(&y, &[batch, width]);
    let kernel = parameter(builder, "out/kernel", &[width, 3]);
    Network { images, logits: builder.dense(&y, &kernel, None) }
}

#[test]
fn every_kernel_is_its_decomposition_on_odd_shapes() {
    let operators: [(&str, Apply); 16] = [
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
        ("gelu", |b, x| b.activation(x, Activation::Gelu)),
        ("silu", |b, x| b.activation(x, Activation::Silu)),
        ("tanh", |b, x| b.activation(x, Activation::Tanh)),
        ("relu", |b, x| b.activation(x, Activation::Relu)),
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
        ("mean", |b, x| b.mean(x, 1)),
        ("scale", |b, x| b.scale(x, -1.5)),
        ("expand", |b, x| {
            let token = parameter(b, "token", &[1, x.last()]);
            let token = b.expand(&token, x.shape[0]);
            b.concat(&[&token, x], 1)
        }),
    ];
    for (name, apply) in operators {
        for (batch, sizes) in [(1, [1, 1]), (3, [5, 7]), (19, [17, 33]), (2, [37, 20])] {
            let what = format!("{name}, batch {batch}, {sizes:?}");
            let engine = |backend: Backend| {
                let options = EngineOptions { optimizer: AdamW::default(), seed: 3, threads: 2 };
                backend.engine(Box::new(move |builder, batch| network(builder, batch, sizes, apply)), options).unwrap()
            };
            let (mut cpu, mut reference) = (engine(Backend::Cpu), engine(Backend::Reference));
            let pixels = sizes[0] * sizes[1];
            let images: Vec<f32> = (0..batch * pixels).map(|index| (index as f32 * 0.37).sin()).collect();
            let labels: Vec<u32> = (0..batch as u32).map(|index| index % 3).collect();
            let batch = Batch { images: &images, labels: &labels };
            let (ours, theirs) = (cpu.evaluate(&batch).unwrap(), reference.evaluate(&batch).unwrap());
            assert!((ours - theirs).abs() <= 2e-5 * (1.0 + theirs.abs()), "{what}: {ours} {theirs}");
            for (ours, theirs) in cpu.logits().iter().zip(reference.logits()) {
                assert!((ours - theirs).abs() <= 2e-5 * (1.0 + theirs.abs()), "{what}: {ours} {theirs}");
            }
            compare_gradients(&what, cpu.as_mut(), reference.as_mut(), &batch, 1e-4);
        }
    }
}

#[test]
fn a_loss_that_is_not_finite_names_the_first_operator() {
    let mut cpu = engine(Backend::Cpu);
    let mut state = cpu.state();
    let name = "transformer_block1/mlp/dense1/kernel";
    state.iter_mut().find(|tensor| tensor.name == name).unwrap().data[3] = f32::INFINITY;
    cpu.load_state(&state).unwrap();
    let step = Step { epoch: 2, step: 5, iteration: 50, learning_rate: 1e-3 };
    let error = cpu.train_step(&Batch { images: &[0.5; 2 * 108], labels: &[0, 1] }, &step).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(&format!("first non-finite values in dense of {name}, transformer_block1/mlp/dense1/bias")),
        "{error}"
    );
    // Nothing was spoiled by it.
    assert_eq!(cpu.state(), state);
}
