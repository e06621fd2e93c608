//! Regions on the emulated device, beside the same operations apart.

mod images;

use std::collections::BTreeMap;

use super::{Regions, text::ENTRY};
use crate::{
    backend::{
        Backend, Batch, Engine, EngineOptions, Precision, StateTensor, Step,
        cuda::{
            CudaEngine,
            device::Device,
            emulated::{Emulated, Order},
            program::{Line, Work},
            tests::reference_model,
        },
        plan::{self, Lifetime},
    },
    dsl::Source,
    graph::{Builder, losses::Loss, optimizers::Optimizer},
    model::{Architecture, ImageSpec, elaborate},
};

/// Images of 9x6 pixels, and so six tokens.
const SPEC: ImageSpec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };

fn network(text: &str) -> Architecture {
    elaborate(&Source::new("network", text), &BTreeMap::new(), &SPEC).unwrap()
}

fn lowering(text: &str) -> Box<crate::passes::Lowering> {
    let architecture = network(text);
    Box::new(move |builder: &mut Builder, batch| architecture.lower(builder, batch))
}

fn options(precision: Precision, regions: Regions) -> EngineOptions {
    EngineOptions { optimizer: Optimizer::default(), loss: Loss::default(), seed: 3, threads: 2, precision, regions }
}

fn on_device<D: Device>(text: &str, regions: Regions, device: D) -> CudaEngine<D> {
    CudaEngine::new(lowering(text), options(Precision::Bf16, regions), device).unwrap()
}

/// A network of blocks this wide.
fn blocks(dim: usize, heads: usize, key_dim: usize, hidden: usize, activation: &str, dropout: f32) -> String {
    format!(
        "model blocks {{
            patches(3)
            patch_encoder({dim})
            repeat transformer_block({heads}, key_dim = {key_dim}, units = [{hidden}, {dim}], dropout = {dropout}) ×2
            layer_norm
            dense({hidden})
            {activation}
            flatten
            dense(num_classes)
        }}"
    )
}

/// The distance of gradients from others, relative to the norm of those.
fn distance(some: &[StateTensor], others: &[StateTensor]) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for (a, b) in some.iter().zip(others) {
        assert_eq!(a.name, b.name);
        assert!(a.data.iter().all(|value| value.is_finite()), "{}", a.name);
        difference += a.data.iter().zip(&b.data).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        norm += b.data.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
    }
    (difference / norm).sqrt()
}

/// How many launches of a step are regions, and how many calls there are.
fn counts<D: Device>(engine: &CudaEngine<D>) -> (usize, usize) {
    let calls = &engine.programs.values().next().unwrap().calls;
    let region = |work: &Work<_>| matches!(work, Work::Launch(launch) if launch.entry == ENTRY);
    (calls.iter().filter(|call| region(&call.work)).count(), calls.len())
}

/// Gradients with and without regions, which are as near to those in float32.
fn as_good_as_apart<D: Device>(text: &str, batch: usize, device: impl Fn() -> D) -> (usize, usize) {
    let labels: Vec<u32> = (0..batch as u32).map(|index| index * 3 % 5).collect();
    let images: Vec<f32> = (0..batch * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    let mut exact = Backend::Cpu.engine(lowering(text), options(Precision::F32, Regions::Off)).unwrap();
    let exact = exact.inspect().gradients(&batch).unwrap();
    let mut apart = on_device(text, Regions::Off, device());
    let mut together = on_device(text, Regions::On, device());
    let of_apart = distance(&apart.inspect().gradients(&batch).unwrap(), &exact);
    let of_together = distance(&together.inspect().gradients(&batch).unwrap(), &exact);
    let ((none, calls), (regions, fewer)) = (counts(&apart), counts(&together));
    assert_eq!(none, 0);
    assert!(regions > 0 && fewer < calls, "{regions} regions, {fewer} calls of {calls}");
    assert!(of_together < 1.2 * of_apart + 1e-4, "{of_together} {of_apart}");
    // An evaluation is another program.
    let (a, b) = (apart.evaluate(&batch).unwrap(), together.evaluate(&batch).unwrap());
    assert!((a - b).abs() < 1e-2 * a.abs(), "{a} {b}");
    (regions, fewer)
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn gradients_are_as_good_as_of_operations_apart() {
    for (dim, heads, key_dim, hidden, activation, dropout) in
        [(32, 2, 16, 64, "gelu", 0.2), (48, 3, 16, 96, "relu", 0.0), (16, 1, 16, 144, "silu", 0.5)]
    {
        as_good_as_apart(&blocks(dim, heads, key_dim, hidden, activation, dropout), 7, Emulated::default);
    }
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn wide_tensors_go_through_in_pieces() {
    // Query, key and value are 384 columns; and blocks with little memory take few rows, or fewer operations.
    let text = blocks(64, 2, 64, 128, "gelu", 0.1);
    let most = as_good_as_apart(&text, 5, Emulated::default);
    let little = Emulated { block_memory: Some(64 << 10), ..Emulated::default() };
    let more = as_good_as_apart(&text, 5, || little);
    let least = Emulated { block_memory: Some(24 << 10), ..Emulated::default() };
    let pieces = as_good_as_apart(&text, 5, || least);
    assert!(most.1 <= more.1 && more.1 < pieces.1, "calls: {most:?} {more:?} {pieces:?}");
}

/// State after some steps, dropout and all.
fn trained<D: Device>(engine: &mut CudaEngine<D>) -> Vec<StateTensor> {
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images: Vec<f32> = (0..labels.len() * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    for (iteration, count) in [7, 3, 7].into_iter().enumerate() {
        let batch = Batch { images: &images[..count * 108], labels: &labels[..count], mixed: None };
        let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
        engine.train_step(&batch, &step).unwrap();
    }
    engine.state().unwrap()
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn the_faster_program_is_taken_and_trying_both_changes_nothing() {
    let text = blocks(32, 2, 16, 64, "gelu", 0.2);
    let states = |regions, fastest| {
        let mut engine = on_device(&text, regions, Emulated { fastest, ..Emulated::default() });
        let state = trained(&mut engine);
        (state, counts(&engine).0 > 0)
    };
    let (together, apart) = (states(Regions::On, 0), states(Regions::Off, 0));
    assert_eq!((together.1, apart.1), (true, false));
    assert_eq!(states(Regions::Auto, 0), together);
    assert_eq!(states(Regions::Auto, 1), apart);
}

/// A device on which regions do nothing is found out before the first step, and an evaluation, too.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn regions_that_compute_something_else_are_refused() {
    let text = blocks(32, 2, 16, 64, "gelu", 0.2);
    let broken = Emulated { broken: Some(super::NAME), ..Emulated::default() };
    let (labels, images) = ([0, 1], [0.5; 216]);
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    let step = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 1e-3 };
    let mut engine = on_device(&text, Regions::Auto, broken);
    let error = engine.train_step(&batch, &step).unwrap_err().to_string();
    assert!(error.starts_with("regions: on this device gradients differ by "), "{error}");
    assert!(error.ends_with("of their norm from those of the operations apart; use --regions off, and report this"));
    let error = engine.evaluate(&batch).unwrap_err().to_string();
    assert!(error.starts_with("regions: on this device logits differ by "), "{error}");
    // Without regions it works.
    on_device(&text, Regions::Off, broken).train_step(&batch, &step).unwrap();
}

/// Bits depend neither on where tensors lie nor on the order in which the lines run.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn every_order_gives_the_same_bits() {
    let text = blocks(32, 2, 16, 64, "gelu", 0.2);
    let of = |order| trained(&mut on_device(&text, Regions::On, Emulated { order, ..Emulated::default() }));
    let expected = of(Order::AsGiven);
    for order in [Order::First(Line::Main), Order::First(Line::Side), Order::Drawn(1), Order::Drawn(2)] {
        assert_eq!(of(order), expected, "{order:?}");
    }
    let mut apart = on_device(&text, Regions::On, Emulated::default());
    apart.planner = |buffers: &[Lifetime]| {
        let forever: Vec<_> = buffers.iter().map(|of| Lifetime { first: 0, last: usize::MAX, ..*of }).collect();
        plan::pack(&forever)
    };
    assert_eq!(trained(&mut apart), expected);
}

/// The kernel of an MLP of the reference model's form, forward and backward, as text.
#[test]
fn the_text_of_a_region() {
    let program = reference_model::program(Precision::Bf16, plan::pack, true);
    let texts: Vec<&str> = program
        .calls
        .iter()
        .filter_map(|call| match &call.work {
            Work::Launch(launch) if launch.entry == ENTRY => Some(launch.source.text),
            _ => None,
        })
        .collect();
    // Dropout is drawn and written down forward (2), and read backward (3): of each block two, and the one after the last norm.
    let how = |how: &str| {
        let launches = program.calls.iter().filter_map(|call| match &call.work {
            Work::Launch(launch) if launch.entry == ENTRY => Some(launch),
            _ => None,
        });
        launches.flat_map(|launch| &launch.defines).filter(|(_, value)| value == how).count()
    };
    assert_eq!((how("1"), how("2"), how("3")), (0, 17, 17));
    // Of eight blocks: what is between two attentions, what is after the last; the same backward, and what is before the first.
    assert_eq!(texts.len(), 7 + 1 + 1 + 7 + 1);
    let different: std::collections::BTreeSet<&str> = texts.iter().copied().collect();
    assert_eq!(different.len(), 5);
    let main = program.calls.iter().filter(|call| call.line == Line::Main).count();
    // Beside: products of kernels, and what adds the blocks' sums.
    assert_eq!((main, program.calls.len()), (49, 162));
    insta::assert_snapshot!("forward", texts[0]);
    insta::assert_snapshot!("backward", texts[9]);
}

/// Convolutions of one tap are products of rows, and batch normalisation, its sums and its gradient are phases, too.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn batch_norms_go_with_the_convolutions_of_one_tap_around_them() {
    let text = "model convolutions {
            conv2d(32, 3, padding = same, use_bias = false) -> batch_norm -> relu
            residual {
                conv2d(96, 1, use_bias = false) -> batch_norm(epsilon = 0.01) -> gelu
                depthwise_conv2d(3, padding = same, use_bias = false) -> batch_norm -> silu
                conv2d(32, 1) -> batch_norm
            }
            relu
            conv2d(48, 1)
            batch_norm
            global_average_pool
            dense(num_classes)
        }";
    for (batch, block_memory) in [(5, None), (3, Some(40 << 10))] {
        let (regions, _) = as_good_as_apart(text, batch, || Emulated { block_memory, ..Emulated::default() });
        assert!(regions >= 6, "{regions}");
    }
}

mod on_a_device {
    //! On the machine's CUDA device: `scripts/cuda_check.sh` runs them.

    use super::*;
    use crate::backend::cuda::driver::Driver;

    fn device() -> Driver {
        Driver::new(0).unwrap()
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn gradients_are_as_good_as_of_operations_apart() {
        for (dim, heads, key_dim, hidden, activation, dropout) in [
            (32, 2, 16, 64, "gelu", 0.2),
            (48, 3, 16, 96, "relu", 0.0),
            (16, 1, 16, 144, "silu", 0.5),
            (64, 2, 64, 128, "gelu", 0.1),
        ] {
            as_good_as_apart(&blocks(dim, heads, key_dim, hidden, activation, dropout), 7, device);
        }
        for (channels, lines) in [(32, images::PAST), (24, images::STRIDES)] {
            as_good_as_apart(&images::network_of(channels, lines), 7, device);
        }
    }

    #[test]
    #[ignore = "needs a CUDA device"]
    fn two_trainings_give_the_same_bits() {
        let text = blocks(32, 2, 16, 64, "gelu", 0.2);
        let of = || trained(&mut on_device(&text, Regions::On, device()));
        assert_eq!(of(), of());
    }
}
