//! Reads trial directories, and prints them: tables and exports.

mod record;
mod table;

pub use record::Record;
pub use table::{Format, Sort, render};
