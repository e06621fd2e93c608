//! Convolutions: products of the images' patches, which are made in memory for some images at a time, with the kernel; and,
//! where each channel is by itself, sums of taps.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol},
            operations::{Id, Operation, Origin},
        },
        gemm::{Epilogue, Matrix},
        kernels::{
            conv2d::{self, Patches},
            pointwise, reduce,
        },
        launch::{Element, Precision},
    },
    graph::ops::{Conv2d, Conv2dInputGradient, Conv2dKernelGradient, Windows},
};

/// Elements of patches that are in memory at once.
const MOST: usize = 1 << 27;

/// A convolution where it stands.
#[derive(Debug, Clone, Copy)]
struct Form {
    images: usize,
    channels: usize,
    windows: [Windows; 2],
    taps: usize,
    /// Channels and filters of a group.
    own: usize,
    filters: usize,
    groups: usize,
}

impl Form {
    fn new(conv: &Conv2d, image: [usize; 4], kernel: [usize; 4]) -> Self {
        let ([images, height, width, channels], [down, across, own, filters]) = (image, kernel);
        let windows = conv.windows([height, width], [down, across]);
        let groups = conv.groups;
        Self { images, channels, windows, taps: down * across, own, filters: filters / groups, groups }
    }

    fn is_depthwise(&self) -> bool {
        self.own == 1 && self.filters == 1 && self.groups > 1
    }

    /// Elements of a patch.
    fn depth(&self) -> usize {
        self.taps * self.own
    }

    /// Windows of an image, and its pixels.
    fn sizes(&self) -> [usize; 2] {
        let [down, across] = self.windows;
        [down.count * across.count, down.length * across.length]
    }

    /// Images whose patches are made at once, and how often that is done.
    fn parts(&self) -> [usize; 2] {
        let together = (MOST / (self.sizes()[0] * self.depth())).clamp(1, self.images);
        [together, self.images.div_ceil(together)]
    }

    fn patches(&self, images: usize, group: usize) -> Patches {
        let Self { channels, own, windows, .. } = *self;
        Patches { images, channels, first: group * own, own, windows }
    }
}

/// Some images, and where they begin.
#[derive(Debug, Clone, Copy)]
struct Part {
    first: usize,
    images: usize,
}

impl Part {
    fn all(form: &Form) -> impl Iterator<Item = Self> + use<> {
        let ([together, count], images) = (form.parts(), form.images);
        (0..count).map(move |part| Self { first: part * together, images: together.min(images - part * together) })
    }

    /// A tensor `[images, ..]` from here on.
    fn of(self, (element, at): (Element, Symbol), per_image: usize) -> (Element, Symbol) {
        (element, at.plus(self.first * per_image * element.size()))
    }
}

impl Emitter<'_> {
    /// Room for the patches of some images.
    fn patches(&mut self, form: &Form) -> (Element, Symbol) {
        let elements = form.parts()[0] * form.sizes()[0] * form.depth();
        let element = self.precision.element();
        let id = self.operations.tensor(elements, element, Origin::Computed);
        (element, Symbol::Tensor(id, 0))
    }

    /// A group's columns of a tensor `[rows, groups * width]`.
    fn columns(&self, (element, at): (Element, Symbol), group: usize, width: usize, groups: usize) -> Matrix<Symbol> {
        let place = at.plus(group * width * element.size());
        Matrix { place, element, stride: groups * width, transposed: false }
    }

    /// A group's part of a kernel `[depth, groups * filters]`, as products read it.
    fn kernel_of(&self, id: Id, group: usize, form: &Form) -> Matrix<Symbol> {
        let tensor = (self.precision.element(), self.activation(id));
        self.columns(tensor, group, form.filters, form.groups)
    }

    fn conv2d(&mut self, operation: &Operation, form: Form) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let (x, y) = (self.stored(inputs[0]), self.stored(outputs[0]));
        let bias = inputs.get(2).map(|&bias| (self.at(bias), self.activation(bias)));
        if form.is_depthwise() {
            let (kernel, bias) = (self.at(inputs[1]), bias.map(|(bias, _)| bias));
            let launch = conv2d::depthwise(form.images, form.channels, &form.windows, x, kernel, bias, y);
            return self.launch(launch, outputs);
        }
        let patches = self.patches(&form);
        let ([windows, pixels], all) = (form.sizes(), form.filters * form.groups);
        for part in Part::all(&form) {
            let (from, to) = (part.of(x, pixels * form.channels), part.of(y, windows * all));
            let plain_bias = |rows: usize, precision: Precision| {
                let bias = pointwise::Epilogue { bias: bias.map(|(bias, _)| bias), ..pointwise::Epilogue::default() };
                pointwise::forward(rows * all, all, precision, to.1, bias, to.1)
            };
            let rows = part.images * windows;
            for group in 0..form.groups {
                self.launch(form.patches(part.images, group).gather(from, patches), &[]);
                let a = self.columns(patches, 0, form.depth(), 1);
                let b = self.kernel_of(inputs[1], group, &form);
                let d = self.columns(to, group, form.filters, form.groups);
                let (mut epilogue, mut plain) = (Epilogue::None, Vec::new());
                if let Some((_, shadow)) = bias.filter(|_| form.groups == 1) {
                    epilogue = Epilogue::Bias(shadow);
                    plain.push(plain_bias(rows, self.precision));
                }
                self.gemm([rows, form.filters, form.depth()], [a, b, d], epilogue, plain, outputs);
            }
            if bias.is_some() && form.groups > 1 {
                let launch = plain_bias(rows, self.precision);
                self.launch(launch, outputs);
            }
        }
    }

    fn conv2d_input_gradient(&mut self, operation: &Operation, form: Form) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let (dy, dx) = (self.stored(inputs[0]), self.stored(outputs[0]));
        if form.is_depthwise() {
            let kernel = self.at(inputs[1]);
            let launch = conv2d::depthwise_input(form.images, form.channels, &form.windows, dy, kernel, dx);
            return self.launch(launch, outputs);
        }
        let patches = self.patches(&form);
        let ([windows, pixels], all) = (form.sizes(), form.filters * form.groups);
        for part in Part::all(&form) {
            let (from, to) = (part.of(dy, windows * all), part.of(dx, pixels * form.channels));
            for group in 0..form.groups {
                let a = self.columns(from, group, form.filters, form.groups);
                let b = Matrix { transposed: true, ..self.kernel_of(inputs[1], group, &form) };
                let d = self.columns(patches, 0, form.depth(), 1);
                let sizes = [part.images * windows, form.depth(), form.filters];
                self.gemm(sizes, [a, b, d], Epilogue::None, Vec::new(), &[]);
                self.launch(form.patches(part.images, group).spread(patches, to), outputs);
            }
        }
    }

    fn conv2d_kernel_gradient(&mut self, operation: &Operation, form: Form) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let ([x, dy], out) = ([0, 1].map(|input| self.stored(inputs[input])), self.at(outputs[0]));
        if form.is_depthwise() {
            let workspace = self.scratch(conv2d::depthwise_kernel_workspace(form.images, form.channels, &form.windows));
            let launches = conv2d::depthwise_kernel(form.images, form.channels, &form.windows, x, dy, workspace, out);
            return self.launches(launches, outputs);
        }
        let patches = self.patches(&form);
        let ([windows, pixels], all, [_, count]) = (form.sizes(), form.filters * form.groups, form.parts());
        let elements = form.depth() * all;
        // The gradient of each part, one after the other, unless there is only one.
        let sums = if count == 1 { out } else { self.scratch(count * elements) };
        for (number, part) in Part::all(&form).enumerate() {
            let (from, of) = (part.of(x, pixels * form.channels), part.of(dy, windows * all));
            let to = (Element::F32, sums.plus(number * elements * size_of::<f32>()));
            for group in 0..form.groups {
                self.launch(form.patches(part.images, group).gather(from, patches), &[]);
                let a = Matrix { transposed: true, ..self.columns(patches, 0, form.depth(), 1) };
                let b = self.columns(of, group, form.filters, form.groups);
                let d = self.columns(to, group, form.filters, form.groups);
                let sizes = [form.depth(), form.filters, part.images * windows];
                self.gemm(sizes, [a, b, d], Epilogue::None, Vec::new(), outputs);
            }
        }
        if count > 1 {
            let workspace = self.scratch(reduce::sum_rows_workspace(count, elements, Element::F32));
            let launches = reduce::sum_rows(count, elements, Element::F32, sums, workspace, out);
            self.launches(launches, outputs);
        }
    }
}

fn four(shape: &[usize]) -> Option<[usize; 4]> {
    shape.try_into().ok()
}

impl Read for Conv2d {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let form = Form::new(self, four(shapes[0])?, four(shapes[1])?);
        Some(Reading::call(move |emitter, operation| emitter.conv2d(operation, form)))
    }
}

impl Read for Conv2dInputGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let ([images, ..], kernel) = (four(shapes[0])?, four(shapes[1])?);
        let image = [images, self.size[0], self.size[1], kernel[2] * self.conv.groups];
        let form = Form::new(&self.conv, image, kernel);
        Some(Reading::call(move |emitter, operation| emitter.conv2d_input_gradient(operation, form)))
    }
}

impl Read for Conv2dKernelGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (image, [.., filters]) = (four(shapes[0])?, four(shapes[1])?);
        let kernel = [self.kernel[0], self.kernel[1], image[3] / self.conv.groups, filters];
        let form = Form::new(&self.conv, image, kernel);
        let reading = Reading::call(move |emitter, operation| emitter.conv2d_kernel_gradient(operation, form));
        Some(reading.stored(&[Stored::Exact]))
    }
}
