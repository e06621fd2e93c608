//! The backends agree: the same seed gives the same initial weights, the same dropout masks, and,
//! up to rounding, the same training.

use std::collections::BTreeMap;

use vitx::{
    backend::{Backend, Batch, Engine, EngineOptions, Precision, Regions, Step},
    data::Mixed,
    dsl::Source,
    graph::{
        losses::{LOSSES, Loss},
        optimizers::Optimizer,
    },
    model::{ImageSpec, elaborate},
};

use crate::networks::{self, OPERATORS, compare_gradients, network};

const MODEL: &str = include_str!("../support/small.vitx");

fn engine(backend: Backend) -> Box<dyn Engine> {
    engine_of(MODEL, ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 }, backend)
}

fn engine_of(model: &str, spec: ImageSpec, backend: Backend) -> Box<dyn Engine> {
    let architecture = elaborate(&Source::new("model", model), &BTreeMap::new(), &spec).unwrap();
    let options = EngineOptions {
        optimizer: Optimizer::default(),
        loss: Loss::default(),
        seed: 3,
        threads: 2,
        precision: Precision::F32,
        regions: Regions::default(),
    };
    backend.engine(Box::new(move |builder, batch| architecture.lower(builder, batch)), options).unwrap()
}

#[test]
fn the_cpu_backend_trains_as_the_reference_does() {
    let (mut cpu, mut reference) = (engine(Backend::Cpu), engine(Backend::Reference));
    assert_eq!(cpu.state().unwrap(), reference.state().unwrap());
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images: Vec<f32> = (0..labels.len() * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    for (iteration, count) in [7, 3, 7].into_iter().enumerate() {
        let batch = Batch { images: &images[..count * 108], labels: &labels[..count], mixed: None };
        let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
        let (ours, theirs) = (cpu.train_step(&batch, &step).unwrap(), reference.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
        let (ours, theirs) = (cpu.evaluate(&batch).unwrap(), reference.evaluate(&batch).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
    }
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    compare_gradients("the model", cpu.as_mut(), reference.as_mut(), &batch, 2e-3);
}

/// Batches are normalised by their own statistics, evaluation is by moving averages, which all steps have changed alike.
#[test]
fn a_convolutional_network_trains_as_on_the_reference() {
    let text = include_str!("../support/convolutional.vitx");
    let spec = ImageSpec { height: 9, width: 9, channels: 2, num_classes: 5 };
    let [mut cpu, mut reference] = [Backend::Cpu, Backend::Reference].map(|backend| engine_of(text, spec, backend));
    assert_eq!(cpu.state().unwrap(), reference.state().unwrap());
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images: Vec<f32> = (0..labels.len() * 162).map(|index| (index as f32 * 0.37).sin()).collect();
    for (iteration, count) in [7, 3, 7].into_iter().enumerate() {
        let batch = Batch { images: &images[..count * 162], labels: &labels[..count], mixed: None };
        let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
        let (ours, theirs) = (cpu.train_step(&batch, &step).unwrap(), reference.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
        let (ours, theirs) = (cpu.evaluate(&batch).unwrap(), reference.evaluate(&batch).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
    }
    let averages = |engine: &dyn Engine| {
        let weights = engine.weights().unwrap();
        weights.into_iter().filter(|tensor| tensor.name.contains("/moving_")).collect::<Vec<_>>()
    };
    let (ours, theirs) = (averages(cpu.as_ref()), averages(reference.as_ref()));
    assert_eq!(ours.len(), 6);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let start = if ours.name.ends_with("mean") { 0.0 } else { 1.0 };
        assert!(ours.data.iter().all(|&value| value != start), "{} has not moved", ours.name);
        for (a, b) in ours.data.iter().zip(&theirs.data) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{}: {a} {b}", ours.name);
        }
    }
    // Nothing is kept of them: neither moments, nor decay.
    let state = cpu.state().unwrap();
    assert!(state.iter().all(|tensor| !tensor.name.starts_with("optimizer/") || !tensor.name.contains("moving_")));
}

/// Training minimises the loss with its options; evaluation has the plain one.
#[test]
fn losses_with_options_train_as_on_the_reference() {
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    let engine = |backend: Backend, loss: &Loss| {
        let architecture = elaborate(&Source::new("model", MODEL), &BTreeMap::new(), &spec).unwrap();
        let options = EngineOptions {
            optimizer: Optimizer::default(),
            loss: loss.clone(),
            seed: 3,
            threads: 2,
            precision: Precision::F32,
            regions: Regions::default(),
        };
        backend.engine(Box::new(move |builder, batch| architecture.lower(builder, batch)), options).unwrap()
    };
    let images: Vec<f32> = (0..5 * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1], mixed: None };
    let others = [(3, 0.25), (4, 0.5), (0, 0.0), (1, 1.0), (2, 0.8)];
    let others = others.map(|(label, weight)| Mixed { label, weight });
    let step = |iteration: u64| Step { epoch: 0, step: iteration as u32, iteration, learning_rate: 1e-3 };
    let cases = [(0.3, false, false), (0.0, true, false), (0.3, true, false), (0.0, false, true), (0.3, true, true)];
    let kinds = LOSSES.iter().flat_map(|kind| cases.map(|case| (kind, case)));
    for (kind, (smoothing, mixed, weighted)) in kinds {
        let weights = || weighted.then(|| [0.5, 2.0, 0.0, 1.0, 3.0].into());
        let loss = Loss::of(kind).with("label_smoothing", smoothing).of_mixed(mixed).of_classes(weights());
        let (mut cpu, mut reference) = (engine(Backend::Cpu, &loss), engine(Backend::Reference, &loss));
        let mut plain = engine(Backend::Cpu, &Loss::default());
        assert_eq!(cpu.evaluate(&batch).unwrap(), plain.evaluate(&batch).unwrap());
        let trained = Batch { mixed: mixed.then_some(&others[..]), ..batch };
        for iteration in 0..3 {
            let [ours, theirs] =
                [&mut cpu, &mut reference].map(|engine| engine.train_step(&trained, &step(iteration)).unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs, "{smoothing} {mixed}: {ours} {theirs}");
            assert_ne!(ours, plain.train_step(&batch, &step(iteration)).unwrap());
        }
        let (ours, theirs) = (cpu.evaluate(&batch).unwrap(), reference.evaluate(&batch).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs, "{smoothing} {mixed}: {ours} {theirs}");
        // Images that are not mixed have their own label alone.
        assert!(!mixed || cpu.train_step(&batch, &step(3)).is_ok());
        assert!(plain.train_step(&Batch { mixed: Some(&others), ..batch }, &step(3)).is_err());
        assert!(cpu.train_step(&Batch { mixed: Some(&others[1..]), ..batch }, &step(3)).is_err());
    }
}

/// What is kept of so many images goes past the cache; the mean over copies of two images is that over the two.
#[test]
fn a_batch_larger_than_the_cache_has_the_same_gradients() {
    let model = "model tall { patches(4) patch_encoder(32) \
                 repeat transformer_block(2, key_dim = 32, units = [64, 32]) ×2 layer_norm flatten mlp([64]) dense(5) }";
    let spec = ImageSpec { height: 96, width: 96, channels: 1, num_classes: 5 };
    let mut cpu = engine_of(model, spec, Backend::Cpu);
    let pixels = 96 * 96;
    let images: Vec<f32> = (0..2 * pixels).map(|index| (index as f32 * 0.37).sin()).collect();
    let (few, many) = (Batch { images: &images, labels: &[1, 3], mixed: None }, (images.repeat(14), [1, 3].repeat(14)));
    let expected = cpu.inspect().gradients(&few).unwrap();
    let actual = cpu.inspect().gradients(&Batch { images: &many.0, labels: &many.1, mixed: None }).unwrap();
    for (actual, expected) in actual.iter().zip(&expected) {
        // Where the gradient is zero but for rounding, as that of the bias of keys, nothing can be compared.
        let largest = expected.data.iter().fold(1e-4_f32, |largest, value| largest.max(value.abs()));
        for (actual, value) in actual.data.iter().zip(&expected.data) {
            assert!((actual - value).abs() <= 1e-4 * largest, "{}: {actual} {value}", expected.name);
        }
    }
}

#[test]
fn every_kernel_is_its_decomposition_on_odd_shapes() {
    for (name, apply) in OPERATORS {
        for (batch, sizes) in [(1, [1, 1]), (3, [5, 7]), (19, [17, 33]), (2, [37, 20])] {
            let what = format!("{name}, batch {batch}, {sizes:?}");
            let engine = |backend: Backend| {
                let options = EngineOptions {
                    optimizer: Optimizer::default(),
                    loss: Loss::default(),
                    seed: 3,
                    threads: 2,
                    precision: Precision::F32,
                    regions: Regions::default(),
                };
                backend.engine(Box::new(move |builder, batch| network(builder, batch, sizes, apply)), options).unwrap()
            };
            let (mut cpu, mut reference) = (engine(Backend::Cpu), engine(Backend::Reference));
            let (images, labels) = networks::batch(batch, sizes);
            let batch = Batch { images: &images, labels: &labels, mixed: None };
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
    let mut state = cpu.state().unwrap();
    let name = "transformer_block1/mlp/dense1/kernel";
    state.iter_mut().find(|tensor| tensor.name == name).unwrap().data[3] = f32::INFINITY;
    cpu.load_state(&state).unwrap();
    let step = Step { epoch: 2, step: 5, iteration: 50, learning_rate: 1e-3 };
    let error = cpu.train_step(&Batch { images: &[0.5; 2 * 108], labels: &[0, 1], mixed: None }, &step).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(&format!("first non-finite values in dense of {name}, transformer_block1/mlp/dense1/bias")),
        "{error}"
    );
    // Nothing was spoiled by it.
    assert_eq!(cpu.state().unwrap(), state);
}
