//! The main CPU kernels at the reference model's shapes, on one thread: `cargo bench --bench kernels`.

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use vitx::{
    backend::cpu::kernels::{
        activation,
        attention::Attention,
        dropout::{self, Mask},
        gemm::{self, Mat},
        layer_norm, softmax,
        update::Rule,
    },
    graph::{Initializer, optimizers::Optimizer},
    random::{Philox, Stream},
};

fn noise(len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    Initializer::Uniform { limit: 1.0 }.fill(1, 0, &mut values);
    values
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemm");
    // Projections, the output of attention, both layers of the MLP, the head, a large square.
    for (m, n, k) in [(576, 256, 64), (576, 64, 256), (576, 128, 64), (64, 2048, 9216), (768, 768, 768)] {
        let (a, b) = (noise(m * k), noise(k * n));
        let (mut c, mut scratch) = (vec![0.0; m * n], vec![0.0; gemm::scratch_len(m, n, k)]);
        group.throughput(Throughput::Elements((2 * m * n * k) as u64));
        group.bench_function(format!("{m}x{n}x{k}"), |bencher| {
            bencher.iter(|| {
                gemm::gemm(m, n, k, Mat::rows(&a, k), Mat::rows(&b, n), &mut c, n, false, &mut scratch);
            });
        });
    }
    group.finish();
}

fn attention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    let mask = Mask::new(Philox::new(1, Stream::Dropout), 0, 0, 0.1);
    let attention = Attention {
        tokens: 144,
        sources: 144,
        heads: 4,
        key_dim: 64,
        value_dim: 64,
        scale: 0.125,
        shared_keys: false,
        summed: false,
        diagonal: false,
        mask: Some(mask),
        image: 0,
    };
    let [q, k, v, dout] = [0; 4].map(|_| noise(144 * 256));
    let mut out = vec![0.0; 144 * 256];
    let mut kept = vec![0.0; attention.kept_len(true)];
    let mut scratch = vec![0.0; attention.forward_scratch_len().max(attention.backward_scratch_len())];
    group.bench_function("forward", |bencher| {
        bencher.iter(|| attention.forward(&q, &k, &v, &mut out, &mut [], &mut kept, &mut scratch));
    });
    let [mut dq, mut dk, mut dv] = [0; 3].map(|_| vec![0.0; 144 * 256]);
    group.bench_function("backward", |bencher| {
        bencher.iter(|| {
            attention.backward(&q, &k, &v, &out, &kept, &dout, &mut dq, &mut dk, &mut dv, &mut scratch);
        });
    });
    group.finish();
}

fn each<const N: usize>(group: &mut BenchmarkGroup<WallTime>, rows: usize, kernels: [(&str, &mut dyn FnMut()); N]) {
    group.throughput(Throughput::Elements(rows as u64));
    for (name, kernel) in kernels {
        group.bench_function(name, |bencher| bencher.iter(&mut *kernel));
    }
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rows of 64");
    let (rows, dim) = (576, 64);
    let (x, gamma) = (noise(rows * dim), noise(dim));
    let [mut y, mut z, mut d] = [0; 3].map(|_| vec![0.0; rows * dim]);
    let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
    let mask = Mask::new(Philox::new(1, Stream::Dropout), 0, 0, 0.1);
    let (mut weights, mut m, mut v) = (noise(rows * dim), vec![0.0; rows * dim], vec![0.0; rows * dim]);
    each(
        &mut group,
        rows,
        [
            ("layer_norm", &mut || {
                layer_norm::forward(rows, dim, &x, &gamma, &gamma, 1e-6, &mut y, &mut mean, &mut rstd);
            }),
            ("softmax", &mut || softmax::forward(rows, dim, &x, &mut z)),
            ("gelu", &mut || activation::gelu(&x, &mut d)),
        ],
    );
    let adamw = Rule::new(&Optimizer::default()).unwrap();
    each(
        &mut group,
        rows,
        [
            ("dropout", &mut || dropout::apply(&mask, 0, &x, &mut z)),
            ("adamw", &mut || {
                adamw.step(&[1e-7, 1e-3], &x, &mut [&mut weights, &mut m, &mut v]);
            }),
        ],
    );
    group.finish();
}

criterion_group!(benches, products, attention, rows);
criterion_main!(benches);
