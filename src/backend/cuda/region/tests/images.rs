//! Regions around convolutions of each channel by itself.

use super::*;
use crate::backend::cuda::program::Program;

/// Batch norms and activations around convolutions of each channel by itself: these lines of a network, after a first convolution
/// of so many channels.
pub fn network_of(channels: usize, lines: &str) -> String {
    format!(
        "model depthwise {{
            conv2d({channels}, 3, padding = same)
            {lines}
            global_average_pool
            dense(num_classes)
        }}"
    )
}

/// The texts of a program's regions whose tiles are slices of images, and what their operations are.
fn slices(program: &Program) -> Vec<(&'static str, &str)> {
    let text = |work: &Work<_>| match work {
        Work::Launch(launch) if launch.entry == ENTRY => Some(launch.source.text),
        _ => None,
    };
    let calls = program.calls.iter().filter_map(|call| Some((text(&call.work)?, call.name.as_str())));
    calls.filter(|(text, _)| text.contains("region_images.cuh")).collect()
}

/// As DHVT's feed-forward part: the convolution's input goes past it.
pub const PAST: &str = "batch_norm -> gelu residual { depthwise_conv2d(3, padding = same) -> batch_norm -> gelu }";

/// As MobileNet's: every other window.
pub const STRIDES: &str = "batch_norm -> relu6
    depthwise_conv2d(3, strides = 2, padding = same, use_bias = false) -> batch_norm -> relu6
    depthwise_conv2d(2, padding = valid) -> batch_norm -> silu";

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn gradients_around_depthwise_convolutions_are_as_good_as_of_operations_apart() {
    for (channels, batch, lines) in [
        (32, 5, PAST),
        // As ConvMixer's.
        (48, 3, "relu batch_norm residual { depthwise_conv2d(5, padding = same, activation = gelu) -> batch_norm }"),
        (24, 7, STRIDES),
        (8, 4, "batch_norm depthwise_conv2d(3, dilation = 2, padding = valid) -> relu -> batch_norm"),
        (136, 2, "batch_norm depthwise_conv2d(7, padding = same) -> batch_norm"),
    ] {
        let text = network_of(channels, lines);
        as_good_as_apart(&text, batch, Emulated::default);
        let little = Emulated { block_memory: Some(24 << 10), ..Emulated::default() };
        as_good_as_apart(&text, batch, || little);
    }
}

/// Of many small images a tile has several, the last tile fewer of them, and a block goes through several tiles.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn gradients_of_many_small_images_are_as_good_as_of_operations_apart() {
    let text = "model small {
            conv2d(16, 3, strides = 3)
            batch_norm -> gelu
            residual { depthwise_conv2d(3) -> batch_norm -> relu }
            global_average_pool
            dense(num_classes)
        }";
    let count = 601;
    as_good_as_apart(text, count, Emulated::default);
    let (images, labels) = (vec![0.5; count * 108], vec![1; count]);
    let mut engine = on_device(text, Regions::On, Emulated::default());
    engine.inspect().gradients(&Batch { images: &images, labels: &labels, mixed: None }).unwrap();
    let program = engine.programs.into_values().next().unwrap();
    let grid = |work: &Work<_>| match work {
        Work::Launch(launch) if launch.entry == ENTRY && launch.source.text.contains("min(4, images - image)") => {
            Some(launch.grid)
        }
        _ => None,
    };
    // 151 tiles, two for each of 76 blocks but the last.
    let grids: Vec<[u32; 3]> = program.calls.iter().filter_map(|call| grid(&call.work)).collect();
    assert_eq!(grids, [[76, 1, 1]; 2]);
}

/// What treats every channel alone is one kernel forward and one backward, up to what has to know the whole batch; where shared memory has
/// little room, fewer operations are, or none.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn regions_reach_from_one_sum_over_the_batch_to_the_next() {
    let of = |block_memory| {
        let device = Emulated { block_memory, ..Emulated::default() };
        let mut engine = on_device(&network_of(32, PAST), Regions::On, device);
        trained(&mut engine);
        let program = engine.programs.into_values().next().unwrap();
        slices(&program).into_iter().map(|(_, name)| name.to_owned()).collect::<Vec<String>>()
    };
    let forward = "batch_norm+gelu+conv2d+batch_moments";
    let backward = "gelu_gradient+batch_norm_gradient+sum_leading+batch_norm+gelu+conv2d_kernel_gradient+conv2d_input_gradient+add+\
        gelu_gradient+batch_norm_sums";
    assert_eq!(of(None), [forward, backward]);
    // With no room for the parts of sums.
    assert_eq!(
        of(Some(4 << 10)),
        ["batch_norm+gelu+conv2d", "gelu_gradient+batch_norm_gradient+conv2d_input_gradient+add"]
    );
    assert_eq!(of(Some(1 << 10)), [""; 0]);
}

/// What a convolution takes is made again in the backward pass, where batch norm's sums read what it is made of; if nothing else
/// reads it, it is never in memory.
#[test]
fn what_a_convolution_takes_is_made_again() {
    let stored = |lines: &str| {
        let source = Source::new("network", network_of(32, lines));
        let program = reference_model::program_of(&source, 128, Precision::Bf16, plan::pack, true);
        let regions = slices(&program);
        let forward = regions[0].0.matches("store_tile<").count();
        assert!(regions.last().unwrap().0.contains("batch_norm<"), "{regions:?}");
        forward
    };
    assert_eq!(stored("batch_norm -> relu6 depthwise_conv2d(3, use_bias = false) -> batch_norm"), 1);
    // A sum reads it, too.
    assert_eq!(stored(PAST), 2);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn every_order_gives_the_same_bits_around_depthwise_convolutions() {
    for (channels, lines) in [(32, PAST), (24, STRIDES)] {
        let text = network_of(channels, lines);
        let of = |order| trained(&mut on_device(&text, Regions::On, Emulated { order, ..Emulated::default() }));
        let expected = of(Order::AsGiven);
        for order in [Order::First(Line::Main), Order::First(Line::Side), Order::Drawn(1)] {
            assert_eq!(of(order), expected, "{order:?}");
        }
    }
}

/// The regions of the zoo's DHVT, forward and backward, as text.
#[test]
fn the_text_of_a_region_of_slices() {
    let source = Source::new("hybrid.vitx", include_str!("../../../../../experiments/zoo/hybrid.vitx"));
    let program = reference_model::program_of(&source, 128, Precision::Bf16, plan::pack, true);
    let regions = slices(&program);
    // Of twelve blocks, each as those of the others.
    assert_eq!(regions.len(), 24);
    assert!(regions[..12].iter().all(|region| region.0 == regions[0].0), "{regions:?}");
    insta::assert_snapshot!("slices_forward", regions[0].0);
    insta::assert_snapshot!("slices_backward", regions[13].0);
}
