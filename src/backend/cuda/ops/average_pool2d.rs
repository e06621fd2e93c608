//! The mean over windows of an image.

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        kernels::{channels::channels_at_once, conv2d, flat, int},
        launch::{Arg, Element, Launch, Source},
    },
    graph::ops::{AveragePool2d, AveragePool2dGradient},
};

const SOURCE: Source = Source { name: "average_pool2d", text: include_str!("../kernels/average_pool2d.cu") };

/// A launch that makes `count` elements, for an input of the pool of this shape.
pub fn launch<P>(
    entry: &'static str,
    operator: AveragePool2d,
    shape: &[usize],
    count: usize,
    (from, x): (Element, P),
    (to, y): (Element, P),
) -> Launch<P> {
    let vector = channels_at_once(shape[3]);
    let mut args = vec![Arg::U32(int(count / vector) as u32)];
    args.extend(conv2d::windows(shape[3], &operator.0.windows_of(shape)));
    args.extend([x, y].map(Arg::Pointer));
    let defines = vec![("FROM", from.name().to_owned()), ("TO", to.name().to_owned()), ("VECTOR", vector.to_string())];
    flat(SOURCE, entry, (defines, 1), count / vector, args)
}

impl Read for AveragePool2d {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (operator, shape) = (*self, shapes[0].to_vec());
        let [rows, columns] = operator.0.windows_of(&shape);
        let count = shape[0] * rows.count * columns.count * shape[3];
        Some(Reading::moving(move |x, y| launch("forward", operator, &shape, count, x, y)))
    }
}

impl Read for AveragePool2dGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (operator, shape) = (self.pool, self.of(shapes[0]));
        let count = shape.iter().product();
        Some(Reading::moving(move |x, y| launch("backward", operator, &shape, count, x, y)))
    }
}
