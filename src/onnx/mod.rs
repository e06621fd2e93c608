//! ONNX (`onnx/onnx.proto`): the messages of a file, and a graph that is being written.
//!
//! Knows operators of ONNX and none of ours: how one of ours is written stands in its own file, see
//! [`Operation::onnx`](crate::graph::Operation::onnx).

mod encode;
mod layout;
#[allow(missing_docs, reason = "the fields are those of `onnx.proto`, by its names")]
pub mod messages;
mod tensor;
mod writer;

pub use encode::{Header, MOST_BYTES, encode};
pub use messages::Attribute;
pub use tensor::{Data, Dim, Initializer, Tensor};
pub use writer::{Finished, Writer};

/// The version of the operators: the first with `LayerNormalization`.
pub const OPSET: i64 = 17;

/// The version of the format, which came with that of the operators.
pub const IR_VERSION: i64 = 8;
