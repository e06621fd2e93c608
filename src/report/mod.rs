//! Reads trial directories, and prints them: tables and exports.

mod compare;
mod diagram;
mod html;
mod importance;
mod layout;
pub mod measure;
pub mod plots;
mod record;
pub mod rows;
mod table;

pub use compare::compare;
pub use html::page;
pub use layout::fitted;
pub use record::Record;
pub use table::{Format, Price, Sort, View, render};
