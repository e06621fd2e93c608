//! Reads trial directories, and prints them: tables and exports.

pub mod plots;
mod record;
mod table;

pub use record::Record;
pub use table::{Format, Sort, render};
