//! Convolutions: products of the images' patches, which are made in memory for some images at a time, with the kernel. Those of
//! each channel by itself are made otherwise (`depthwise`).

use super::{Read, Reading, Stored, depthwise};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol},
            operations::{Id, Kind, Operation, Origin},
        },
        gemm::{Epilogue, Matrix},
        kernels::{conv2d::Patches, conv2d_mma::Conv, pointwise, reduce},
        launch::{Element, Launch, Precision},
        program::{Cost, Work},
    },
    graph::ops::{Conv2d, Conv2dInputGradient, Conv2dKernelGradient, ConvShape, Windows, flops},
};

/// Elements of patches that are in memory at once.
const MOST: usize = 1 << 27;

/// Windows of an image, and its pixels.
fn sizes(shape: &ConvShape) -> [usize; 2] {
    let [down, across] = shape.windows;
    [down.count * across.count, down.length * across.length]
}

/// Images whose patches are made at once, and how often that is done.
fn parts(shape: &ConvShape) -> [usize; 2] {
    let together = (MOST / (sizes(shape)[0] * shape.depth())).clamp(1, shape.images);
    [together, shape.images.div_ceil(together)]
}

/// `[rows, k, n]` of a convolution of one tap that is a product of pixels: its windows are the pixels.
fn of_pixels(shape: &ConvShape) -> Option<[usize; 3]> {
    let plain = |windows: &Windows| windows.pool == 1 && windows.count == windows.length && windows.before == 0;
    let product = shape.groups == 1 && shape.windows.iter().all(plain);
    product.then(|| [shape.images * sizes(shape)[0], shape.channels, shape.filters])
}

/// The patches of a group of some images.
fn patches(shape: &ConvShape, images: usize, group: usize) -> Patches {
    let ConvShape { channels, own, windows, .. } = *shape;
    Patches { images, channels, first: group * own, own, windows }
}

/// Some images, and where they begin.
#[derive(Debug, Clone, Copy)]
struct Part {
    first: usize,
    images: usize,
}

impl Part {
    fn all(shape: &ConvShape) -> impl Iterator<Item = Self> + use<> {
        let ([together, count], images) = (parts(shape), shape.images);
        (0..count).map(move |part| Self { first: part * together, images: together.min(images - part * together) })
    }

    /// A tensor `[images, ..]` from here on.
    fn of(self, (element, at): (Element, Symbol), per_image: usize) -> (Element, Symbol) {
        (element, at.plus(self.first * per_image * element.size()))
    }
}

impl Emitter<'_> {
    /// Room for the patches of some images.
    fn room_for_patches(&mut self, shape: &ConvShape) -> (Element, Symbol) {
        let elements = parts(shape)[0] * sizes(shape)[0] * shape.depth();
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
    fn kernel_of(&self, id: Id, group: usize, shape: &ConvShape) -> Matrix<Symbol> {
        let tensor = (self.precision.element(), self.activation(id));
        self.columns(tensor, group, shape.filters, shape.groups)
    }

    /// The convolution if it goes by tensor cores without patches: where these tensors of activations and the kernel, if
    /// it is read, are bfloat16.
    fn by_tensor_cores(&self, shape: &ConvShape, activations: [Id; 2], kernel: Option<Id>) -> Option<Conv> {
        let shadowed = |id: Id| matches!(self.operations.tensors[id].origin, Origin::Parameter(_));
        let stored = self.precision == Precision::Bf16
            && activations.iter().all(|&id| self.element(id) == Element::Bf16)
            && kernel.is_none_or(|id| shadowed(id) || self.element(id) == Element::Bf16);
        Conv::new(shape).filter(|_| stored)
    }

    /// Adds launches that make a convolution together, unless there are none or a block has too little shared memory.
    fn convolve(&mut self, launches: Option<Vec<Launch<Symbol>>>, shape: &ConvShape, outputs: &[Id]) -> bool {
        let fits = |launch: &Launch<Symbol>| launch.shared_bytes as usize <= self.block_memory;
        let Some(launches) = launches.filter(|launches| launches.iter().all(fits)) else { return false };
        let all = flops([shape.images, sizes(shape)[0], shape.depth(), shape.filters]);
        let bytes = self.bytes(self.inputs.iter().chain(outputs));
        let count = launches.len() as u64;
        for (number, launch) in (1..).zip(launches) {
            // Only after the last one all of it is there.
            let outputs = if number == count { outputs } else { &[] };
            self.push_costing(Work::Launch(launch), outputs, Cost { bytes: bytes / count, flops: all / count });
        }
        true
    }

    fn conv2d(&mut self, operation: &Operation, shape: ConvShape) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let (x, y) = (self.stored(inputs[0]), self.stored(outputs[0]));
        let bias = inputs.get(2).map(|&bias| (self.at(bias), self.activation(bias)));
        if let Some(conv) = self.by_tensor_cores(&shape, [inputs[0], outputs[0]], Some(inputs[1])) {
            let launch = conv.forward(x.1, self.activation(inputs[1]), bias.map(|(bias, _)| bias), y.1);
            if self.convolve(launch.map(|launch| vec![launch]), &shape, outputs) {
                return;
            }
        }
        let ([windows, pixels], all) = (sizes(&shape), shape.all_filters());
        let room = self.room_for_patches(&shape);
        for part in Part::all(&shape) {
            let (from, to) = (part.of(x, pixels * shape.channels), part.of(y, windows * all));
            let plain_bias = |rows: usize, precision: Precision| {
                let bias = pointwise::Epilogue { bias: bias.map(|(bias, _)| bias), ..pointwise::Epilogue::default() };
                pointwise::forward(rows * all, all, precision, to.1, bias, to.1)
            };
            let rows = part.images * windows;
            for group in 0..shape.groups {
                self.launch(patches(&shape, part.images, group).gather(from, room), &[]);
                let a = self.columns(room, 0, shape.depth(), 1);
                let b = self.kernel_of(inputs[1], group, &shape);
                let d = self.columns(to, group, shape.filters, shape.groups);
                let (mut epilogue, mut plain) = (Epilogue::None, Vec::new());
                if let Some((_, shadow)) = bias.filter(|_| shape.groups == 1) {
                    epilogue = Epilogue::Bias(shadow);
                    plain.push(plain_bias(rows, self.precision));
                }
                self.gemm([rows, shape.filters, shape.depth()], [a, b, d], epilogue, plain, outputs);
            }
            if bias.is_some() && shape.groups > 1 {
                let launch = plain_bias(rows, self.precision);
                self.launch(launch, outputs);
            }
        }
    }

    /// With a third input, that is added to the gradient.
    pub fn conv2d_input_gradient(&mut self, operation: &Operation, shape: ConvShape) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let (dy, dx) = (self.stored(inputs[0]), self.stored(outputs[0]));
        let added = inputs.get(2).map(|&id| self.activation(id));
        if let Some(conv) = self.by_tensor_cores(&shape, [inputs[0], outputs[0]], Some(inputs[1])) {
            let launches = conv.input_gradient(&dy.1, &self.activation(inputs[1]), added.as_ref(), &dx.1);
            if self.convolve(launches, &shape, outputs) {
                return;
            }
        }
        self.input_gradient_by_products(operation, shape);
        if let Some(added) = added {
            let (element, count) = (dx.0, self.elements(outputs[0]));
            self.launch(pointwise::add(count, element, dx.1, count, element, added, dx.1), outputs);
        }
    }

    fn input_gradient_by_products(&mut self, operation: &Operation, shape: ConvShape) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let (dy, dx) = (self.stored(inputs[0]), self.stored(outputs[0]));
        let ([windows, pixels], all) = (sizes(&shape), shape.all_filters());
        let room = self.room_for_patches(&shape);
        for part in Part::all(&shape) {
            let (from, to) = (part.of(dy, windows * all), part.of(dx, pixels * shape.channels));
            for group in 0..shape.groups {
                let a = self.columns(from, group, shape.filters, shape.groups);
                let b = Matrix { transposed: true, ..self.kernel_of(inputs[1], group, &shape) };
                let d = self.columns(room, 0, shape.depth(), 1);
                let sizes = [part.images * windows, shape.depth(), shape.filters];
                self.gemm(sizes, [a, b, d], Epilogue::None, Vec::new(), &[]);
                self.launch(patches(&shape, part.images, group).spread(room, to), outputs);
            }
        }
    }

    fn conv2d_kernel_gradient(&mut self, operation: &Operation, shape: ConvShape) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let ([x, dy], out) = ([0, 1].map(|input| self.stored(inputs[input])), self.at(outputs[0]));
        if let Some(conv) = self.by_tensor_cores(&shape, [inputs[0], inputs[1]], None) {
            let workspace = self.scratch(conv.kernel_gradient_workspace());
            let mut launches = conv.kernel_gradient(x.1, dy.1, workspace, out);
            let sum = launches.as_mut().and_then(|launches| launches.drain(1..).next());
            if self.convolve(launches, &shape, if sum.is_some() { &[] } else { outputs }) {
                sum.into_iter().for_each(|launch| self.finish(launch, outputs));
                return;
            }
        }
        let ([windows, pixels], all, [_, count]) = (sizes(&shape), shape.all_filters(), parts(&shape));
        let room = self.room_for_patches(&shape);
        let elements = shape.depth() * all;
        // The gradient of each part, one after the other, unless there is only one.
        let sums = if count == 1 { out } else { self.scratch(count * elements) };
        for (number, part) in Part::all(&shape).enumerate() {
            let (from, of) = (part.of(x, pixels * shape.channels), part.of(dy, windows * all));
            let to = (Element::F32, sums.plus(number * elements * size_of::<f32>()));
            for group in 0..shape.groups {
                self.launch(patches(&shape, part.images, group).gather(from, room), &[]);
                let a = Matrix { transposed: true, ..self.columns(room, 0, shape.depth(), 1) };
                let b = self.columns(of, group, shape.filters, shape.groups);
                let d = self.columns(to, group, shape.filters, shape.groups);
                let sizes = [shape.depth(), shape.filters, part.images * windows];
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

impl Read for Conv2d {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let shape = self.shape(shapes);
        if shape.is_depthwise() {
            return Some(depthwise::forward(&shape));
        }
        if let Some([rows, k, n]) = of_pixels(&shape) {
            return Some(Reading::of(Kind::Dense { rows, k, n, bias: shapes.len() == 3 }));
        }
        Some(Reading::call(move |emitter, operation| emitter.conv2d(operation, shape)))
    }
}

impl Read for Conv2dInputGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let shape = self.shape(shapes);
        if shape.is_depthwise() {
            return Some(depthwise::input_gradient(&shape));
        }
        if let Some([rows, k, n]) = of_pixels(&shape) {
            return Some(Reading::of(Kind::DenseInputGradient { rows, k, n }));
        }
        Some(Reading::of(Kind::Conv2dInputGradient { shape, added: false }))
    }
}

impl Read for Conv2dKernelGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let shape = self.shape(shapes);
        if shape.is_depthwise() {
            return Some(depthwise::kernel_gradient(&shape));
        }
        if let Some([rows, k, n]) = of_pixels(&shape) {
            return Some(Reading::storing(Kind::DenseKernelGradient { rows, k, n, bias: false }, &[Stored::Exact]));
        }
        let reading = Reading::call(move |emitter, operation| emitter.conv2d_kernel_gradient(operation, shape));
        Some(reading.stored(&[Stored::Exact]))
    }
}
