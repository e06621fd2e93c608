//! Sums and means over an axis.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::Emitter,
            operations::{Kind, Operation},
        },
        kernels::{layout, reduce},
    },
    graph::{
        Operation as _,
        ops::{self, around},
    },
};

impl Read for ops::SumLeading {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (elements, width): (usize, usize) = (shapes[0].iter().product(), self.shape.iter().product());
        Some(Reading::storing(Kind::SumRows { rows: elements / width, width }, &[Stored::Exact]))
    }
}

impl Read for ops::Mean {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let around = around(shapes[0], self.axis);
        Some(Reading::moving(move |x, y| layout::mean(around, x, y)))
    }
}

impl Read for ops::MeanGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let around = around(&self.output_shapes(shapes)[0], self.axis);
        Some(Reading::moving(move |x, y| layout::mean_gradient(around, x, y)))
    }
}

impl Emitter<'_> {
    pub fn sum_rows(&mut self, operation: &Operation, [rows, width]: [usize; 2]) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let element = self.element(inputs[0]);
        let workspace = self.scratch(reduce::sum_rows_workspace(rows, width, element));
        let (x, y) = (self.at(inputs[0]), self.at(outputs[0]));
        self.launches(reduce::sum_rows(rows, width, element, x, workspace, y), outputs);
    }
}
