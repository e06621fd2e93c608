//! Attention whose heads are as wide as the model, so that projections are multiplied with each other first.

use std::collections::BTreeMap;

use super::{Device, Emulated, distance, on_cpu, options};
use crate::{
    backend::{
        Batch, Engine, EngineOptions, Regions, StateTensor, Step,
        cuda::{
            CudaEngine,
            emulated::Order,
            launch::Precision,
            program::{Call, Line, Place, Work},
        },
    },
    dsl::Source,
    model::{Architecture, ImageSpec, elaborate},
};

const LABELS: [u32; 7] = [0, 4, 2, 2, 1, 3, 0];

/// Two blocks of two heads; with 42 tokens of a batch of 7 their projections are multiplied, with 6 of one image they are not.
const BLOCKS: &str = "patches(3)
    patch_encoder(16)
    repeat transformer_block(2, key_dim = 16, units = [32, 16], dropout = 0.2) ×2
    layer_norm
    flatten
    dense(num_classes)";

/// With one head a block for an image is as good as one for a head, so projections are in attention's kernel.
const ONE_HEAD: &str = "patches(3)
    patch_encoder(16)
    repeat transformer_block(1, key_dim = 16, units = [32, 16], dropout = 0.2) ×2
    layer_norm
    flatten
    dense(num_classes)";

fn network(layers: &str) -> Architecture {
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    elaborate(&Source::new("heads", format!("model heads {{ {layers} }}")), &BTreeMap::new(), &spec).unwrap()
}

fn on(precision: Precision, regions: Regions, device: Emulated) -> CudaEngine<Emulated> {
    of(BLOCKS, precision, regions, device)
}

fn of<D: Device>(layers: &str, precision: Precision, regions: Regions, device: D) -> CudaEngine<D> {
    let architecture = network(layers);
    let lowering = Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch));
    CudaEngine::new(lowering, EngineOptions { regions, ..options(precision) }, device).unwrap()
}

fn images() -> Vec<f32> {
    (0..LABELS.len() * 108).map(|index| (index as f32 * 0.37).sin()).collect()
}

fn gradients(engine: &mut dyn Engine) -> Vec<StateTensor> {
    engine.inspect().gradients(&Batch { images: &images(), labels: &LABELS, mixed: None }).unwrap()
}

/// The state after steps of seven images, of one, and of seven.
fn trained(engine: &mut dyn Engine) -> Vec<StateTensor> {
    let images = images();
    for (iteration, count) in [7, 1, 7].into_iter().enumerate() {
        let batch = Batch { images: &images[..count * 108], labels: &LABELS[..count], mixed: None };
        let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
        engine.train_step(&batch, &step).unwrap();
    }
    engine.state().unwrap()
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn steps_and_gradients_are_those_of_the_cpu_backend() {
    // Blocks; keys that something else than a projection has made; tokens of images; keys alone, of other tokens; no biases, and an
    // output that is read twice; weights of two places.
    for layers in [
        BLOCKS,
        "patches(3) -> patch_encoder(16) -> dropout(0.1) -> attention(2, key_dim = 16) -> flatten -> dense(num_classes)",
        "patches(3) -> patch_encoder(16) -> gelu -> attention(2, key_dim = 16, dropout = 0.1) -> flatten -> dense(num_classes)",
        "patches(3) -> attention(2, key_dim = 18) -> flatten -> dense(num_classes)",
        "patches(3) -> patch_encoder(16)
            let image = layer_norm
            cross_attention(slice(image, 0, 2, axis = 0), gelu(image), num_heads = 2, key_dim = 8)
            flatten -> dense(num_classes)",
        "patches(3) -> patch_encoder(16)
            let y = attention(2, key_dim = 16, use_bias = false)
            y * gelu(y)
            flatten -> dense(num_classes)",
        "patches(3) -> patch_encoder(16)
            let mix = shared attention(2, key_dim = 16)
            mix -> gelu
            mix -> flatten -> dense(num_classes)",
    ] {
        of_the_cpu_backend(layers, Regions::Off, Emulated::watched());
    }
    // Projections in the kernel: of blocks; without biases, and an output that is read twice; of tokens that are images, which have no
    // gradient; where queries are read once more, so that they stay; without a bias of the output's.
    for layers in [
        ONE_HEAD,
        "patches(3) -> patch_encoder(16)
            let y = attention(1, key_dim = 16, use_bias = false)
            y * gelu(y)
            flatten -> dense(num_classes)",
        "patches(3) -> attention(1, key_dim = 18) -> flatten -> dense(num_classes)",
        "patches(3) -> patch_encoder(16)
            let mix = shared attention(1, key_dim = 16, dropout = 0.1)
            mix -> gelu
            mix -> flatten -> dense(num_classes)",
    ] {
        of_the_cpu_backend(layers, Regions::On, Emulated::watched());
    }
}

/// Regions of rows, attention with and without its projections, on all lines; and one device comes to the same bits twice.
pub(super) fn regions_train_as_the_cpu_backend_does<D: Device>(device: impl Fn() -> D) {
    for layers in [BLOCKS, ONE_HEAD] {
        of_the_cpu_backend(layers, Regions::On, device());
        let twice = [(); 2].map(|()| trained(&mut of(layers, Precision::Bf16, Regions::On, device())));
        assert_eq!(twice[0], twice[1]);
    }
}

fn of_the_cpu_backend<D: Device>(layers: &str, regions: Regions, device: D) {
    let mut cpu = on_cpu(network(layers));
    let mut cuda = of(layers, Precision::F32, regions, device);
    for (ours, theirs) in gradients(&mut cuda).iter().zip(gradients(cpu.as_mut())) {
        assert_eq!(ours.name, theirs.name);
        assert!(distance(&ours.data, &theirs.data) < 2e-3, "gradient of {} in {layers}", ours.name);
    }
    // Adam makes steps of what is rounding in small gradients: of the others gradients do.
    if layers != BLOCKS && layers != ONE_HEAD {
        return;
    }
    for (ours, theirs) in trained(&mut cuda).iter().zip(trained(cpu.as_mut())) {
        // In a step of one image the gradients of keys' biases are rounding alone.
        assert!(ours.name.ends_with("key/bias") || distance(&ours.data, &theirs.data) < 1e-3, "{}", ours.name);
    }
}

/// With heads as wide as the model a bias of keys has no effect.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn keys_biases_have_no_gradient() {
    for gradient in gradients(&mut on(Precision::F32, Regions::Off, Emulated::default())) {
        let none = gradient.data.iter().all(|&value| value == 0.0);
        assert_eq!(gradient.name.ends_with("key/bias"), none, "{}", gradient.name);
    }
}

/// In bfloat16 kernels that are products are rounded once; what is left of the distance is that of all else.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn gradients_are_near_in_bfloat16() {
    for (layers, regions) in [(BLOCKS, Regions::Off), (BLOCKS, Regions::On), (ONE_HEAD, Regions::On)] {
        let of = |precision, regions| gradients(&mut of(layers, precision, regions, Emulated::watched()));
        let (exact, ours) = (of(Precision::F32, Regions::Off), of(Precision::Bf16, regions));
        for (ours, exact) in ours.iter().zip(&exact).filter(|(ours, _)| !ours.name.ends_with("key/bias")) {
            assert!(distance(&ours.data, &exact.data) < 0.06, "{regions:?}: gradient of {}", ours.name);
        }
    }
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn every_order_that_the_lines_allow_gives_the_same_bits() {
    for (layers, regions) in [(BLOCKS, Regions::Off), (BLOCKS, Regions::On), (ONE_HEAD, Regions::On)] {
        let expected = trained(&mut of(layers, Precision::Bf16, regions, Emulated::default()));
        for order in [
            Order::First(Line::Main),
            Order::First(Line::Side),
            Order::First(Line::Fill),
            Order::Drawn(1),
            Order::Drawn(2),
        ] {
            for wide in [None, Some(64)] {
                let device = Emulated { order, wide, ..Emulated::default() };
                assert_eq!(
                    trained(&mut of(layers, Precision::Bf16, regions, device)),
                    expected,
                    "{regions:?} {order:?} {wide:?}"
                );
            }
        }
    }
}

/// A layer's attention is one launch forward and one backward, and no tensor of queries, values or heads' outputs is there.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn projections_are_in_the_kernel_of_one_head() {
    let mut engine = of(ONE_HEAD, Precision::Bf16, Regions::On, Emulated::default());
    trained(&mut engine);
    for program in engine.programs.values() {
        let names = |entry: &str| -> Vec<&str> {
            let is = |work: &Work<Place>| matches!(work, Work::Launch(launch) if launch.entry == entry && launch.source.name.starts_with("attention"));
            program.calls.iter().filter(|call| is(&call.work)).map(|call| call.name.as_str()).collect()
        };
        // A step of one image multiplies no kernels.
        if program.batch > 1 {
            assert_eq!(names("forward"), ["dense+dense+attention+add"; 2]);
            assert_eq!(names("backward"), ["attention_gradient"; 2]);
        } else {
            assert_eq!(names("forward"), ["attention"; 2]);
        }
    }
}

fn has(call: &Call<Place>, define: &str) -> bool {
    matches!(&call.work, Work::Launch(launch) if launch.defines.iter().any(|(name, value)| *name == define && value == "0"))
}

/// Kernels are multiplied where nothing waits for it: forward from the beginning of the step on, each before the masks of its attention,
/// and backward beside.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn products_of_kernels_are_off_the_critical_path() {
    let mut engine = on(Precision::Bf16, Regions::On, Emulated::default());
    engine
        .train_step(
            &Batch { images: &images(), labels: &LABELS, mixed: None },
            &Step { epoch: 0, step: 0, iteration: 0, learning_rate: 1e-3 },
        )
        .unwrap();
    let calls = &engine.programs.values().next().unwrap().calls;
    assert_eq!(calls.iter().filter(|call| has(call, "KEY_STEP")).count(), 4);
    assert_eq!(calls.iter().filter(|call| has(call, "DOUT_STEP")).count(), 2);
    let products = |line: Line| calls.iter().filter(|call| call.name == "head_product" && call.line == line).count();
    // Of each block a kernel and a bias, of keys and of values; and backward for both factors, whose gradients by way of a kernel
    // and of its bias are one product.
    assert_eq!((products(Line::Fill), products(Line::Side), products(Line::Main)), (8, 12, 0));
    let ahead: Vec<&str> =
        calls.iter().filter(|call| call.line == Line::Fill).map(|call| call.name.as_str()).take(10).collect();
    let block = ["head_product", "head_product", "head_product", "head_product", "attention_masks"];
    assert_eq!(ahead, [block, block].concat());
}
