//! The seed model's training step on the CPU backend: `cargo bench --bench train_step`.

use std::collections::BTreeMap;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vitx::{
    backend::{Batch, Engine, EngineOptions, Precision, Regions, Step, cpu::CpuEngine},
    dsl::Source,
    graph::Initializer,
    graph::{losses::Loss, optimizers::Optimizer},
    model::{ImageSpec, elaborate},
};

fn train_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("train_step");
    group.sample_size(10);
    let source = Source::new("cifar100_vit.vitx", include_str!("../experiments/cifar100_vit.vitx"));
    let data = ImageSpec { height: 32, width: 32, channels: 3, num_classes: 100 };
    for batch in [16, 64] {
        let architecture = elaborate(&source, &BTreeMap::new(), &data).expect("the shipped model is right");
        let pixels: usize = architecture.image_shape().iter().product();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let options = EngineOptions {
            optimizer: Optimizer::default(),
            loss: Loss::default(),
            seed: 1,
            threads,
            precision: Precision::F32,
            regions: Regions::default(),
        };
        let mut engine = CpuEngine::new(Box::new(move |builder, batch| architecture.lower(builder, batch)), options)
            .expect("threads start");
        let mut images = vec![0.0; batch * pixels];
        Initializer::Uniform { limit: 1.0 }.fill(1, 0, &mut images);
        let labels: Vec<u32> = (0..batch as u32).map(|index| index % 100).collect();
        let mut iteration = 0;
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("batch {batch}"), |bencher| {
            bencher.iter(|| {
                let step = Step { epoch: 0, step: iteration as u32, iteration, learning_rate: 1e-3 };
                iteration += 1;
                engine
                    .train_step(&Batch { images: &images, labels: &labels, mixed: None }, &step)
                    .expect("the loss is finite")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, train_step);
criterion_main!(benches);
