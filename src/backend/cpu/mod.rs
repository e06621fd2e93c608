//! The CPU engine.

pub mod kernels;
