//! Reads trial directories, and prints them: tables and exports.

mod compare;
mod coordinates;
mod diagram;
mod export;
mod html;
mod importance;
mod layout;
/// The columns of measured numbers, and how numbers are written.
pub mod measure;
mod network;
pub mod plots;
mod record;
/// Trials by what was changed, with their seeds together.
pub mod rows;
mod seeds;
mod table;
mod view;

pub use compare::compare;
pub use html::{PageModel, page};
pub use layout::fitted;
pub use network::network;
pub use record::Record;
pub use seeds::seeds;
pub use table::render;
pub use view::{Format, Price, Sort, View};
