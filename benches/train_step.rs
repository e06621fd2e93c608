//! The seed model's training step on the CPU backend: `cargo bench --bench train_step`.

#[path = "../tests/common/seed.rs"]
mod seed;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use seed::Config;
use vitx::{
    backend::{AdamW, Batch, Engine, EngineOptions, Step, cpu::CpuEngine},
    graph::Initializer,
};

fn train_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("train_step");
    group.sample_size(10);
    for batch in [16, 64] {
        let config = Config {
            image: 72,
            patch: 6,
            dim: 64,
            heads: 4,
            depth: 8,
            classes: 100,
            dropout: 0.1,
            head: vec![2048, 1024],
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let options = EngineOptions { optimizer: AdamW::default(), seed: 1, threads };
        let mut engine =
            CpuEngine::new(Box::new(move |b, batch| config.lower(b, batch)), options).expect("threads start");
        let mut images = vec![0.0; batch * 72 * 72 * 3];
        Initializer::Uniform { limit: 1.0 }.fill(1, 0, &mut images);
        let labels: Vec<u32> = (0..batch as u32).map(|index| index % 100).collect();
        let mut iteration = 0;
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("batch {batch}"), |bencher| {
            bencher.iter(|| {
                let step = Step { epoch: 0, step: iteration as u32, iteration, learning_rate: 1e-3 };
                iteration += 1;
                engine.train_step(&Batch { images: &images, labels: &labels }, &step).expect("the loss is finite")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, train_step);
criterion_main!(benches);
