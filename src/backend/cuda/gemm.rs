//! Matrix products as data.

use super::launch::{Element, Precision};
use crate::graph::ops::flops;

/// A matrix of a product, row-major with `stride` elements from row to row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Matrix<P> {
    pub place: P,
    pub element: Element,
    pub stride: usize,
    /// The operand is the transpose of what lies in memory.
    pub transposed: bool,
}

/// What is fused into a product.
///
/// cuBLASLt's GELU is the tanh form and ours is exact, so no activation is here: it stays in the
/// pointwise kernels, which read what the product wrote anyway to add dropout. The bias and the
/// bias' gradient are exact sums, so they are fused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Epilogue<P> {
    None,
    /// Adds `[n]` to every row. Of the type of the result.
    Bias(P),
    /// Also sums the rows of the second operand `[k, n]` to float32 `[n]`: the gradient of the bias beside
    /// that of the kernel.
    RowSum(P),
}

/// `d = a b`: a `[m, k]`, b `[k, n]`, d `[m, n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemm<P> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrix<P>,
    pub b: Matrix<P>,
    pub d: Matrix<P>,
    pub epilogue: Epilogue<P>,
    /// What the multiplications are done in; sums are float32.
    pub precision: Precision,
}

impl<P> Gemm<P> {
    /// The same product on memory named otherwise.
    pub fn map<Q>(self, place: impl Fn(P) -> Q) -> Gemm<Q> {
        let Self { m, n, k, a, b, d, epilogue, precision } = self;
        let matrix = |Matrix { place: at, element, stride, transposed }: Matrix<P>| Matrix {
            place: place(at),
            element,
            stride,
            transposed,
        };
        let (a, b, d) = (matrix(a), matrix(b), matrix(d));
        let epilogue = match epilogue {
            Epilogue::None => Epilogue::None,
            Epilogue::Bias(at) => Epilogue::Bias(place(at)),
            Epilogue::RowSum(at) => Epilogue::RowSum(place(at)),
        };
        Gemm { m, n, k, a, b, d, epilogue, precision }
    }

    /// Floating-point operations, a multiply-add counting two.
    pub fn flops(&self) -> u64 {
        flops([self.m, self.n, self.k])
    }
}
