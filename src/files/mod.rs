//! Files that are replaced whole or only appended to, in directories that this process holds; and JSON files, which
//! are checked when they are read back.

mod error;
mod held;
pub mod kept;
mod replace;

pub use error::FileError;
pub use held::{Hold, Place, append_to, make_folder, remove};
pub use replace::{PART, remove_parts, replace, replace_by, replace_like};
