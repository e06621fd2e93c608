//! Reads trial directories, and prints them: tables and exports.

mod classes;
mod compare;
mod diagram;
mod export;
mod importance;
mod layout;
/// The columns of measured numbers, and how numbers are written.
pub mod measure;
mod network;
mod page;
/// The pictures of an evaluation.
pub mod pictures;
pub mod plots;
mod record;
/// Trials by what was changed, with their seeds together.
pub mod rows;
mod seeds;
mod serve;
mod table;
mod view;

pub use compare::{compare, flat};
pub use layout::fitted;
pub use network::network;
pub use page::{Page, PageModel, link_from};
pub use record::Record;
pub use seeds::seeds;
pub use serve::{PORT, Site};
pub use table::render;
pub use view::{Format, Price, Sort, View};
