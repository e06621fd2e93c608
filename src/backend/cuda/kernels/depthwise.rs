//! Convolutions of each channel by itself.

use super::{BLOCKS, channels::Channels, conv2d::windows, int, reduce, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    graph::ops::Windows,
};

pub const SOURCE: Source = source!("depthwise");

/// Numbers of a thread's taps: more would not stay in registers.
const HELD: usize = 64;

/// Images of channels, and the windows over their height and width.
#[derive(Debug, Clone, Copy)]
pub struct Depthwise {
    pub images: usize,
    pub channels: usize,
    pub windows: [Windows; 2],
}

impl Depthwise {
    fn taps(&self) -> usize {
        self.windows[0].pool * self.windows[1].pool
    }

    fn cut(&self) -> Channels {
        let most = (HELD / self.taps()).clamp(1, 4);
        Channels::new(self.channels, 1 << most.ilog2())
    }

    fn launch<P>(
        &self,
        entry: &'static str,
        types: [Element; 2],
        flags: impl IntoIterator<Item = &'static str>,
        parts: usize,
        tensors: Vec<Arg<P>>,
    ) -> Launch<P> {
        let cut = self.cut();
        let mut defines: Vec<_> =
            ["FROM", "TO"].into_iter().zip(types.map(|element| element.name().to_owned())).collect();
        defines.extend(cut.defines());
        let [down, across] = self.windows;
        for (name, number) in [
            ("POOL_ROWS", down.pool),
            ("POOL_COLUMNS", across.pool),
            ("STRIDE_ROWS", down.stride),
            ("STRIDE_COLUMNS", across.stride),
        ] {
            defines.push((name, number.to_string()));
        }
        defines.extend(flags.into_iter().map(|flag| (flag, "1".to_owned())));
        let mut args = vec![Arg::I32(int(self.images))];
        args.extend(windows(self.channels, &self.windows));
        args.extend(tensors);
        Launch { source: SOURCE, defines, entry, grid: cut.grid(parts), block: [256, 1, 1], shared_bytes: 0, args }
    }

    /// Whether windows without gaps are one place apart, and no row or column of windows lies beside the input altogether.
    fn slides(&self) -> bool {
        self.windows.iter().all(|along| along.stride == 1 && along.dilation == 1 && along.before < along.pool)
    }

    /// Blocks that share the images, or the lines of the result.
    fn blocks(&self, waves: usize) -> usize {
        let cut = self.cut();
        let lines = (self.images * self.windows[0].count).div_ceil(256 / cut.lanes);
        let most = (waves * BLOCKS).div_ceil(cut.tiles);
        if self.slides() { lines } else { self.images }.clamp(1, most)
    }

    /// Windows over the result, of which each makes an element of the input's gradient, with mirrored taps.
    fn mirrored(&self) -> Self {
        let windows = self.windows.map(|along| Windows {
            length: along.count,
            count: along.length,
            before: along.pool - 1 - along.before,
            ..along
        });
        Self { windows, ..*self }
    }

    /// Kernel `[taps, channels]`, bias `[channels]`.
    pub fn forward<P>(&self, (from, x): (Element, P), kernel: P, bias: Option<P>, (to, y): (Element, P)) -> Launch<P> {
        let flag = bias.is_some().then_some("BIAS");
        let [x, kernel, y] = [x, kernel, y].map(Arg::Pointer);
        let bias = bias.map_or(Arg::Null, Arg::Pointer);
        if self.slides() {
            return self.launch("slide", [from, to], flag, self.blocks(8), vec![x, kernel, bias, Arg::Null, y]);
        }
        self.launch("forward", [from, to], flag, self.blocks(8), vec![x, kernel, bias, y])
    }

    /// The gradient of its input, to which a tensor of the same type is added.
    pub fn input_gradient<P>(
        &self,
        (from, dy): (Element, P),
        kernel: P,
        added: Option<P>,
        (to, dx): (Element, P),
    ) -> Launch<P> {
        let flag = added.is_some().then_some("ADDED");
        let [dy, kernel, dx] = [dy, kernel, dx].map(Arg::Pointer);
        let added = added.map_or(Arg::Null, Arg::Pointer);
        if self.slides() {
            let flags = flag.into_iter().chain(["MIRRORED"]);
            let (mirrored, tensors) = (self.mirrored(), vec![dy, kernel, Arg::Null, added, dx]);
            return mirrored.launch("slide", [from, to], flags, mirrored.blocks(8), tensors);
        }
        self.launch("input_gradient", [from, to], flag, self.blocks(8), vec![dy, kernel, added, dx])
    }

    /// Floats of workspace for [`Self::kernel_gradient`].
    pub fn workspace(&self) -> usize {
        self.blocks(3) * self.taps() * self.channels
    }

    /// The gradient of its kernel, float32 `[taps, channels]`.
    pub fn kernel_gradient<P: Clone>(
        &self,
        (from, x): (Element, P),
        (to, dy): (Element, P),
        workspace: P,
        out: P,
    ) -> [Launch<P>; 2] {
        let parts = self.blocks(3);
        let tensors = vec![Arg::Pointer(x), Arg::Pointer(dy), Arg::Pointer(workspace.clone())];
        let entry = if self.slides() { "slide_kernel_gradient" } else { "kernel_gradient" };
        let by_parts = self.launch(entry, [from, to], None, parts, tensors);
        [by_parts, reduce::sum_parts(parts, self.taps() * self.channels, workspace, out)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::{
            cpu::kernels::isa::tests::noise,
            cuda::{
                emulator::{Memory, run_all},
                kernels::tests::{ELEMENTS, assert_near},
            },
        },
        graph::ops::Conv2d,
    };

    /// Every tap of every window: `visit(input, output, tap)` by places of one channel.
    fn each(shape: &Depthwise, mut visit: impl FnMut(usize, usize, usize)) {
        let [down, across] = shape.windows;
        for image in 0..shape.images {
            for (window, beside) in (0..down.count).flat_map(|row| (0..across.count).map(move |column| (row, column))) {
                for (r, c) in (0..down.pool).flat_map(|r| (0..across.pool).map(move |c| (r, c))) {
                    let row = (window * down.stride + r * down.dilation).wrapping_sub(down.before);
                    let column = (beside * across.stride + c * across.dilation).wrapping_sub(across.before);
                    if row < down.length && column < across.length {
                        let output = (image * down.count + window) * across.count + beside;
                        visit((image * down.length + row) * across.length + column, output, r * across.pool + c);
                    }
                }
            }
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn every_direction_on_odd_shapes() {
        // Height, width, channels; kernel, strides, dilation, padding.
        for ([height, width, channels], pool, strides, dilation, padding) in [
            ([5, 7, 8], [3, 3], [1, 1], [1, 1], [[1, 1]; 2]),
            ([6, 5, 12], [3, 2], [2, 1], [1, 1], [[0, 1]; 2]),
            ([7, 4, 3], [2, 3], [1, 2], [2, 1], [[1, 1]; 2]),
            ([8, 8, 2], [7, 7], [1, 1], [1, 1], [[3, 3]; 2]),
            ([4, 3, 136], [5, 5], [2, 2], [1, 1], [[2, 2]; 2]),
        ] {
            let conv = Conv2d { strides, padding, dilation, groups: channels };
            let shape = Depthwise { images: 3, channels, windows: conv.windows([height, width], pool) };
            let [inputs, outputs] = [height * width, shape.windows[0].count * shape.windows[1].count].map(|n| n * 3);
            for element in ELEMENTS {
                let tensor = |seed, rows: usize| Memory::of_floats(&noise(seed, rows * channels), element);
                let exact = |seed, rows: usize| Memory::of_floats(&noise(seed, rows * channels), Element::F32);
                let (x, dy, other) = (tensor(1, inputs), tensor(2, outputs), tensor(3, inputs));
                let (kernel, bias) = (exact(4, shape.taps()), exact(5, 1));
                let [y, dx, sum] = [outputs, inputs, inputs].map(|rows| Memory::empty(rows * channels, element));
                let workspace = Memory::empty(shape.workspace(), Element::F32);
                let dk = Memory::empty(shape.taps() * channels, Element::F32);
                run_all([
                    shape.forward((element, x.at()), kernel.at(), Some(bias.at()), (element, y.at())),
                    shape.input_gradient((element, dy.at()), kernel.at(), None, (element, dx.at())),
                    shape.input_gradient((element, dy.at()), kernel.at(), Some(other.at()), (element, sum.at())),
                ]);
                run_all(shape.kernel_gradient((element, x.at()), (element, dy.at()), workspace.at(), dk.at()));
                let of = |memory: &Memory, element| -> Vec<f64> {
                    memory.floats(element).into_iter().map(f64::from).collect()
                };
                let [x, dy, other] = [&x, &dy, &other].map(|memory| of(memory, element));
                let [kernel, bias] = [&kernel, &bias].map(|memory| of(memory, Element::F32));
                let mut expected = [
                    bias.repeat(outputs),
                    vec![0.0; inputs * channels],
                    other.clone(),
                    vec![0.0; shape.taps() * channels],
                ];
                each(&shape, |input, output, tap| {
                    for c in 0..channels {
                        let [i, o, t] = [input, output, tap].map(|row| row * channels + c);
                        expected[0][o] += x[i] * kernel[t];
                        expected[1][i] += dy[o] * kernel[t];
                        expected[2][i] += dy[o] * kernel[t];
                        expected[3][t] += x[i] * dy[o];
                    }
                });
                let tolerance = if element == Element::F32 { 1e-5 } else { 1e-2 };
                let results = [(&y, element), (&dx, element), (&sum, element), (&dk, Element::F32)];
                for ((result, element), expected) in results.into_iter().zip(&expected) {
                    let what = format!("{element:?} {height}x{width}x{channels} by {pool:?}");
                    assert_near(&result.floats(element), expected, tolerance, &what);
                }
            }
        }
    }
}
