//! Single-threaded CPU kernels: pure functions on slices.
//!
//! A tile of a few images runs through a whole region of operators on one thread, with its
//! activations in the second-level cache; parallelism, and what memory is used, belong to the
//! caller. So no kernel allocates: those that need room take a scratch slice and say how long it
//! must be. Tensors are row-major and contiguous `f32` unless a stride is a parameter.
//!
//! No result depends on how rows are grouped into calls: each output element is summed in an order
//! that its own shape fixes. Every kernel exists for AVX-512, AVX2 with FMA, and plain Rust
//! ([`isa::Isa`]); the first two give the same bits, the third rounds products before it adds.

// A kernel is its shapes and its operands: bundling them into one-use structs would not make a call
// clearer.
#![allow(clippy::too_many_arguments)]
// Register tiles are arrays indexed by constants; iterators over them hide that they unroll.
#![allow(clippy::needless_range_loop)]

pub mod accumulate;
pub mod activation;
pub mod ahead;
pub mod attention;
pub mod batch_norm;
pub mod binary_cross_entropy;
pub mod cross_entropy;
pub mod depthwise;
pub mod dropout;
pub mod elementwise;
pub mod exp;
pub mod gemm;
pub mod isa;
pub mod lanes;
pub mod layer_norm;
pub mod orthogonal;
pub mod patches;
pub mod pointwise;
pub mod softmax;
pub mod squares;
pub mod stream;
pub mod subnormal;
pub mod transpose;
pub mod update;
pub(crate) mod vector;
