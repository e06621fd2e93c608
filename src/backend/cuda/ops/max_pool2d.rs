//! The maximum over windows of an image.

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        kernels::{channels::channels_at_once, conv2d, flat, int},
        launch::{Arg, Element, Launch, Source},
    },
    graph::ops::{MaxPool2d, MaxPool2dGradient},
};

const SOURCE: Source = Source { name: "max_pool2d", text: include_str!("../kernels/max_pool2d.cu") };

/// A launch that makes `count` elements, on tensors and the types that they are stored in.
pub fn launch<P, const N: usize>(
    entry: &'static str,
    operator: MaxPool2d,
    shape: &[usize],
    count: usize,
    tensors: [(&'static str, Element, P); N],
) -> Launch<P> {
    let vector = channels_at_once(shape[3]);
    let mut args = vec![Arg::U32(int(count / vector) as u32)];
    args.extend(conv2d::windows(shape[3], &operator.0.windows_of(shape)));
    let mut defines = vec![("VECTOR", vector.to_string())];
    for (name, element, at) in tensors {
        defines.push((name, element.name().to_owned()));
        args.push(Arg::Pointer(at));
    }
    flat(SOURCE, entry, (defines, 1), count / vector, args)
}

impl Read for MaxPool2d {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (operator, shape) = (*self, shapes[0].to_vec());
        let count =
            operator.0.windows_of(&shape).iter().map(|windows| windows.count).product::<usize>() * shape[0] * shape[3];
        Some(Reading::moving(move |(from, x), (to, y)| {
            launch("forward", operator, &shape, count, [("FROM", from, x), ("TO", to, y)])
        }))
    }
}

impl Read for MaxPool2dGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (operator, shape) = (self.0, shapes[1].to_vec());
        let count = shape.iter().product();
        Some(Reading::call(move |emitter, operation| {
            let [(gradient, dy), (from, x)] = [0, 1].map(|input| emitter.stored(operation.inputs[input]));
            let (to, dx) = emitter.stored(operation.outputs[0]);
            let tensors = [("GRADIENT", gradient, dy), ("FROM", from, x), ("TO", to, dx)];
            emitter.launch(launch("backward", operator, &shape, count, tensors), &operation.outputs);
        }))
    }
}
