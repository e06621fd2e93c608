//! The vitx operators on luminal's [`Graph`](luminal::graph::Graph).
//!
//! Every operator lives in one file under [`ops`]: its shape rule, its gradient, and its
//! *decomposition into luminal primitives*, which is the proof of what it means. Shapes are known
//! when the graph is built (batch size included), so nodes are added with explicit
//! `ShapeTracker`s rather than through luminal's compile-time `GraphTensor<S>`. Every vitx
//! operator takes and produces row-major contiguous float32 tensors.

pub mod activations;
mod builder;
pub mod expression;
mod initializer;
mod load;
pub mod losses;
mod node;
pub mod ops;
pub mod optimizers;
pub mod primitives;
mod value;

pub use builder::{Builder, GraphInput, Parameter};
pub use initializer::Initializer;
pub use load::{Load, StepInput};
pub use node::{Gradients, Node, Operation, operation};
pub use value::{Network, Value};
