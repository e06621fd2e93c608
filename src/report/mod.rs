//! Reads trial directories, and prints them: tables and exports.

mod compare;
mod html;
mod importance;
mod measure;
pub mod plots;
mod record;
mod rows;
mod table;

pub use compare::compare;
pub use html::page;
pub use record::Record;
pub use table::{Format, Price, Sort, View, render};
