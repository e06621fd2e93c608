//! One network on images of several sizes: the same parameters, on the cpu as on the reference backend.

use std::collections::BTreeMap;

use vitx::{
    backend::{Backend, Batch, Engine, EngineOptions, Precision, Regions, Step},
    dsl::Source,
    graph::{
        Builder,
        losses::Loss,
        optimizers::{Ema, Optimizer},
    },
    model::{Architecture, ImageSpec, elaborate},
};

const POOLED: &str = "model m { conv2d(6, 3, padding = 1, use_bias = false) batch_norm(momentum = 0.75) relu conv2d(8, 2, strides = 2) gelu \
                      global_average_pool dense(num_classes) }";
const SIZES: [[usize; 2]; 3] = [[7, 7], [5, 4], [9, 6]];

fn network(model: &str, [height, width]: [usize; 2]) -> Architecture {
    let spec = ImageSpec { height, width, channels: 2, num_classes: 5 };
    elaborate(&Source::new("model", model), &BTreeMap::new(), &spec).unwrap()
}

fn engine(backend: Backend, model: &str, threads: usize) -> Box<dyn Engine> {
    let ema = Some(Ema { decay: 0.5, warmup: false, evaluate: true });
    let options = EngineOptions {
        optimizer: Optimizer { ema, gradient_accumulation_steps: 2, ..Optimizer::default() },
        loss: Loss::default(),
        seed: 3,
        threads,
        precision: Precision::F32,
        regions: Regions::default(),
    };
    let whole = network(model, SIZES[0]);
    backend.engine(Box::new(move |builder: &mut Builder, batch| whole.lower(builder, batch)), options).unwrap()
}

fn add(engine: &mut dyn Engine, model: &str, size: [usize; 2]) -> Result<(), String> {
    let other = network(model, size);
    let lowering = Box::new(move |builder: &mut Builder, batch| other.lower(builder, batch));
    engine.add_size(lowering).map_err(|error| error.to_string())
}

#[test]
fn all_sizes_train_one_set_of_parameters() {
    let [mut cpu, mut single, mut reference] =
        [(Backend::Cpu, 2), (Backend::Cpu, 1), (Backend::Reference, 1)].map(|(backend, threads)| {
            let mut engine = engine(backend, POOLED, threads);
            SIZES[1..].iter().for_each(|size| add(engine.as_mut(), POOLED, *size).unwrap());
            engine
        });
    for iteration in 0..6_u32 {
        let [height, width] = SIZES[iteration as usize % 3];
        let count = 3 + iteration as usize % 2;
        let images: Vec<f32> = (0..count * height * width * 2).map(|index| (index as f32 * 0.37).sin()).collect();
        let batch = Batch { images: &images, labels: &[0, 4, 2, 1][..count], mixed: None };
        let step = Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-2 };
        reference.load_state(&cpu.state().unwrap()).unwrap();
        let before = cpu.weights().unwrap();
        let [ours, theirs, same] =
            [&mut cpu, &mut reference, &mut single].map(|engine| engine.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() < 1e-4 * theirs && ours == same, "step {iteration}: {ours} {theirs} {same}");
        for (ours, theirs) in cpu.state().unwrap().iter().zip(&reference.state().unwrap()) {
            assert_eq!(ours.name, theirs.name);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * (1.0 + b.abs());
            assert!(ours.data.iter().zip(&theirs.data).all(close), "step {iteration}: {}", ours.name);
        }
        assert_eq!(cpu.state().unwrap(), single.state().unwrap());
        assert_ne!(cpu.weights().unwrap(), before, "moving averages move with each step");
        let [ours, theirs] = [&mut cpu, &mut reference].map(|engine| engine.evaluate(&batch).unwrap());
        assert!((ours - theirs).abs() < 1e-4 * theirs, "evaluation {iteration}: {ours} {theirs}");
    }
}

#[test]
fn other_parameters_and_equal_sizes_are_refused() {
    for backend in [Backend::Cpu, Backend::Reference] {
        let flat = "model m { conv2d(6, 3) flatten dense(num_classes) }";
        let error = add(engine(backend, flat, 1).as_mut(), flat, SIZES[1]).unwrap_err();
        assert_eq!(error, "the network has other parameters on images of 40 numbers");
        let error = add(engine(backend, POOLED, 1).as_mut(), POOLED, SIZES[0]).unwrap_err();
        assert_eq!(error, "there is a network on images of 98 numbers");
    }
}
