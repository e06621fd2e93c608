//! Operators that only move elements.

use super::{Read, Reading};
use crate::{
    backend::cuda::kernels::layout,
    graph::ops::{self, around},
};

impl Read for ops::Reshape {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::View)
    }
}

impl Read for ops::Transpose {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (shape, permutation) = (shapes[0].to_vec(), self.permutation.clone());
        Some(Reading::moving(move |x, y| layout::permute(&shape, &permutation, x, y)))
    }
}

impl Read for ops::Slice {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let &Self { axis, start, length } = self;
        let around = around(shapes[0], axis);
        Some(Reading::moving(move |x, y| layout::slice(around, start, length, x, y)))
    }
}

impl Read for ops::Pad {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let &Self { axis, before, after } = self;
        let around = around(shapes[0], axis);
        Some(Reading::moving(move |x, y| layout::pad(around, before, after, x, y)))
    }
}

impl Read for ops::Translate {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (shape, movements) = (shapes[0].to_vec(), self.movements.clone());
        Some(Reading::moving(move |x, y| layout::translate(&shape, &movements, x, y)))
    }
}

impl Read for ops::Expand {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (&Self { count }, elements) = (self, shapes[0].iter().product());
        Some(Reading::moving(move |x, y| layout::expand(count, elements, x, y)))
    }
}

impl Read for ops::Concat {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let parts: Vec<[usize; 3]> = shapes.iter().map(|shape| around(shape, self.axis)).collect();
        Some(Reading::call(move |emitter, operation| {
            let axis: usize = parts.iter().map(|[_, length, _]| length).sum();
            let y = emitter.stored(operation.outputs[0]);
            let mut start = 0;
            let mut launches = Vec::new();
            for (&id, &[outer, length, inner]) in operation.inputs.iter().zip(&parts) {
                launches.push(layout::place([outer, axis, inner], start, length, emitter.stored(id), y));
                start += length;
            }
            emitter.launches(launches, &operation.outputs);
        }))
    }
}
