//! From text to graph, on the reference model: `cargo bench --bench language`.

use std::collections::BTreeMap;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vitx::{
    dsl::{Source, format, parse},
    graph::{losses::Loss, optimizers::Optimizer},
    model::{ImageSpec, elaborate},
    passes::{Lowering, Purpose, StepGraph},
};

fn language(criterion: &mut Criterion) {
    let text = include_str!("../experiments/cifar100_vit.vitx");
    let source = Source::new("cifar100_vit.vitx", text);
    let data = ImageSpec { height: 32, width: 32, channels: 3, num_classes: 100 };
    let mut group = criterion.benchmark_group("language");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse", |bencher| bencher.iter(|| parse(&source).expect("the shipped model is right")));
    group.bench_function("format", |bencher| bencher.iter(|| format(&source).expect("the shipped model is right")));
    group.bench_function("elaborate", |bencher| {
        bencher.iter(|| elaborate(&source, &BTreeMap::new(), &data).expect("the shipped model is right"));
    });
    let architecture = elaborate(&source, &BTreeMap::new(), &data).expect("the shipped model is right");
    let lowering: Box<Lowering> = Box::new(move |builder, batch| architecture.lower(builder, batch));
    group.bench_function("lower and differentiate", |bencher| {
        bencher.iter(|| {
            StepGraph::build(&lowering, 64, Purpose::Train(Optimizer::default(), Loss::default()))
                .expect("every parameter is used")
        });
    });
    group.finish();
}

criterion_group!(benches, language);
criterion_main!(benches);
