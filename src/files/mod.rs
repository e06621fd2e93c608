//! Files that are replaced whole or only appended to, in directories that this process holds; and JSON files, which
//! are checked when they are read back.

mod error;
mod held;
pub mod kept;
mod replace;
mod shared;

pub use error::FileError;
pub use held::{Guard, Hold, Place, append_to, make_folder, remove};
pub use replace::{PART, remove_parts, replace, replace_by, replace_like};
pub use shared::shared_by;
