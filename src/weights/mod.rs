//! Weights from elsewhere: which tensor of a file is which parameter of a network, and in what form.
//!
//! | file | holds |
//! |---|---|
//! | [`Table`] (`table.rs`) | a safetensors file, read as float32 |
//! | [`Family`] (`family.rs`, `families/*.names`) | what other libraries call the parameters of the networks in `experiments/zoo` |
//! | [`hub`] | files of the Hugging Face hub |
//! | `rule.rs` | one line of these |
//! | `sizes.rs` | the parameters of a network of `experiments/zoo`, by the shapes of a file's tensors |
//! | [`export`] | the other way: a network's weights as a library has them |
//! | `library.rs` | the `config.json` by which a library makes the network |
//! | `npz.rs` | archives of NumPy |
//! | [`import`] | which network of `experiments/zoo` a file is of, and with which parameters |
//! | `layout.rs` | PyTorch's order of axes to Keras' |
//! | `positions.rs` | position embeddings for another grid |
//! | [`Request`], [`Matched`] (`matching.rs`) | all of it together |

mod error;
pub mod export;
mod family;
pub mod hub;
pub mod import;
mod layout;
mod library;
mod matching;
mod npz;
mod positions;
mod rule;
mod sizes;
mod table;

pub use error::WeightsError;
pub use family::{Dialect, FAMILIES, Family};
pub use hub::{Hub, HubFile};
pub use matching::{Head, Matched, Names, Request};
pub use rule::Rule;
pub use table::Table;
