//! Convolutions and their gradients as by their definition, and how their work is cut.

mod speeds;

use super::*;
use crate::{
    backend::{
        cpu::kernels::isa::tests::noise,
        cuda::{
            emulator::{self, Memory, run_all},
            kernels::tests::assert_near,
            launch::Element,
        },
    },
    graph::ops::Conv2d,
};

/// A convolution of images.
#[derive(Debug, Clone, Copy)]
struct Case {
    images: usize,
    size: [usize; 2],
    channels: usize,
    filters: usize,
    kernel: [usize; 2],
    conv: Conv2d,
}

const PLAIN: Conv2d = Conv2d { strides: [1, 1], padding: [[1, 1]; 2], dilation: [1, 1], groups: 1 };

impl Case {
    fn new(images: usize, size: [usize; 2], [channels, filters]: [usize; 2]) -> Self {
        Self { images, size, channels, filters, kernel: [3, 3], conv: PLAIN }
    }

    fn windows(&self) -> [Windows; 2] {
        self.conv.windows(self.size, self.kernel)
    }

    fn of(&self) -> Conv {
        let Self { images, channels, filters, kernel, .. } = *self;
        let (windows, taps) = (self.windows(), kernel[0] * kernel[1]);
        Conv::new(&ConvShape { images, channels, windows, taps, own: channels, filters, groups: 1 }).unwrap()
    }

    /// Calls `meet(pixel, window, tap)` for all that meet.
    fn each(&self, mut meet: impl FnMut(usize, usize, usize)) {
        let [down, across] = self.windows();
        let place = |windows: &Windows, window: usize, tap: usize| {
            (window * windows.stride + tap * windows.dilation)
                .checked_sub(windows.before)
                .filter(|&place| place < windows.length)
        };
        for image in 0..self.images {
            for (i, j) in (0..down.count).flat_map(|i| (0..across.count).map(move |j| (i, j))) {
                for (a, b) in (0..down.pool).flat_map(|a| (0..across.pool).map(move |b| (a, b))) {
                    let (Some(y), Some(x)) = (place(&down, i, a), place(&across, j, b)) else { continue };
                    let pixel = (image * down.length + y) * across.length + x;
                    meet(pixel, (image * down.count + i) * across.count + j, a * across.pool + b);
                }
            }
        }
    }
}

/// The result and both gradients against their definition.
#[track_caller]
fn check(case: Case) {
    let Case { images, size, channels, filters, kernel, .. } = case;
    let [down, across] = case.windows();
    let (pixels, windows) = (images * size[0] * size[1], images * down.count * across.count);
    let (taps, element) = (kernel[0] * kernel[1], Element::Bf16);
    let [x, other] = [1, 2].map(|seed| Memory::of_floats(&noise(seed, pixels * channels), element));
    let dy = Memory::of_floats(&noise(3, windows * filters), element);
    let weights = Memory::of_floats(&noise(4, taps * channels * filters), element);
    let bias = noise(5, filters);
    let [xs, others, dys, ks] = [&x, &other, &dy, &weights].map(|memory| memory.floats(element));

    let mut y: Vec<f64> = (0..windows * filters).map(|index| f64::from(bias[index % filters])).collect();
    let mut dx: Vec<f64> = others.iter().map(|&value| f64::from(value)).collect();
    let mut dk = vec![0.0_f64; taps * channels * filters];
    case.each(|pixel, window, tap| {
        for c in 0..channels {
            let value = f64::from(xs[pixel * channels + c]);
            let row = (tap * channels + c) * filters;
            let mut sum = 0.0;
            for f in 0..filters {
                let (k, gradient) = (f64::from(ks[row + f]), f64::from(dys[window * filters + f]));
                y[window * filters + f] += value * k;
                dk[row + f] += value * gradient;
                sum += k * gradient;
            }
            dx[pixel * channels + c] += sum;
        }
    });

    let conv = case.of();
    let bias = Memory::of(&bias);
    let out = Memory::empty(windows * filters, element);
    run_all(conv.forward(x.at(), weights.at(), Some(bias.at()), out.at()));
    assert_near(&out.floats(element), &y, 1e-2, &format!("{case:?}"));

    let of_input = Memory::empty(pixels * channels, element);
    let launches = conv.input_gradient(&dy.at(), &weights.at(), Some(&other.at()), &of_input.at());
    assert_eq!(launches.is_some(), channels.is_multiple_of(8));
    if let Some(launches) = launches {
        run_all(launches);
        assert_near(&of_input.floats(element), &dx, 1e-2, &format!("{case:?}: gradient of the input"));
    }

    let workspace = Memory::empty(conv.kernel_gradient_workspace(), Element::F32);
    let of_kernel = Memory::empty(dk.len(), Element::F32);
    let launches = conv.kernel_gradient(x.at(), dy.at(), workspace.at(), of_kernel.at());
    run_all(launches.expect("a gradient of the kernel"));
    assert_near(&of_kernel.floats(Element::F32), &dk, 1e-4, &format!("{case:?}: gradient of the kernel"));
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn few_channels_of_odd_images() {
    check(Case::new(5, [7, 5], [8, 8]));
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn channels_that_are_no_vectors() {
    check(Case::new(2, [16, 16], [3, 64]));
    check(Case { kernel: [2, 3], ..Case::new(3, [7, 5], [21, 24]) });
}

/// Ways to cut the convolutions of a ResNet, as chosen.
#[test]
fn cuts() {
    let strided = Conv2d { strides: [2, 2], ..PLAIN };
    let of = |case: Case| {
        let conv = case.of();
        let (tile, cut) = (conv.product().tile().unwrap(), conv.cut().unwrap());
        let (warps, halos) = (tile.warps, tile.halos);
        ([warps[0], warps[1], tile.chunk, tile.stages, halos, tile.blocks], [cut.chunk, cut.span, cut.tiles, cut.parts])
    };
    let plain = |size: usize, width: usize| of(Case::new(1024, [size; 2], [width; 2]));
    assert_eq!(plain(32, 64), ([4, 2, 64, 3, 1, 2], [64, 64, 1, 132]));
    assert_eq!(plain(16, 128), ([2, 4, 64, 3, 2, 2], [64, 64, 4, 33]));
    assert_eq!(plain(8, 256), ([2, 4, 64, 3, 2, 2], [64, 64, 16, 8]));
    let down = |size: usize, width: usize| of(Case { conv: strided, ..Case::new(1024, [size; 2], [width, 2 * width]) });
    assert_eq!(down(32, 64).0, [2, 4, 64, 4, 1, 1]);
    assert_eq!(down(16, 128).0, [2, 4, 64, 3, 2, 1]);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn more_channels_than_a_chunk() {
    check(Case::new(3, [7, 5], [72, 24]));
    // Rows of eight windows, whose pixels lie in different banks of shared memory.
    emulator::matrices_read();
    check(Case::new(2, [8, 8], [64, 64]));
    assert_eq!(emulator::matrices_read().conflicts, 0);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn more_filters_than_a_tile() {
    check(Case::new(2, [7, 5], [24, 136]));
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn strides() {
    let conv = Conv2d { strides: [2, 2], ..PLAIN };
    check(Case { conv, ..Case::new(6, [7, 5], [40, 72]) });
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn odd_kernels() {
    let conv = Conv2d { strides: [2, 1], padding: [[0, 1], [3, 2]], dilation: [1, 2], groups: 1 };
    check(Case { kernel: [2, 3], conv, ..Case::new(3, [8, 9], [16, 8]) });
    // Without padding, and more taps than a block takes.
    check(Case { kernel: [5, 3], conv: Conv2d { padding: [[0; 2]; 2], ..PLAIN }, ..Case::new(3, [7, 6], [8, 16]) });
}
