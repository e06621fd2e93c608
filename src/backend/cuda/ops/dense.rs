//! Products of layers' tensors with their kernels.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol},
            operations::{Id, Kind, Operation, Origin},
        },
        gemm::{Epilogue, Gemm, Matrix},
        kernels::{pointwise, reduce},
        launch::{Element, Launch, Precision},
        program::Work,
    },
    graph::ops::{self, flat},
};

impl Read for ops::Dense {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, k] = flat(shapes[0]);
        Some(Reading::of(Kind::Dense { rows, k, n: shapes[1][1], bias: shapes.len() == 3 }))
    }
}

impl Read for ops::DenseInputGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, n] = flat(shapes[0]);
        Some(Reading::of(Kind::DenseInputGradient { rows, k: shapes[1][0], n }))
    }
}

impl Read for ops::DenseKernelGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let ([rows, k], [_, n]) = (flat(shapes[0]), flat(shapes[1]));
        Some(Reading::storing(Kind::DenseKernelGradient { rows, k, n, bias: false }, &[Stored::Exact]))
    }
}

impl Emitter<'_> {
    pub fn product(&mut self, operation: &Operation) {
        let (inputs, outputs) = (&operation.inputs[..], &operation.outputs[..]);
        match operation.kind {
            Kind::Dense { rows, k, n, bias } => {
                let (a, b) = (self.rows(inputs[0], k), self.kernel(inputs[1], n, false));
                // Logits may be float32 under any precision.
                let exact = self.element(outputs[0]) == Element::F32;
                let d = Matrix { element: self.element(outputs[0]), ..self.rows(outputs[0], n) };
                let mut plain = Vec::new();
                let mut epilogue = Epilogue::None;
                if bias {
                    let own = self.at(inputs[2]);
                    let added = pointwise::Epilogue { bias: Some(own), ..pointwise::Epilogue::default() };
                    let precision = if exact { Precision::F32 } else { self.precision };
                    let launch = pointwise::forward(rows * n, n, precision, d.place, added, d.place);
                    // The library wants a bias of the result's type; the kernels always read float32. Only a parameter has both.
                    let parameter = matches!(self.operations.tensors[inputs[2]].origin, Origin::Parameter(_));
                    if d.element == Element::Bf16 && !parameter {
                        self.gemm([rows, n, k], [a, b, d], Epilogue::None, Vec::new(), outputs);
                        self.finish(launch, outputs);
                        return;
                    }
                    epilogue = Epilogue::Bias(if exact { own } else { self.activation(inputs[2]) });
                    plain.push(launch);
                }
                self.gemm([rows, n, k], [a, b, d], epilogue, plain, outputs);
            }
            Kind::DenseInputGradient { rows, k, n } => {
                let (a, b) = (self.rows(inputs[0], n), self.kernel(inputs[1], n, true));
                let d = self.rows(outputs[0], k);
                self.gemm([rows, k, n], [a, b, d], Epilogue::None, Vec::new(), outputs);
            }
            Kind::DenseKernelGradient { rows, k, n, bias } => {
                let a = Matrix { transposed: true, ..self.rows(inputs[0], k) };
                let b = self.rows(inputs[1], n);
                let stride = self.stride(outputs[0], n);
                let d = Matrix { place: self.at(outputs[0]), element: Element::F32, stride, transposed: false };
                let mut plain = Vec::new();
                let mut epilogue = Epilogue::None;
                if bias {
                    let sum = self.at(outputs[1]);
                    epilogue = Epilogue::RowSum(sum);
                    let workspace = self.scratch(reduce::sum_rows_workspace(rows, n, b.element));
                    plain = reduce::sum_rows(rows, n, b.element, b.place, workspace, sum);
                }
                self.gemm([k, n, rows], [a, b, d], epilogue, plain, outputs);
            }
            _ => {}
        }
    }

    /// A tensor of activations as a matrix of this width.
    fn rows(&self, id: Id, width: usize) -> Matrix<Symbol> {
        let stride = self.stride(id, width);
        Matrix { place: self.activation(id), element: self.precision.element(), stride, transposed: false }
    }

    /// A kernel `[k, n]`, or its transpose.
    fn kernel(&self, id: Id, n: usize, transposed: bool) -> Matrix<Symbol> {
        Matrix { transposed, ..self.rows(id, n) }
    }

    pub fn gemm(
        &mut self,
        [m, n, k]: [usize; 3],
        [a, b, d]: [Matrix<Symbol>; 3],
        epilogue: Epilogue<Symbol>,
        plain: Vec<Launch<Symbol>>,
        outputs: &[Id],
    ) {
        let gemm = Gemm { m, n, k, a, b, d, epilogue, precision: self.precision };
        self.push(Work::Gemm(gemm, plain), outputs);
    }
}
