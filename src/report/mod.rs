//! Reads trial directories, and prints them: tables and exports.

mod compare;
mod coordinates;
mod diagram;
mod export;
mod html;
mod importance;
mod layout;
pub mod measure;
mod network;
pub mod plots;
mod record;
pub mod rows;
mod table;
mod view;

pub use compare::compare;
pub use html::{PageModel, page};
pub use layout::fitted;
pub use network::network;
pub use record::Record;
pub use table::render;
pub use view::{Format, Price, Sort, View};
