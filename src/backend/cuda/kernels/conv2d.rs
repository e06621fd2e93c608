//! The patches of images as matrices, and convolutions of each channel by itself.

use super::{flat, int, reduce, source, vector};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    graph::ops::Windows,
};

pub const SOURCE: Source = source!("conv2d");

const LANES: usize = 32;

/// Channels of images, and the windows over their height and width, as the kernels take them.
pub fn windows<P>(channels: usize, windows: &[Windows; 2]) -> Vec<Arg<P>> {
    let mut args = vec![Arg::I32(int(channels))];
    for Windows { length, pool, dilation, stride, count, before } in windows {
        args.extend([length, pool, dilation, stride, count, before].map(|number| Arg::I32(int(*number))));
    }
    args
}

fn types(from: Element, to: Element) -> Vec<(&'static str, String)> {
    vec![("FROM", from.name().to_owned()), ("TO", to.name().to_owned())]
}

fn counted<P>(count: usize) -> Vec<Arg<P>> {
    vec![Arg::U32(int(count) as u32)]
}

/// Images whose patches are made into a matrix: channels in all, those of the group from `first` on, and the windows.
#[derive(Debug, Clone, Copy)]
pub struct Patches {
    pub images: usize,
    pub channels: usize,
    pub first: usize,
    pub own: usize,
    pub windows: [Windows; 2],
}

impl Patches {
    fn taps(&self) -> usize {
        self.windows[0].pool * self.windows[1].pool
    }

    /// Elements of the matrix: `[images * windows, taps * own]`.
    pub fn elements(&self) -> usize {
        self.images * self.windows[0].count * self.windows[1].count * self.taps() * self.own
    }

    fn args<P>(&self, count: usize, x: P, y: P) -> Vec<Arg<P>> {
        let mut args = counted(count);
        args.extend(windows(self.channels, &self.windows));
        args.extend([Arg::I32(int(self.first)), Arg::I32(int(self.own)), Arg::Pointer(x), Arg::Pointer(y)]);
        args
    }

    /// The matrix of x.
    pub fn gather<P>(&self, (from, x): (Element, P), (to, out): (Element, P)) -> Launch<P> {
        let most = from.vector().min(to.vector());
        let width = if self.first.is_multiple_of(most) && self.channels.is_multiple_of(most) { self.own } else { 1 };
        let vector = vector(width, most);
        let mut defines = types(from, to);
        defines.push(("VECTOR", vector.to_string()));
        let count = self.elements() / vector;
        flat(SOURCE, "patches", (defines, 1), count, self.args(count, x, out))
    }

    /// The sums of what a matrix has of each element of the group.
    pub fn spread<P>(&self, (from, patches): (Element, P), (to, x): (Element, P)) -> Launch<P> {
        let count = self.images * self.windows[0].length * self.windows[1].length * self.own;
        flat(SOURCE, "spread", (types(from, to), 1), count, self.args(count, patches, x))
    }
}

/// A convolution of each channel of images by itself: kernel `[taps, channels]`, bias `[channels]`.
pub fn depthwise<P>(
    images: usize,
    channels: usize,
    over: &[Windows; 2],
    (from, x): (Element, P),
    kernel: P,
    bias: Option<P>,
    (to, y): (Element, P),
) -> Launch<P> {
    let count = images * over[0].count * over[1].count * channels;
    let mut defines = types(from, to);
    defines.push(("BIAS", u8::from(bias.is_some()).to_string()));
    let mut args = counted(count);
    args.extend(windows(channels, over));
    args.extend([Arg::Pointer(x), Arg::Pointer(kernel), bias.map_or(Arg::Null, Arg::Pointer), Arg::Pointer(y)]);
    flat(SOURCE, "depthwise", (defines, 1), count, args)
}

/// The gradient of its input.
pub fn depthwise_input<P>(
    images: usize,
    channels: usize,
    over: &[Windows; 2],
    (from, dy): (Element, P),
    kernel: P,
    (to, dx): (Element, P),
) -> Launch<P> {
    let count = images * over[0].length * over[1].length * channels;
    let mut args = counted(count);
    args.extend(windows(channels, over));
    args.extend([Arg::Pointer(dy), Arg::Pointer(kernel), Arg::Pointer(dx)]);
    flat(SOURCE, "depthwise_input", (types(from, to), 1), count, args)
}

/// Rows that a block adds: no fewer, or the second stage would have more to do than the first.
const PART: usize = 256;

/// How many parts so many rows are added in, and how many rows each has.
pub fn parts(rows: usize) -> [usize; 2] {
    let part = rows.div_ceil(super::BLOCKS).max(PART);
    [rows.div_ceil(part).max(1), part]
}

/// Floats of workspace for [`depthwise_kernel`].
pub fn depthwise_kernel_workspace(images: usize, channels: usize, over: &[Windows; 2]) -> usize {
    parts(images * over[0].count * over[1].count)[0] * over[0].pool * over[1].pool * channels
}

/// The gradient of its kernel, float32 `[taps, channels]`.
pub fn depthwise_kernel<P: Clone>(
    images: usize,
    channels: usize,
    over: &[Windows; 2],
    (from, x): (Element, P),
    (to, dy): (Element, P),
    workspace: P,
    out: P,
) -> [Launch<P>; 2] {
    let rows = images * over[0].count * over[1].count;
    let ([parts, part], taps) = (parts(rows), over[0].pool * over[1].pool);
    let mut args = vec![Arg::I32(int(rows)), Arg::I32(int(part))];
    args.extend(windows(channels, over));
    args.extend([Arg::Pointer(x), Arg::Pointer(dy), Arg::Pointer(workspace.clone())]);
    let by_parts = Launch {
        source: SOURCE,
        defines: types(from, to),
        entry: "depthwise_kernel",
        grid: [channels.div_ceil(LANES) as u32, taps as u32, parts as u32],
        block: [256, 1, 1],
        shared_bytes: 0,
        args,
    };
    [by_parts, reduce::sum_parts(parts, taps * channels, workspace, out)]
}
