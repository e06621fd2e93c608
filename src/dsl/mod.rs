//! The text language of models: parser, syntax tree with spans, formatter, diagnostics.
//!
//! Nothing here knows what a layer is. A text is parsed whatever its mistakes: each costs one
//! statement and gives one diagnostic, and the rest is still there for the model room to check.
//!
//! ```
//! use vitx::dsl::{Source, format, parse};
//!
//! let text = Source::new("m.vitx", "model m { flatten  dense( num_classes ) }");
//! let tree = parse(&text)?;
//! assert_eq!(tree.definitions[0].name.text, "m");
//! assert_eq!(format(&text)?, "model m {\n    flatten\n    dense(num_classes)\n}\n");
//!
//! let wrong = Source::new("m.vitx", "model m { flatten dense(num_classes }");
//! assert_eq!(parse(&wrong).unwrap_err().len(), 1);
//! # Ok::<(), vitx::dsl::Diagnostics>(())
//! ```

mod bounds;
mod bundle;
mod diagnostics;
mod documented;
mod format;
mod parse;
mod repair;
mod source;
mod suggest;
pub mod syntax;
mod syntax_text;
mod text;
mod value;

pub(crate) use bundle::unread;
pub(crate) use diagnostics::warnings;
pub use diagnostics::{Diagnostics, Problem};
pub(crate) use documented::notes;
pub use format::format;
pub use parse::parse;
pub(crate) use parse::{parse_condition, parse_layer, parse_tolerant};
pub use source::{MAX_SOURCE_BYTES, Source};
pub use suggest::nearest;
pub use syntax_text::{SyntaxNode, syntax_nodes, syntax_text};
pub(crate) use text::Text;
pub use value::Value;
