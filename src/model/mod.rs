//! From a syntax tree to a checked architecture: parameters bound, blocks expanded, names resolved,
//! shapes inferred. One file per layer under [`layers`].
//!
//! ```
//! use std::collections::BTreeMap;
//! use vitx::{dsl::{Source, Value}, model::{ImageSpec, elaborate}};
//!
//! let source = Source::new("m.vitx", "model m(width = 8) { flatten dense(width) relu dense(num_classes) }");
//! let data = ImageSpec { height: 4, width: 4, channels: 3, num_classes: 10 };
//! let model = elaborate(&source, &BTreeMap::from([("width".to_owned(), Value::Int(5))]), &data)?;
//! assert_eq!(model.summary().parameters, (4 * 4 * 3 + 1) * 5 + (5 + 1) * 10);
//!
//! // All problems come at once, each with its place.
//! let wrong = Source::new("m.vitx", "model m { flaten dense(num_clases) }");
//! assert_eq!(elaborate(&wrong, &BTreeMap::new(), &data).unwrap_err().len(), 2);
//! # Ok::<(), vitx::dsl::Diagnostics>(())
//! ```

mod architecture;
mod combine;
mod elaborate;
mod evaluate;
mod fold;
mod functions;
pub mod layers;
mod listing;
mod names;
mod reads;
mod summary;

pub use architecture::{Architecture, LayerNode};
pub use elaborate::{Constraint, elaborate, own_image_size, parameters};
pub use listing::{LayerListing, ModelListing, ParameterListing, Totals};
pub use summary::{Line, Row, Summary};

/// What a data set says about its images. Sizes in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSpec {
    /// Of all images, as the network takes them.
    pub height: usize,
    /// Of all images, as the network takes them.
    pub width: usize,
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// How many labels there are.
    pub num_classes: usize,
}

/// Most layers of a network once blocks and repeats are expanded.
pub const MAX_LAYERS: usize = 10_000;

/// Most elements of one tensor: of a parameter, or of what a layer makes for one image. luminal's extents are `i32`.
pub const MAX_ELEMENTS: usize = i32::MAX as usize;

/// Most parameters of a network: 32 GiB of float32.
pub const MAX_PARAMETERS: usize = 1 << 33;
