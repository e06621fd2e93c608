//! What a kernel is to the program: how it is called, what it writes, how its work is shared.

use std::ops::Range;

use smallvec::SmallVec;

use super::kernels::{
    gemm::{self, Mat},
    transpose::transpose_2d,
};

/// Operands of a call, on the stack: only a `concat` of many parts has more.
pub type Inputs<'a> = SmallVec<[&'a [f32]; 8]>;
pub type Outputs<'a> = SmallVec<[&'a mut [f32]; 4]>;

/// What a kernel call sees. Of a tensor that has a batch axis, only the images of this call.
pub struct Call<'a> {
    pub inputs: Inputs<'a>,
    pub outputs: Outputs<'a>,
    pub scratch: &'a mut [f32],
    /// First image of the call, and how many.
    pub first: usize,
    pub images: usize,
    /// Sums hold nothing yet: a kernel that [`Kernel::begins`] them must not read them.
    pub begin: bool,
    /// The part of the output that a task of a [`Split`] computes.
    pub part: Range<usize>,
    /// Optimizer iterations before this step.
    pub iteration: u64,
}

type Run = Box<dyn Fn(&mut Call) + Send + Sync>;

/// How an output relates to the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Row `i` belongs to image `i`.
    PerImage,
    /// A sum over images: the call adds to what is there.
    Sum,
    /// In place of the tensor, for each image so many numbers from which it is computed again.
    Abridged(usize),
}

/// How the work of an operator is shared among threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// By images, in tiles.
    Images,
    /// Not at all.
    Once,
    /// By columns of the `[rows, columns]` output, which the kernel computes compactly.
    Columns { rows: usize, columns: usize },
    /// By rows of the `[rows, columns]` outputs, so many together.
    Rows { rows: usize, columns: usize, together: usize },
    /// By elements, alike in all outputs and in the inputs of the same length.
    Elements,
}

/// An operator's kernel.
pub struct Kernel {
    pub run: Run,
    pub outputs: Vec<Kind>,
    /// Scratch elements for a call on this many images (or columns, or rows).
    pub scratch: Box<dyn Fn(usize) -> usize + Send + Sync>,
    pub split: Split,
    /// An operand that the kernel wants packed, once per step rather than once per tile.
    pub packing: Option<Packing>,
    /// Takes one input more, of the shape of the output, and adds it.
    pub adds: bool,
    /// Computing the output again takes no longer than to write it to memory and to read it back.
    pub cheap: bool,
    /// Begins sums itself; for others they are zero before the first call.
    pub begins: bool,
    /// Writes its first output twice if it has an output more: that one past the cache.
    pub streams: bool,
}

/// The right-hand matrix `[k, n]` of a product, to be packed by [`gemm::pack_b`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// Index of the input.
    pub input: usize,
    pub k: usize,
    pub n: usize,
    /// So many matrices, packed one after the other, of which each has its columns, or rows if it is transposed.
    pub groups: usize,
    pub matrix: Matrix,
}

/// How the matrices of a [`Packing`] lie in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    /// `[k, groups, n]`.
    Rows,
    /// `[n, groups, k]`.
    Transposed,
    /// `[taps, n, groups, k / taps]`, the taps in reverse: a convolution's kernel, turned around for the gradient of its
    /// input.
    Turned { taps: usize },
}

impl Packing {
    /// Elements of the packed matrix.
    pub fn len(self) -> usize {
        self.groups * gemm::packed_len(self.k, self.n)
    }

    /// Whether two steps can share what is packed.
    pub fn same_as(self, other: Self) -> bool {
        self == Self { input: self.input, ..other }
    }

    /// The kernel that packs.
    pub fn kernel(self) -> Kernel {
        let Self { k, n, groups, matrix, .. } = self;
        let run = move |call: &mut Call| {
            let packed = call.outputs[0].chunks_mut(gemm::packed_len(k, n).max(1));
            for (group, packed) in packed.enumerate() {
                let all = call.inputs[0];
                let from = match matrix {
                    Matrix::Rows => Mat::rows(&all[group * n..], groups * n),
                    Matrix::Transposed => Mat::transposed(&all[group * k..], groups * k),
                    Matrix::Turned { taps } => {
                        let own = k / taps;
                        for (tap, turned) in call.scratch[..k * n].chunks_mut(own * n).rev().enumerate() {
                            let from = &all[tap * n * groups * own + group * own..];
                            transpose_2d(n, own, from, groups * own, turned, n);
                        }
                        Mat::rows(&call.scratch[..k * n], n)
                    }
                };
                gemm::pack_b(k, n, from, packed);
            }
        };
        let scratch = if matches!(matrix, Matrix::Turned { .. }) { k * n } else { 0 };
        Kernel::per_image(run).split(Split::Once).scratch(move |_| scratch)
    }
}

impl Kernel {
    pub fn per_image(run: impl Fn(&mut Call) + Send + Sync + 'static) -> Self {
        Self {
            run: Box::new(run),
            outputs: vec![Kind::PerImage],
            scratch: Box::new(|_| 0),
            split: Split::Images,
            packing: None,
            adds: false,
            cheap: false,
            begins: false,
            streams: false,
        }
    }

    pub fn outputs(self, outputs: &[Kind]) -> Self {
        Self { outputs: outputs.to_vec(), ..self }
    }

    pub fn scratch(self, scratch: impl Fn(usize) -> usize + Send + Sync + 'static) -> Self {
        Self { scratch: Box::new(scratch), ..self }
    }

    pub fn packed(self, packing: Packing) -> Self {
        Self { packing: Some(packing), ..self }
    }

    pub fn adds(self) -> Self {
        Self { adds: true, ..self }
    }

    pub fn cheap(self) -> Self {
        Self { cheap: true, ..self }
    }

    pub fn begins(self) -> Self {
        Self { begins: true, ..self }
    }

    pub fn streams(self, streams: bool) -> Self {
        Self { streams, ..self }
    }

    pub fn split(self, split: Split) -> Self {
        Self { split, ..self }
    }
}
