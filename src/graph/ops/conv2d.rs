use std::any::Any;

use super::{
    SumLeading, flops, viewed,
    windows::{Windows, add_to, inside, nth, offsets, padded, sides, spread},
};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Attribute, Dim, Tensor, Writer},
};

/// A convolution (`keras.layers.Conv2D` without its activation): x `[batch, height, width, channels]`, kernel
/// `[kernel height, kernel width, channels / groups, filters]`, perhaps a bias `[filters]`; y `[batch, rows, columns,
/// filters]`:
/// `y[i, j, f] = bias[f] + sum over a, b, c of x[i stride + a dilation - before, j stride + b dilation - before, c] kernel[a, b, c, f]`,
/// where c runs over the channels of f's group. A depthwise convolution has as many groups as channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Pixels from window to window, along height and width.
    pub strides: [usize; 2],
    /// Zeros before and after the rows, and the columns, of the image.
    pub padding: [[usize; 2]; 2],
    /// Pixels from tap to tap, along height and width.
    pub dilation: [usize; 2],
    /// Into how many channels and filters are split; 1 for all to all.
    pub groups: usize,
}

impl Conv2d {
    /// The windows of a kernel over an image, each given as height and width.
    pub(crate) fn windows(&self, image: [usize; 2], kernel: [usize; 2]) -> [Windows; 2] {
        [0, 1].map(|axis| {
            let (stride, dilation) = (self.strides[axis], self.dilation[axis]);
            Windows::padded_by(image[axis], kernel[axis], stride, dilation, self.padding[axis])
        })
    }

    fn described(&self) -> Vec<(&'static str, String)> {
        let mut attributes =
            vec![("strides", format!("{:?}", self.strides)), ("padding", format!("{:?}", self.padding))];
        if self.dilation != [1; 2] {
            attributes.push(("dilation", format!("{:?}", self.dilation)));
        }
        if self.groups != 1 {
            attributes.push(("groups", self.groups.to_string()));
        }
        attributes
    }
}

/// A convolution, or a gradient of one, where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvShape {
    pub images: usize,
    pub channels: usize,
    pub windows: [Windows; 2],
    /// Places of the kernel.
    pub taps: usize,
    /// Channels and filters of a group.
    pub own: usize,
    pub filters: usize,
    pub groups: usize,
}

impl ConvShape {
    fn new(conv: &Conv2d, image: &[usize], kernel: [usize; 4]) -> Self {
        let [down, across, own, filters] = kernel;
        let (windows, groups) = (conv.windows(size(image), [down, across]), conv.groups);
        let (images, channels) = (image[0], image[3]);
        Self { images, channels, windows, taps: down * across, own, filters: filters / groups, groups }
    }

    /// Whether each channel makes one channel.
    pub fn is_depthwise(&self) -> bool {
        self.own == 1 && self.filters == 1 && self.groups > 1
    }

    /// Elements of a patch, of one group.
    pub fn depth(&self) -> usize {
        self.taps * self.own
    }

    /// Filters of all groups.
    pub fn all_filters(&self) -> usize {
        self.filters * self.groups
    }
}

impl Conv2d {
    /// On these inputs.
    pub(crate) fn shape(&self, inputs: &[&[usize]]) -> ConvShape {
        ConvShape::new(self, inputs[0], lengths(inputs[1]))
    }
}

impl Conv2dInputGradient {
    /// Of the convolution.
    pub(crate) fn shape(&self, inputs: &[&[usize]]) -> ConvShape {
        ConvShape::new(&self.conv, &self.output_shapes(inputs)[0], lengths(inputs[1]))
    }
}

impl Conv2dKernelGradient {
    /// Of the convolution.
    pub(crate) fn shape(&self, inputs: &[&[usize]]) -> ConvShape {
        ConvShape::new(&self.conv, inputs[0], lengths(&self.output_shapes(inputs)[0]))
    }
}

/// Height and width of a batch of images.
fn size(shape: &[usize]) -> [usize; 2] {
    let &[_, height, width, _] = shape else { panic!("conv2d: {shape:?} is no batch of images") };
    [height, width]
}

/// The four lengths of a kernel.
fn lengths(shape: &[usize]) -> [usize; 4] {
    shape.try_into().unwrap_or_else(|_| panic!("conv2d: {shape:?} is no kernel"))
}

/// The channels of a group, as a matrix of pixels.
fn of_group(builder: &mut Builder, x: &Value, group: usize, width: usize) -> Value {
    let pixels = viewed(x, &[x.rows(), x.last()]);
    builder.prim_contiguous(View::from(&pixels).slice(1, group * width, width))
}

/// A matrix of pixels of one group among zeros for the others.
fn among(builder: &mut Builder, x: &Value, group: usize, groups: usize) -> Value {
    let width = x.last();
    builder.prim_contiguous(View::from(x).pad(1, group * width, (groups - 1 - group) * width))
}

/// The kernel at an offset of its window, for a group: `[channels / groups, filters / groups]`.
fn tap(builder: &mut Builder, kernel: &Value, [row, column]: [usize; 2], group: usize, groups: usize) -> Value {
    let [_, width, channels, filters] = lengths(&kernel.shape);
    let flat = viewed(kernel, &[kernel.len() / filters, filters]);
    let own = View::from(&flat).slice(0, (row * width + column) * channels, channels);
    let own = builder.prim_contiguous(own);
    let filters = filters / groups;
    builder.prim_contiguous(View::from(&own).slice(1, group * filters, filters))
}

impl Operation for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.described()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let [height, width, channels, filters] = lengths(inputs[1]);
        assert_eq!(inputs[0][3], channels * self.groups, "conv2d: channels");
        assert!(filters.is_multiple_of(self.groups), "conv2d: filters");
        let [rows, columns] = self.windows(size(inputs[0]), [height, width]);
        vec![vec![inputs[0][0], rows.count, columns.count, filters]]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let (x, kernel, dy) = (&site.inputs[0], &site.inputs[1], &site.grads[0]);
        let [height, width, ..] = lengths(&kernel.shape);
        let of_input = Conv2dInputGradient { conv: *self, size: size(&x.shape) };
        let of_kernel = Conv2dKernelGradient { conv: *self, kernel: [height, width] };
        let mut grads = vec![
            site.wanted[0].then(|| builder.apply_one(of_input, &[dy, kernel])),
            site.wanted[1].then(|| builder.apply_one(of_kernel, &[x, dy])),
        ];
        if let Some(bias) = site.inputs.get(2) {
            grads.push(Some(builder.apply_one(SumLeading { shape: bias.shape.clone() }, &[dy])));
        }
        grads
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (x, kernel) = (&inputs[0], &inputs[1]);
        let shape = self.output_shapes(&[&x.shape, &kernel.shape]).swap_remove(0);
        let [height, width, channels, _] = lengths(&kernel.shape);
        let windows = self.windows(size(&x.shape), [height, width]);
        let padded = padded(builder, x, windows);
        let mut sum = None;
        for offset in offsets([height, width]) {
            let pixels = nth(builder, &padded, windows, offset);
            for group in 0..self.groups {
                let pixels = of_group(builder, &pixels, group, channels);
                let tap = tap(builder, kernel, offset, group, self.groups);
                let product = builder.prim_matmul(&pixels, &tap);
                let product = among(builder, &product, group, self.groups);
                add_to(builder, &mut sum, product);
            }
        }
        let sum = sum.unwrap_or_else(|| unreachable!("a kernel has a place"));
        let y = match inputs.get(2) {
            Some(bias) => builder.prim_add(&sum, View::from(bias).broadcast(&sum.shape)),
            None => sum,
        };
        vec![viewed(&y, &shape)]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        let pixels = self.output_shapes(inputs)[0][..3].to_vec();
        flops(pixels.into_iter().chain(inputs[1].iter().copied()))
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let [x, kernel, bias @ ..] = inputs else { return None };
        let &[Dim::Fixed(height), Dim::Fixed(width), ..] = &kernel.shape[..] else { return None };
        // `[height, width, in, out]` to `[out, in, height, width]`.
        let kernel = writer.transpose(kernel, &[3, 2, 0, 1]);
        let attributes = vec![
            Attribute::ints("kernel_shape", [height, width]),
            Attribute::ints("strides", self.strides),
            Attribute::ints("pads", sides(self.padding)),
            Attribute::ints("dilations", self.dilation),
            Attribute::int("group", self.groups as i64),
        ];
        Some(writer.channels_second(x, shape, |writer, x, shape| {
            let inputs: Vec<&Tensor> = [x, &kernel].into_iter().chain(bias).collect();
            writer.node("Conv", &inputs, attributes, shape)
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The gradient of a [`Conv2d`]'s input, the transposed convolution of dy `[batch, rows, columns, filters]`:
/// dx `[batch, height, width, channels]`. Inputs dy and the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dInputGradient {
    /// Whose gradient it is.
    pub conv: Conv2d,
    /// Height and width of the input.
    pub size: [usize; 2],
}

impl Operation for Conv2dInputGradient {
    fn name(&self) -> &'static str {
        "conv2d_input_gradient"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.conv.described()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let [_, _, channels, _] = lengths(inputs[1]);
        vec![vec![inputs[0][0], self.size[0], self.size[1], channels * self.conv.groups]]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (dy, kernel, groups) = (&inputs[0], &inputs[1], self.conv.groups);
        let [height, width, channels, filters] = lengths(&kernel.shape);
        let windows = self.conv.windows(self.size, [height, width]);
        let mut sum = None;
        for offset in offsets([height, width]) {
            let mut pixels = None;
            for group in 0..groups {
                let dy = of_group(builder, dy, group, filters / groups);
                let tap = tap(builder, kernel, offset, group, groups);
                let product = builder.prim_matmul(&dy, View::from(&tap).permute(&[1, 0]));
                let product = among(builder, &product, group, groups);
                add_to(builder, &mut pixels, product);
            }
            let pixels = pixels.unwrap_or_else(|| unreachable!("there is a group"));
            let shape = [&dy.shape[..3], &[channels * groups]].concat();
            let there = spread(builder, &viewed(&pixels, &shape), windows, offset);
            add_to(builder, &mut sum, there);
        }
        let sum = sum.unwrap_or_else(|| unreachable!("a kernel has a place"));
        vec![inside(builder, &sum, windows)]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        flops(inputs[0][..3].iter().chain(inputs[1]).copied())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The gradient of a [`Conv2d`]'s kernel, summed over all pixels. Inputs x and dy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dKernelGradient {
    /// Whose gradient it is.
    pub conv: Conv2d,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
}

impl Operation for Conv2dKernelGradient {
    fn name(&self) -> &'static str {
        "conv2d_kernel_gradient"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.conv.described()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![vec![self.kernel[0], self.kernel[1], inputs[0][3] / self.conv.groups, inputs[1][3]]]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (x, dy, groups) = (&inputs[0], &inputs[1], self.conv.groups);
        let shape = self.output_shapes(&[&x.shape, &dy.shape]).swap_remove(0);
        let [height, width, channels, filters] = lengths(&shape);
        let windows = self.conv.windows(size(&x.shape), self.kernel);
        let padded = padded(builder, x, windows);
        let (mut sum, taps) = (None, height * width);
        for (number, offset) in offsets(self.kernel).enumerate() {
            let pixels = nth(builder, &padded, windows, offset);
            for group in 0..groups {
                let pixels = of_group(builder, &pixels, group, channels);
                let dy = of_group(builder, dy, group, filters / groups);
                let product = builder.prim_matmul(View::from(&pixels).permute(&[1, 0]), &dy);
                let product = among(builder, &product, group, groups);
                let (before, after) = (number * channels, (taps - 1 - number) * channels);
                let product = builder.prim_contiguous(View::from(&product).pad(0, before, after));
                add_to(builder, &mut sum, product);
            }
        }
        let sum = sum.unwrap_or_else(|| unreachable!("a kernel has a place"));
        vec![viewed(&sum, &shape)]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        let kernel = self.output_shapes(inputs).swap_remove(0);
        flops(inputs[1][..3].iter().copied().chain(kernel))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
