//! Whole programs on the emulated device: the very kernels and the very plan, against Keras' fixtures and the CPU
//! backend.

mod convolutions;
mod early;
mod heads;
mod lines;
mod packed;
mod pictures;
pub mod reference_model;

#[path = "../../../tests/support/keras.rs"]
#[allow(dead_code)]
mod keras;

use std::{collections::BTreeMap, path::Path};

use super::{CudaEngine, device::Device, emulated::Emulated, launch::Precision};
use crate::{
    backend::{
        Backend, Batch, Engine, EngineOptions, ImageSet, OPTIMIZER, Part, Regions, StateTensor, Step, operators,
        plan::{self, Lifetime},
    },
    data::{Augmentation, Keys, Mixed, Pipeline, Split, Statistics},
    dsl::{Source, Value},
    graph::{
        losses::{LOSSES, Loss},
        optimizers::{self, Ema, OPTIMIZERS, Optimizer, Pattern},
    },
    metrics::Means,
    model::{Architecture, ImageSpec, elaborate},
    train::{Fit, Interrupt, Observer, Schedule, schedules},
    trial::{Directory, checkpoint, history},
};

const MODEL: &str = include_str!("../../../tests/support/small.vitx");

/// Of an engine that trains with an augmentation.
fn options_with(precision: Precision, augmentation: &Augmentation) -> EngineOptions {
    let loss = Loss::default().of_mixed(augmentation.mixing().is_some());
    EngineOptions { loss, ..options(precision) }
}

fn options(precision: Precision) -> EngineOptions {
    EngineOptions {
        optimizer: Optimizer::default(),
        loss: Loss::default(),
        seed: 3,
        threads: 2,
        precision,
        regions: Regions::Off,
    }
}

fn engine<D: Device>(architecture: Architecture, precision: Precision, device: D) -> CudaEngine<D> {
    let lowering = Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch));
    CudaEngine::new(lowering, options(precision), device).unwrap()
}

fn small() -> Architecture {
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    elaborate(&Source::new("small", MODEL), &BTreeMap::new(), &spec).unwrap()
}

fn on_cpu(architecture: Architecture) -> Box<dyn Engine> {
    let lowering = Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch));
    Backend::Cpu.engine(lowering, options(Precision::F32)).unwrap()
}

/// Distance of two tensors relative to the second's norm.
fn distance(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let difference: f32 = actual.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum();
    let norm: f32 = expected.iter().map(|value| value * value).sum();
    (difference.sqrt() - 1e-6).max(0.0) / norm.sqrt().max(1e-6)
}

/// Keras' fixtures.
fn keras_fixtures<D: Device + 'static>(device: impl Fn() -> D) {
    for path in keras::fixtures() {
        keras::check(&path, |architecture| Box::new(engine(architecture, Precision::F32, device())));
    }
}

/// Steps with dropout, and gradients, as of the CPU backend.
fn trains_as_the_cpu_backend_does<D: Device>(device: impl Fn() -> D) {
    let mut cpu = on_cpu(small());
    let mut cuda = engine(small(), Precision::F32, device());
    assert_eq!(cuda.state().unwrap(), cpu.state().unwrap());
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images: Vec<f32> = (0..labels.len() * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    for (iteration, count) in [7, 3, 7].into_iter().enumerate() {
        let batch = Batch { images: &images[..count * 108], labels: &labels[..count], mixed: None };
        let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
        let (ours, theirs) = (cuda.train_step(&batch, &step).unwrap(), cpu.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
        assert!(distance(cuda.logits(), cpu.logits()) < 1e-4, "logits of step {iteration}");
    }
    for (ours, theirs) in cuda.state().unwrap().iter().zip(cpu.state().unwrap()) {
        assert_eq!(ours.name, theirs.name);
        // A key bias has a gradient of exactly zero in theory: Adam turns rounding into steps.
        if !ours.name.ends_with("key/bias") {
            assert!(distance(&ours.data, &theirs.data) < 1e-3, "{}", ours.name);
        }
    }
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    for (ours, theirs) in cuda.inspect().gradients(&batch).unwrap().iter().zip(cpu.inspect().gradients(&batch).unwrap())
    {
        assert!(distance(&ours.data, &theirs.data) < 2e-3, "gradient of {}", ours.name);
    }
}

/// A network whose batches are normalised, and which evaluates by moving averages.
fn convolutions_train_as_on_the_cpu_backend<D: Device>(device: impl Fn() -> D) {
    let spec = ImageSpec { height: 9, width: 9, channels: 2, num_classes: 5 };
    let text = include_str!("../../../tests/support/convolutional.vitx");
    let network = || elaborate(&Source::new("convolutional", text), &BTreeMap::new(), &spec).unwrap();
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images: Vec<f32> = (0..labels.len() * 162).map(|index| (index as f32 * 0.37).sin()).collect();
    let muon = Optimizer {
        clip_norm: Some(0.1),
        ema: Some(Ema { decay: 0.5, warmup: false, evaluate: true }),
        ..Optimizer::of(optimizers::find("muon").unwrap())
    };
    for optimizer in [Optimizer::default(), muon] {
        let lowering = || {
            let architecture = network();
            Box::new(move |builder: &mut crate::graph::Builder, batch| architecture.lower(builder, batch))
        };
        let options = || EngineOptions { optimizer: optimizer.clone(), ..options(Precision::F32) };
        let mut cpu = Backend::Cpu.engine(lowering(), options()).unwrap();
        let mut cuda = CudaEngine::new(lowering(), options(), device()).unwrap();
        assert_eq!(cuda.state().unwrap(), cpu.state().unwrap());
        for (iteration, count) in [7, 3, 7].into_iter().enumerate() {
            let batch = Batch { images: &images[..count * 162], labels: &labels[..count], mixed: None };
            let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
            let (ours, theirs) = (cuda.train_step(&batch, &step).unwrap(), cpu.train_step(&batch, &step).unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
            let (ours, theirs) = (cuda.evaluate(&batch).unwrap(), cpu.evaluate(&batch).unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
        }
        for (ours, theirs) in cuda.state().unwrap().iter().zip(cpu.state().unwrap()) {
            assert_eq!(ours.name, theirs.name);
            // A bias before a normalisation has a gradient of exactly zero in theory: Adam turns rounding into steps.
            if !ours.name.contains("bias") {
                assert!(distance(&ours.data, &theirs.data) < 2e-3, "{} {}", optimizer.rule.name, ours.name);
            }
        }
    }
}

/// A block between convolutions, so short that little rounding to bfloat16 adds up.
const SHORT: &str = "model short(image_size = 8) {
    conv2d(8, 3) -> relu
    residual { conv2d(16, 3) -> batch_norm -> relu -> conv2d(8, 3) -> batch_norm }
    relu
    conv2d(8, 3) -> gelu
    global_average_pool
    dense(num_classes)
}";

/// What is fused around batch norm and convolutions: gradients are the CPU's.
fn residual_networks_have_the_gradients_of_the_cpu_backend<D: Device>(device: impl Fn() -> D) {
    let spec = ImageSpec { height: 8, width: 8, channels: 3, num_classes: 5 };
    let resnet = include_str!("../../../experiments/zoo/resnet_speedrun.vitx");
    let hybrid = include_str!("../../../experiments/zoo/hybrid.vitx");
    let small_hybrid: &[(&str, i64)] = &[("dim", 16), ("depth", 2), ("num_heads", 2), ("drop", 0)];
    // In bfloat16 the rounding of fourteen batch norms behind one another hides everything.
    let networks = [
        ("short", SHORT, &[][..], [Precision::F32, Precision::Bf16].as_slice()),
        ("resnet_speedrun", resnet, &[("width", 8)], &[Precision::F32]),
        ("hybrid", hybrid, small_hybrid, &[Precision::F32, Precision::Bf16]),
    ];
    let labels = [0, 4, 2, 1, 3, 0];
    let images: Vec<f32> = (0..labels.len() * 192).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    for (name, text, parameters, precisions) in networks {
        let parameters = parameters.iter().chain(&[("image_size", 8)]);
        let parameters = parameters.map(|&(name, value)| (name.to_owned(), Value::Int(value))).collect();
        let lowering = || {
            let architecture = elaborate(&Source::new(name, text), &parameters, &spec).unwrap();
            Box::new(move |builder: &mut crate::graph::Builder, batch| architecture.lower(builder, batch))
        };
        let mut cpu = Backend::Cpu.engine(lowering(), options(Precision::F32)).unwrap();
        let expected = cpu.inspect().gradients(&batch).unwrap();
        for &precision in precisions {
            let mut cuda = CudaEngine::new(lowering(), options(precision), device()).unwrap();
            let actual = cuda.inspect().gradients(&batch).unwrap();
            let tolerance = if precision == Precision::F32 { 1e-3 } else { 0.2 };
            // A bias before a normalisation, or of the keys, has a gradient of exactly zero in theory.
            let size = |tensor: &StateTensor| tensor.data.iter().map(|value| value * value).sum::<f32>().sqrt();
            for (actual, expected) in actual.iter().zip(&expected).filter(|(_, expected)| size(expected) > 1e-5) {
                assert_eq!(actual.name, expected.name);
                let distance = distance(&actual.data, &expected.data);
                assert!(distance < tolerance, "{name} {precision:?} {}: {distance}", actual.name);
            }
        }
    }
}

/// Training minimises the loss with its options; evaluation has the plain one.
fn losses_with_options_train_as_the_cpu_backend_does<D: Device>(device: impl Fn() -> D) {
    let lowering = || {
        let architecture = small();
        Box::new(move |builder: &mut crate::graph::Builder, batch| architecture.lower(builder, batch))
    };
    let images: Vec<f32> = (0..5 * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1], mixed: None };
    let others = [(3, 0.25), (4, 0.5), (0, 0.0), (1, 1.0), (2, 0.8)];
    let others = others.map(|(label, weight)| Mixed { label, weight });
    let cases = [(0.3, false, false), (0.0, true, false), (0.3, true, false), (0.0, false, true), (0.3, true, true)];
    let kinds = LOSSES.iter().flat_map(|kind| cases.map(|case| (kind, case)));
    for (kind, (smoothing, mixed, weighted)) in kinds {
        let weights = || weighted.then(|| [0.5, 2.0, 0.0, 1.0, 3.0].into());
        let loss = Loss::of(kind).with("label_smoothing", smoothing).of_mixed(mixed).of_classes(weights());
        let options = || EngineOptions { loss: loss.clone(), ..options(Precision::F32) };
        let mut cpu = Backend::Cpu.engine(lowering(), options()).unwrap();
        let mut cuda = CudaEngine::new(lowering(), options(), device()).unwrap();
        let trained = Batch { mixed: mixed.then_some(&others[..]), ..batch };
        for iteration in 0..3 {
            let step = Step { epoch: 0, step: iteration as u32, iteration, learning_rate: 1e-3 };
            let (ours, theirs) = (cuda.train_step(&trained, &step).unwrap(), cpu.train_step(&trained, &step).unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
            let (ours, theirs) = (cuda.evaluate(&batch).unwrap(), cpu.evaluate(&batch).unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
        }
    }
}

/// Every operator as of the CPU backend, on odd shapes.
fn every_operator<D: Device>(device: impl Fn() -> D, shapes: &[(usize, [usize; 2])]) {
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, 2e-2)] {
        for (name, apply) in operators::OPERATORS {
            for &(size, sizes) in shapes {
                let what = format!("{name}, {precision:?}, batch {size}, {sizes:?}");
                let lowering =
                    || Box::new(move |builder: &mut _, batch| operators::network(builder, batch, sizes, apply));
                let mut cpu = Backend::Cpu.engine(lowering(), options(Precision::F32)).unwrap();
                let mut cuda = CudaEngine::new(lowering(), options(precision), device()).unwrap();
                let (images, labels) = operators::batch(size, sizes);
                let batch = Batch { images: &images, labels: &labels, mixed: None };
                let (ours, theirs) = (cuda.evaluate(&batch).unwrap(), cpu.evaluate(&batch).unwrap());
                assert!((ours - theirs).abs() <= tolerance * (1.0 + theirs.abs()), "{what}: {ours} {theirs}");
                assert!(distance(cuda.logits(), cpu.logits()) < tolerance, "{what}: logits");
                // Sums over few rows cancel, and what was rounded before them does not. Where rounding moves a
                // value over the kink of relu, its whole gradient comes or goes.
                let factor = if name == "relu" { 6.0 } else { 3.0 };
                operators::compare_gradients(&what, &mut cuda, cpu.as_mut(), &batch, factor * tolerance);
            }
        }
    }
}

/// Epilogues by the product and by the launches that replace them come to the same.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn products_without_epilogues_give_the_same_training() {
    let images: Vec<f32> = (0..5 * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1], mixed: None };
    let run = |plain| {
        let mut engine = engine(small(), Precision::F32, Emulated { plain, ..Emulated::default() });
        let step = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 1e-3 };
        let loss = engine.train_step(&batch, &step).unwrap();
        (loss, engine.inspect().gradients(&batch).unwrap())
    };
    let ((fused, fused_gradients), (plain, plain_gradients)) = (run(false), run(true));
    assert!((fused - plain).abs() < 1e-5 * plain, "{fused} {plain}");
    for (fused, plain) in fused_gradients.iter().zip(&plain_gradients) {
        assert!(distance(&fused.data, &plain.data) < 1e-4, "{}", fused.name);
    }
}

/// The same seed gives the same bits, and a state that is loaded goes on as the one that was saved.
fn training_is_deterministic<D: Device>(device: impl Fn() -> D) {
    let images: Vec<f32> = (0..4 * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2], mixed: None };
    let step = |iteration: u32| Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-3 };
    let new = || engine(small(), Precision::Bf16, device());
    let (mut whole, mut first, mut second) = (new(), new(), new());
    for iteration in 0..3 {
        whole.train_step(&batch, &step(iteration)).unwrap();
    }
    first.train_step(&batch, &step(0)).unwrap();
    second.load_state(&first.state().unwrap()).unwrap();
    for iteration in 1..3 {
        second.train_step(&batch, &step(iteration)).unwrap();
    }
    assert_eq!(whole.state().unwrap(), second.state().unwrap());
    let unknown = crate::backend::StateTensor { name: "nothing".into(), shape: vec![1], data: vec![0.0] };
    assert!(second.load_state(&[unknown]).is_err());
}

/// Each optimizer, on all parameters alike and in groups that lie between one another, as on the CPU; and the same bits
/// after an interruption.
fn every_optimizer<D: Device>(device: impl Fn() -> D) {
    let images: Vec<f32> = (0..4 * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2], mixed: None };
    let step = |iteration: u32| Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-2 };
    let lowering = || {
        let architecture = small();
        Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch))
    };
    for rule in OPTIMIZERS {
        let alike = Optimizer::of(rule);
        let groups = Optimizer {
            weight_decay: 0.1,
            no_decay: ["bias", "norm", "*/value/kernel"].map(Pattern::new).into(),
            rates: vec![(Pattern::new("*/query/*"), 3.0)],
            ..alike.clone()
        };
        let clipped = Optimizer { clip_norm: Some(1e-2), ..groups.clone() };
        let ema = Some(Ema { decay: 0.75, warmup: true, evaluate: true });
        let averaged = Optimizer { ema, ..clipped.clone() };
        let accumulated = Optimizer { gradient_accumulation_steps: 2, ..averaged.clone() };
        for optimizer in [alike, groups, clipped, averaged, accumulated] {
            let with = |precision| EngineOptions { optimizer: optimizer.clone(), ..options(precision) };
            let mut cpu = Backend::Cpu.engine(lowering(), with(Precision::F32)).unwrap();
            let mut cuda = CudaEngine::new(lowering(), with(Precision::F32), device()).unwrap();
            for iteration in 0..2 {
                // From the same state, for a sign may turn on rounding.
                cuda.load_state(&cpu.state().unwrap()).unwrap();
                cpu.train_step(&batch, &step(iteration)).unwrap();
                cuda.train_step(&batch, &step(iteration)).unwrap();
                for (ours, theirs) in cuda.state().unwrap().iter().zip(cpu.state().unwrap()) {
                    let same = ours.name.ends_with("key/bias") || distance(&ours.data, &theirs.data) < 1e-3;
                    assert!(same && ours.name == theirs.name, "{} {}", rule.name, ours.name);
                }
            }
            let new = || CudaEngine::new(lowering(), with(Precision::Bf16), device()).unwrap();
            let (mut whole, mut first, mut second) = (new(), new(), new());
            for iteration in 0..3 {
                whole.train_step(&batch, &step(iteration)).unwrap();
                // An evaluation leaves no trace.
                whole.evaluate(&batch).unwrap();
            }
            first.train_step(&batch, &step(0)).unwrap();
            second.load_state(&first.state().unwrap()).unwrap();
            for iteration in 1..3 {
                second.train_step(&batch, &step(iteration)).unwrap();
            }
            assert_eq!(whole.state().unwrap(), second.state().unwrap(), "{}", rule.name);
        }
    }
}

/// What is frozen is as it was, all else as on the CPU: also where of three kernels that would lie side by side one is.
fn frozen<D: Device>(device: impl Fn() -> D) {
    let images: Vec<f32> = (0..4 * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2], mixed: None };
    let step = |iteration: u32| Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-2 };
    let ema = Some(Ema { decay: 0.75, warmup: false, evaluate: true });
    let averaged = Optimizer { ema, clip_norm: Some(1e-2), ..Optimizer::default() };
    let cases: [(&[&str], Option<&str>); 2] = [
        (&["*block0/attention/query/kernel", "layer_norm/beta", "*dense1/bias"], None),
        (&[], Some("transformer_block1")),
    ];
    for (optimizer, (freeze, until)) in
        [Optimizer::default(), averaged].iter().flat_map(|optimizer| cases.map(|case| (optimizer, case)))
    {
        let architecture = || {
            let mut architecture = small();
            let patterns: Vec<Pattern> = freeze.iter().map(|text| Pattern::new(*text)).collect();
            architecture.freeze(&patterns, until).unwrap();
            architecture
        };
        let lowering = || {
            let architecture = architecture();
            Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch))
        };
        let with = |precision| EngineOptions { optimizer: optimizer.clone(), ..options(precision) };
        let mut cpu = Backend::Cpu.engine(lowering(), with(Precision::F32)).unwrap();
        let mut cuda = CudaEngine::new(lowering(), with(Precision::F32), device()).unwrap();
        let start = cpu.state().unwrap();
        for iteration in 0..2 {
            cuda.load_state(&cpu.state().unwrap()).unwrap();
            cpu.train_step(&batch, &step(iteration)).unwrap();
            cuda.train_step(&batch, &step(iteration)).unwrap();
            let (ours, theirs) = (cuda.state().unwrap(), cpu.state().unwrap());
            assert_eq!(ours.len(), theirs.len());
            for ((ours, theirs), start) in ours.iter().zip(&theirs).zip(&start) {
                let same = ours.name.ends_with("key/bias") || distance(&ours.data, &theirs.data) < 1e-3;
                assert!(same && ours.name == theirs.name, "{freeze:?} {until:?} {}", ours.name);
                let meant = freeze.iter().any(|text| Pattern::new(*text).fits(&start.name, &[0, 0]));
                assert!(!meant || (&ours.data, &theirs.data) == (&start.data, &start.data), "{}", ours.name);
            }
        }
        let names = |gradients: Vec<StateTensor>| gradients.into_iter().map(|tensor| tensor.name).collect::<Vec<_>>();
        let [ours, theirs] = [cuda.inspect().gradients(&batch), cpu.inspect().gradients(&batch)]
            .map(|gradients| names(gradients.unwrap()));
        assert_eq!(ours, theirs);
    }
}

/// Images of two sizes train one set of parameters, as on the CPU.
fn sizes_share_parameters<D: Device>(device: impl Fn() -> D) {
    let network = |[height, width]: [usize; 2]| {
        let text = "model m { conv2d(6, 3, padding = 1) batch_norm(momentum = 0.75) relu global_average_pool \
                    dense(num_classes) }";
        let spec = ImageSpec { height, width, channels: 2, num_classes: 5 };
        let architecture = elaborate(&Source::new("m", text), &BTreeMap::new(), &spec).unwrap();
        Box::new(move |builder: &mut crate::graph::Builder, batch| architecture.lower(builder, batch))
    };
    let optimizer = Optimizer { gradient_accumulation_steps: 2, ..Optimizer::default() };
    let options = EngineOptions { optimizer, ..options(Precision::F32) };
    let mut cpu = Backend::Cpu.engine(network([7, 6]), options.clone()).unwrap();
    let mut cuda = CudaEngine::new(network([7, 6]), options, device()).unwrap();
    cpu.add_size(network([5, 4])).unwrap();
    cuda.add_size(network([5, 4])).unwrap();
    for iteration in 0..4_u32 {
        let pixels = 2 * [7 * 6, 5 * 4][iteration as usize / 2 % 2];
        let images: Vec<f32> = (0..3 * pixels).map(|index| (index as f32 * 0.37).sin()).collect();
        let batch = Batch { images: &images, labels: &[0, 4, 2], mixed: None };
        let step = Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-2 };
        cuda.load_state(&cpu.state().unwrap()).unwrap();
        let (ours, theirs) = (cuda.train_step(&batch, &step).unwrap(), cpu.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
        for (ours, theirs) in cuda.state().unwrap().iter().zip(cpu.state().unwrap()) {
            assert!(ours.name.contains("bias") || distance(&ours.data, &theirs.data) < 1e-3, "{}", ours.name);
        }
        let (ours, theirs) = (cuda.evaluate(&batch).unwrap(), cpu.evaluate(&batch).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
    }
}

/// Images that the device keeps are made as small there as the loader makes them; after an interruption as well.
fn kept_images_are_made_smaller<D: Device>(device: impl Fn() -> D) {
    let network = |[height, width]: [usize; 2]| {
        let text = "model m { conv2d(6, 3, padding = 1) relu global_average_pool dense(num_classes) }";
        let spec = ImageSpec { height, width, channels: 2, num_classes: 5 };
        let architecture = elaborate(&Source::new("m", text), &BTreeMap::new(), &spec).unwrap();
        Box::new(move |builder: &mut crate::graph::Builder, batch| architecture.lower(builder, batch))
    };
    let augmentation: Augmentation = serde_yaml::from_str("[random_crop: 1, mixup: { until: 2 }]").unwrap();
    let sizes = [(0, (5, 4)), (1, (9, 6)), (2, (7, 3))];
    let optimizer = Optimizer { gradient_accumulation_steps: 2, ..Optimizer::default() };
    let options = || EngineOptions { optimizer: optimizer.clone(), ..options_with(Precision::F32, &augmentation) };
    let train = |engine: &mut dyn Engine, until: &[Option<u32>]| {
        engine.add_size(network([5, 4])).unwrap();
        engine.add_size(network([7, 3])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        until.iter().for_each(|until| fit_sizes(folder.path(), *until, engine, (&augmentation, 1), &sizes));
        (history::read(folder.path()).unwrap(), engine.state().unwrap())
    };
    let mut cpu = Backend::Cpu.engine(network([9, 6]), options()).unwrap();
    let (expected, expected_state) = train(cpu.as_mut(), &[None]);
    let new = || CudaEngine::new(network([9, 6]), options(), device()).unwrap();
    let (actual, state) = train(&mut new(), &[None]);
    let (_, interrupted) = train(&mut new(), &[Some(1), Some(2), None]);
    assert!(state == interrupted && actual.len() == 3);
    for (actual, expected) in actual.iter().zip(&expected) {
        assert!((actual.loss - expected.loss).abs() < 1e-4 * expected.loss, "{actual:?} {expected:?}");
        assert_eq!((actual.accuracy, actual.val_accuracy), (expected.accuracy, expected.val_accuracy));
    }
    for (ours, theirs) in state.iter().zip(&expected_state) {
        assert!(distance(&ours.data, &theirs.data) < 2e-3, "{}: {}", ours.name, distance(&ours.data, &theirs.data));
    }
}

/// Evaluation and the best weights are of the average, in either precision.
fn evaluates_the_average<D: Device>(device: impl Fn() -> D) {
    let images: Vec<f32> = (0..4 * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2], mixed: None };
    let step = |iteration: u32| Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-2 };
    for precision in [Precision::F32, Precision::Bf16] {
        let ema = Some(Ema { decay: 0.75, warmup: false, evaluate: true });
        let architecture = small();
        let lowering = Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch));
        let optimizer = Optimizer { ema, ..Optimizer::default() };
        let mut averaged =
            CudaEngine::new(lowering, EngineOptions { optimizer, ..options(precision) }, device()).unwrap();
        let mut plain = engine(small(), precision, device());
        for iteration in 0..2 {
            let losses = [&mut averaged, &mut plain].map(|engine| engine.train_step(&batch, &step(iteration)).unwrap());
            assert_eq!(losses[0], losses[1]);
            averaged.evaluate(&batch).unwrap();
        }
        let (loss, average) = (averaged.evaluate(&batch).unwrap(), averaged.weights().unwrap());
        assert_ne!(loss, plain.evaluate(&batch).unwrap());
        let split = split(7, 3);
        let statistics = Statistics::of(&split, 2).unwrap();
        let pipeline = Pipeline::new(&statistics, (6, 4), 2, (9, 6));
        let kept = |engine: &mut CudaEngine<D>| {
            let set = ImageSet { split: &split, pipeline: &pipeline, batch_size: 4, drawing: None };
            let resident = engine.resident().unwrap();
            assert!(resident.keep_images(Part::Validation, &set).unwrap());
            resident.evaluate_kept(Part::Validation).unwrap()
        };
        let validation = kept(&mut averaged);
        assert!(averaged.resident().unwrap().keep_weights().unwrap());
        assert_eq!(averaged.resident().unwrap().kept_weights().unwrap(), average);
        plain.load_state(&average).unwrap();
        assert_eq!((plain.evaluate(&batch).unwrap(), plain.weights().unwrap()), (loss, average));
        assert_eq!(kept(&mut plain), validation);
    }
}

/// A loss that is not finite names the first operator, and spoils nothing.
fn not_finite<D: Device>(device: impl Fn() -> D) {
    let mut engine = engine(small(), Precision::F32, device());
    let mut state = engine.state().unwrap();
    let name = "transformer_block1/mlp/dense1/kernel";
    state.iter_mut().find(|tensor| tensor.name == name).unwrap().data[3] = f32::INFINITY;
    engine.load_state(&state).unwrap();
    let step = Step { epoch: 2, step: 5, iteration: 50, learning_rate: 1e-3 };
    let error = engine
        .train_step(&Batch { images: &[0.5; 2 * 108], labels: &[0, 1], mixed: None }, &step)
        .unwrap_err()
        .to_string();
    let expected =
        format!("epoch 3, step 6: first non-finite values in dense of {name}, transformer_block1/mlp/dense1/bias");
    assert!(error.ends_with(&expected), "{error}");
    assert_eq!(engine.state().unwrap(), state);
}

#[test]
fn a_batch_that_does_not_fit_is_an_error() {
    let mut engine = engine(small(), Precision::F32, Emulated::default());
    for (images, labels) in [(&[0.0; 108][..], &[][..]), (&[0.0; 107], &[0]), (&[0.0; 107], &[0, 1])] {
        assert!(engine.evaluate(&Batch { images, labels, mixed: None }).is_err());
    }
    let kept = engine.resident().unwrap().train_kept(&Step::STILL, 1);
    assert_eq!(kept.unwrap_err().to_string(), "the Training images are not kept");
}

/// Tensors that live at the same time never overlap: a plan in which none shares memory gives the same bits.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn the_plan_keeps_living_tensors_apart() {
    let images: Vec<f32> = (0..5 * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1], mixed: None };
    let run = |planner: super::compile::Planner| {
        let mut engine = engine(small(), Precision::Bf16, Emulated::default());
        engine.planner = planner;
        let step = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 1e-3 };
        let loss = engine.train_step(&batch, &step).unwrap();
        (loss, engine.logits().to_vec(), engine.state().unwrap(), engine.memory.arena_bytes)
    };
    let apart = |buffers: &[Lifetime]| {
        let forever: Vec<Lifetime> =
            buffers.iter().map(|buffer| Lifetime { first: 0, last: usize::MAX, ..*buffer }).collect();
        plan::pack(&forever)
    };
    let (planned, apart) = (run(plan::pack), run(apart));
    assert_eq!((planned.0, &planned.1, &planned.2), (apart.0, &apart.1, &apart.2));
    assert!(4 * planned.3 < 3 * apart.3, "{} of {} bytes", planned.3, apart.3);
}

const AUGMENTATION: Augmentation = Augmentation::Keys(Keys { flip: true, rotation: 0.05, zoom: 0.2 });

fn split(count: usize, seed: u32) -> Split {
    let pixels = (0..count * 6 * 4 * 2).map(|index| ((index as u32 * 37 + seed * 11) % 251) as u8).collect();
    Split::new(pixels, (0..count as u32).map(|index| (index + seed) % 5).collect())
}

/// Trains the small network for three epochs: the record of the epochs, and the state at the end.
fn fit(engine: &mut dyn Engine, augmentation: &Augmentation, repeats: u32) -> (Vec<history::Epoch>, Vec<StateTensor>) {
    let folder = tempfile::tempdir().unwrap();
    fit_sizes(folder.path(), None, engine, (augmentation, repeats), &[]);
    (history::read(folder.path()).unwrap(), engine.state().unwrap())
}

/// Trains the small network in a folder, for three epochs in all, or until so many are done.
fn fit_in(folder: &Path, until: Option<u32>, engine: &mut dyn Engine, augmentation: &Augmentation) {
    fit_sizes(folder, until, engine, (augmentation, 1), &[]);
}

/// The same on images of other sizes in some epochs.
fn fit_sizes(
    folder: &Path,
    until: Option<u32>,
    engine: &mut dyn Engine,
    (augmentation, repeats): (&Augmentation, u32),
    sizes: &[(u32, (usize, usize))],
) {
    let (train, validation) = (split(11, 1), split(5, 2));
    let statistics = Statistics::of(&train, 2).unwrap();
    let fit = Fit {
        train: &train,
        validation: &validation,
        test: &validation,
        pipeline: &Pipeline::new(&statistics, (6, 4), 2, (9, 6)),
        augmentation,
        workers: 1,
        epochs: 3,
        until,
        linger: std::time::Duration::ZERO,
        batch_size: 4,
        repeats,
        seed: 9,
        learning_rate: 2e-3,
        schedule: Schedule {
            warmup_epochs: 0.5,
            final_fraction: 0.1,
            ..Schedule::of(schedules::find("cosine").unwrap())
        },
        monitor: crate::train::Monitor::default(),
        sizes,
        evaluates_average: false,
        stop: None,
        folder,
        interrupt: &Interrupt::default(),
    };
    fit.run(engine, &mut Silent).unwrap();
}

/// Epochs on images that the device keeps: the order, the augmentation and the masks are those of the CPU backend,
/// whose loop makes the batches.
fn trains_on_kept_images<D: Device>(device: impl Fn() -> D) {
    let list = "[random_crop: { padding: 1, from_epoch: { 1: 2, 2: false } }, mixup, cutmix: { until: 2 }]";
    // Eight steps in three epochs: sums go on from epoch to epoch.
    let listed = || serde_yaml::from_str(list).unwrap();
    for (augmentation, repeats, gradient_accumulation_steps) in
        [(AUGMENTATION, 1, 1), (listed(), 1, 1), (AUGMENTATION, 1, 2), (AUGMENTATION, 2, 1), (listed(), 3, 1)]
    {
        trains_on_kept_images_with(&device, &augmentation, repeats, gradient_accumulation_steps);
    }
}

fn trains_on_kept_images_with<D: Device>(
    device: impl Fn() -> D,
    augmentation: &Augmentation,
    repeats: u32,
    gradient_accumulation_steps: u32,
) {
    let optimizer = Optimizer { gradient_accumulation_steps, ..Optimizer::default() };
    let options = || EngineOptions { optimizer: optimizer.clone(), ..options_with(Precision::F32, augmentation) };
    let lowering = || {
        let architecture = small();
        Box::new(move |builder: &mut crate::graph::Builder, batch| architecture.lower(builder, batch))
    };
    let mut cpu = Backend::Cpu.engine(lowering(), options()).unwrap();
    let (expected, expected_state) = fit(cpu.as_mut(), augmentation, repeats);
    let mut cuda = CudaEngine::new(lowering(), options(), device()).unwrap();
    let (actual, actual_state) = fit(&mut cuda, augmentation, repeats);
    assert_eq!(actual.len(), 3);
    for (actual, expected) in actual.iter().zip(&expected) {
        assert!((actual.loss - expected.loss).abs() < 1e-4 * expected.loss, "{actual:?} {expected:?}");
        let (ours, theirs) = (actual.val_loss.unwrap(), expected.val_loss.unwrap());
        assert!((ours - theirs).abs() < 1e-4 * theirs, "{actual:?} {expected:?}");
        assert_eq!((actual.accuracy, actual.val_accuracy), (expected.accuracy, expected.val_accuracy));
        assert_eq!((actual.top_5_accuracy, actual.learning_rate), (expected.top_5_accuracy, expected.learning_rate));
    }
    for (ours, theirs) in actual_state.iter().zip(&expected_state) {
        if !ours.name.ends_with("key/bias") {
            assert!(distance(&ours.data, &theirs.data) < 2e-3, "{}: {}", ours.name, distance(&ours.data, &theirs.data));
        }
    }
}

/// The best weights wait on the device: what is written is the same as where there is no room for them, after an
/// interruption as well, and is read back once.
fn best_weights_stay_on_the_device<D: Device>(device: impl Fn() -> D, without_room: impl Fn() -> D) {
    let train = |device: &dyn Fn() -> D, pauses: &[u32]| {
        let folder = tempfile::tempdir().unwrap();
        for until in pauses.iter().map(|pause| Some(*pause)).chain([None]) {
            fit_in(folder.path(), until, &mut engine(small(), Precision::Bf16, device()), &AUGMENTATION);
        }
        let directory = Directory::new(folder.path());
        [directory.best(), directory.last()].map(|path| {
            let (progress, tensors) = checkpoint::load(&path).unwrap();
            (progress.epoch, progress.best, tensors)
        })
    };
    let expected = train(&without_room, &[]);
    assert!(expected[0].2.iter().all(|tensor| !tensor.name.starts_with(OPTIMIZER)) && expected[1].0 == 3);
    for pauses in [&[][..], &[1], &[2], &[1, 2]] {
        assert_eq!(train(&device, pauses), expected, "{pauses:?}");
    }
    let mut engine = engine(small(), Precision::Bf16, device());
    let begin = engine.weights().unwrap();
    let resident = engine.resident().unwrap();
    assert_eq!(resident.kept_weights().unwrap_err().to_string(), "no weights are kept");
    assert!(resident.keep_weights().unwrap());
    let images: Vec<f32> = (0..3 * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let step = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 1e-3 };
    engine.train_step(&Batch { images: &images, labels: &[0, 4, 2], mixed: None }, &step).unwrap();
    assert_eq!(engine.resident().unwrap().kept_weights().unwrap(), begin);
    assert_ne!(engine.weights().unwrap(), begin);
}

/// Watches nothing.
struct Silent;

impl Observer for Silent {
    fn start(&mut self, _: &str) {}
    fn step(&mut self, _: usize, _: usize, _: &Means) {}
    fn epoch(&mut self, _: &history::Epoch, _: u32) {}
}

mod on_the_host {
    //! The checks on the emulated device.

    use super::{Emulated, Precision};
    use crate::{backend::cuda::emulated::READ, train::Monitor};

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn keras_fixtures() {
        super::keras_fixtures(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn trains_as_the_cpu_backend_does() {
        super::trains_as_the_cpu_backend_does(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn convolutions_train_as_on_the_cpu_backend() {
        super::convolutions_train_as_on_the_cpu_backend(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn residual_networks_have_the_gradients_of_the_cpu_backend() {
        super::residual_networks_have_the_gradients_of_the_cpu_backend(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn losses_with_options_train_as_the_cpu_backend_does() {
        super::losses_with_options_train_as_the_cpu_backend_does(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn every_operator() {
        super::every_operator(Emulated::default, &[(1, [1, 1]), (3, [5, 7])]);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn sizes_share_parameters() {
        super::sizes_share_parameters(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn kept_images_are_made_smaller() {
        super::kept_images_are_made_smaller(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn training_is_deterministic() {
        super::training_is_deterministic(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn every_optimizer() {
        super::every_optimizer(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn frozen() {
        super::frozen(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn evaluates_the_average() {
        super::evaluates_the_average(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn not_finite() {
        super::not_finite(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn trains_on_kept_images() {
        super::trains_on_kept_images(Emulated::default);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn takes_batches_where_images_do_not_fit() {
        super::trains_on_kept_images(|| Emulated { no_room_for: Some("images"), ..Emulated::default() });
    }

    fn full() -> Emulated {
        Emulated { no_room_for: Some("the best weights"), ..Emulated::default() }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn best_weights_stay_on_the_device() {
        super::best_weights_stay_on_the_device(Emulated::default, full);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn best_weights_are_read_when_they_are_saved() {
        let read = |device: Emulated| {
            let mut engine = super::engine(super::small(), Precision::F32, device);
            let before = READ.get();
            let (epochs, _) = super::fit(&mut engine, &super::AUGMENTATION, 1);
            (READ.get() - before, size_of::<f32>() * engine.layout.len(), epochs)
        };
        let ((few, group, epochs), (many, ..)) = (read(Emulated::default()), read(full()));
        let mut best = &epochs[0];
        let mut improvements = 1;
        for epoch in &epochs[1..] {
            if Monitor::default().better(epoch, best) {
                (best, improvements) = (epoch, improvements + 1);
            }
        }
        assert!(improvements > 1, "{epochs:?}");
        // Where they cannot stay there, each is read; otherwise only the last of them.
        assert_eq!(many - few, (improvements - 1) * group);
    }
}

mod on_a_device {
    //! The checks on the machine's CUDA device: `scripts/cuda_check.sh` runs them.

    use crate::backend::cuda::driver::Driver;

    fn device() -> Driver {
        Driver::new(0).unwrap()
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn keras_fixtures() {
        super::keras_fixtures(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn trains_as_the_cpu_backend_does() {
        super::trains_as_the_cpu_backend_does(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn convolutions_train_as_on_the_cpu_backend() {
        super::convolutions_train_as_on_the_cpu_backend(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn residual_networks_have_the_gradients_of_the_cpu_backend() {
        super::residual_networks_have_the_gradients_of_the_cpu_backend(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn losses_with_options_train_as_the_cpu_backend_does() {
        super::losses_with_options_train_as_the_cpu_backend_does(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn every_operator() {
        super::every_operator(device, &[(1, [1, 1]), (3, [5, 7]), (19, [17, 33]), (2, [37, 20]), (8, [144, 64])]);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn training_is_deterministic() {
        super::training_is_deterministic(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn best_weights_stay_on_the_device() {
        super::best_weights_stay_on_the_device(device, device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn kept_images_are_made_smaller() {
        super::kept_images_are_made_smaller(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn every_optimizer() {
        super::every_optimizer(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn frozen() {
        super::frozen(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn evaluates_the_average() {
        super::evaluates_the_average(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn not_finite() {
        super::not_finite(device);
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn trains_on_kept_images() {
        super::trains_on_kept_images(device);
    }
}
