//! The patches of images as matrices.

use super::{flat, int, source, vector};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    graph::ops::Windows,
};

pub const SOURCE: Source = source!("conv2d");

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
