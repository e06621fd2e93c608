//! Optimizers, what they leave as it is, and the averages that they keep.

use super::{distance, engine, fit::split, lowered, options, sines, small};
use crate::{
    backend::{
        Backend, Batch, Engine, EngineOptions, ImageSet, Part, StateTensor, Step,
        cuda::{CudaEngine, device::Device, launch::Precision},
    },
    data::{Pipeline, Statistics},
    graph::optimizers::{Ema, OPTIMIZERS, Optimizer, Pattern},
};

/// Each optimizer, on all parameters alike and in groups that lie between one another, as on the CPU; and the same bits
/// after an interruption.
pub(super) fn every_optimizer<D: Device>(device: impl Fn() -> D) {
    let images = sines(4 * 108);
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2], mixed: None };
    let step = |iteration: u32| Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-2 };
    let lowering = || lowered(small());
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
pub(super) fn frozen<D: Device>(device: impl Fn() -> D) {
    let images = sines(4 * 108);
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
        let lowering = || lowered(architecture());
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

/// Evaluation and the best weights are of the average, in either precision.
pub(super) fn evaluates_the_average<D: Device>(device: impl Fn() -> D) {
    let images = sines(4 * 108);
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2], mixed: None };
    let step = |iteration: u32| Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-2 };
    for precision in [Precision::F32, Precision::Bf16] {
        let ema = Some(Ema { decay: 0.75, warmup: false, evaluate: true });
        let lowering = lowered(small());
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
