//! vitx: describe an image-classification network in a small text language, train it, sweep it,
//! read one table.
//!
//! Data flows one way through the rooms of this crate; each knows only those above it:
//!
//! | room | holds |
//! |---|---|
//! | [`dsl`] | parser, syntax tree with spans, formatter, diagnostics |
//! | [`onnx`] | the messages of ONNX, and a graph of it that is being written |
//! | [`graph`] | the vitx operators on luminal's `Graph`, the builder |
//! | [`model`] | elaboration to a checked architecture; one file per layer; summary |
//! | [`passes`] | luminal `Compiler`s: autodiff, optimizer update, decompose; the listing of a graph |
//! | [`data`] | datasets, augmentation, loader |
//! | [`backend`] | `reference` (luminal's own CPU compiler), `cpu` and `cuda` (ours) |
//! | [`weights`] | parameters from files of other libraries: names, layouts |
//! | [`trial`] | the directory of a trial: its files, their readers and writers, its lock |
//! | [`train`] | the loop, its schedule, when it saves |
//! | [`experiment`] | YAML, overrides, definitions, sweeps |
//! | [`report`] | tables, plots, exports |
//! | [`tracking`] | results on their way to a tracking server |
//! | [`cli`] | one file per subcommand |
//!
//! Below them all: [`files`] that are replaced whole, [`metrics`], [`choice`]s by word.
//! [`download`] brings files, [`diagram`] draws what several of them list, [`printable`] makes names fit to be shown.

// Tests of the library share helpers with those beside it, which know it by name.
#[cfg(test)]
extern crate self as vitx;

pub mod backend;
pub mod choice;
pub mod cli;
pub mod data;
pub mod diagram;
pub mod download;
pub mod dsl;
pub mod experiment;
pub mod files;
pub mod folders;
pub mod graph;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod onnx;
pub mod passes;
pub mod printable;
pub mod random;
pub mod report;
pub mod threads;
pub mod tracking;
pub mod train;
pub mod trial;
pub mod weights;

/// How tests wait, those of the library and those beside it.
#[cfg(test)]
#[path = "../tests/support/wait.rs"]
mod wait;
