//! Batches of 128 CIFAR-sized images with each transform, on one thread: `cargo bench --bench augmentation`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vitx::data::{Augmentation, BatchPlace, Draws, Loaded, Pipeline, Split, Statistics, transforms::TRANSFORMS};

const IMAGES: usize = 128;
const SIDE: usize = 32;

fn batches(criterion: &mut Criterion) {
    // Smooth enough for histograms to be those of pictures.
    let pixels = (0..IMAGES * SIDE * SIDE * 3).map(|at| {
        let (image, y, x) = (at / (SIDE * SIDE * 3), at / (SIDE * 3) % SIDE, at / 3 % SIDE);
        (127.0 + 60.0 * (x as f32 * 0.3 + image as f32).sin() + 60.0 * (y as f32 * 0.2 - (at % 3) as f32).cos()) as u8
    });
    let split = Split::new(pixels.collect(), (0..IMAGES as u32).collect());
    let statistics = Statistics::of(&split, 3).expect("images");
    let indices: Vec<u32> = (0..IMAGES as u32).collect();
    let mut group = criterion.benchmark_group("augmentation");
    group.throughput(Throughput::Elements(IMAGES as u64));
    let recipes = ["random_crop, random_flip, rand_augment, random_erasing, mixup, cutmix"];
    for list in ["random_flip: false"].into_iter().chain(TRANSFORMS.iter().map(|kind| kind.name)).chain(recipes) {
        let augmentation: Augmentation = serde_yaml::from_str(&format!("[{list}]")).expect("a list");
        let pipeline = Pipeline::new(&statistics, (SIDE, SIDE), 3, (SIDE, SIDE));
        let plan = augmentation.plan(pipeline.size());
        let (mut loaded, mut epoch) = (Loaded::default(), 0);
        group.bench_function(list, |bencher| {
            bencher.iter(|| {
                epoch += 1;
                let draws = Draws { seed: 1, epoch, repeats: 1 };
                pipeline.batch(&split, &indices, BatchPlace::default(), Some((&plan, draws)), &mut loaded).unwrap();
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(2));
    targets = batches
}
criterion_main!(benches);
